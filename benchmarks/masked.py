"""Sub-networks by masking, as in the paper's code: every layer is computed completely and multiplied by zeros and ones.

The backward pass is complete too: an absent block gets a gradient of zeros.

Tests compare slicing with this simple method for correctness, benchmarks for speed. It shares no code with slicing. Its
own table names the two modules of a layer whose inputs are masked, and says how to remove a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from supernet.space.subnetwork import Kept, SubNetwork

Hook = Callable[[nn.Module, Any, Any], Any]


@dataclass(frozen=True)
class _Places:
    """Paths in a layer: the Linear modules that take heads and units as input, and hooks that remove a block."""

    layers: str
    heads: str
    units: str
    no_attention: Mapping[str, Hook]
    no_feed_forward: Mapping[str, Hook]


def _input(module: nn.Module, args: Any, output: Any) -> Any:
    return args[0] + 0 * output


def _input_and_no_weights(module: nn.Module, args: Any, output: Any) -> Any:
    return args[0] + 0 * output[0], None


def _residual(module: nn.Module, args: Any, output: Any) -> Any:
    return args[1] + 0 * output


def _zero(module: nn.Module, args: Any, output: Any) -> Any:
    return 0 * output


def _zero_and_no_weights(module: nn.Module, args: Any, output: Any) -> Any:
    return 0 * output[0], None


_BERT = _Places(
    layers="encoder.layer",
    heads="attention.output.dense",
    units="output.dense",
    no_attention={"attention": _input_and_no_weights},
    no_feed_forward={"output": _residual},
)

_PLACES = {
    **dict.fromkeys(("bert", "camembert", "deberta", "deberta-v2", "electra", "roberta", "xlm-roberta"), _BERT),
    "mpnet": replace(_BERT, heads="attention.attn.o"),
    "distilbert": _Places(
        layers="transformer.layer",
        heads="attention.out_lin",
        units="ffn.lin2",
        no_attention={"attention": _zero_and_no_weights, "sa_layer_norm": _input},
        no_feed_forward={"ffn": _zero, "output_layer_norm": _input},
    ),
    "modernbert": _Places(
        layers="layers",
        heads="attn.Wo",
        units="mlp.Wo",
        no_attention={"attn": _zero_and_no_weights},
        no_feed_forward={"mlp": _zero},
    ),
}


@contextmanager
def masked(model: PreTrainedModel, subnet: SubNetwork) -> Iterator[None]:
    """While the block runs, hooks make `model` compute `subnet`, at the cost of the full model."""
    places, heads = _PLACES[model.config.model_type], model.config.num_attention_heads
    kept = {s.index: (s.heads, s.units) for s in subnet.layers}
    handles = []
    for i, layer in enumerate(model.base_model.get_submodule(places.layers).children()):
        kept_heads, kept_units = kept.get(i, ((), ()))
        handles.append(_mask_input(layer.get_submodule(places.heads), kept_heads, heads))
        handles.append(_mask_input(layer.get_submodule(places.units), kept_units, None))
        absent = ({} if kept_heads else dict(places.no_attention)) | (
            {} if kept_units else dict(places.no_feed_forward)
        )
        handles += [layer.get_submodule(path).register_forward_hook(hook) for path, hook in absent.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask_input(linear: nn.Module, kept: Kept, count: int | None) -> RemovableHandle:
    """Multiplies input features by zero unless their head or unit is kept. `count`: heads; None for units."""
    assert isinstance(linear, nn.Linear)
    mask = torch.zeros(count or linear.in_features, dtype=linear.weight.dtype, device=linear.weight.device)
    mask[list(kept)] = 1
    mask = mask.repeat_interleave(linear.in_features // len(mask))

    def multiply(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0] * mask,)

    return linear.register_forward_pre_hook(multiply)
