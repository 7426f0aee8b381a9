"""Sub-networks by masking, as the paper's code does it: every layer is computed whole, then zeros are multiplied in.

So the backward pass is whole too: a block that is taken out still gets a gradient, of zeros.

The plain way, against which the tests hold slicing for correctness and the benchmarks for speed. It shares nothing with
slicing: it has a table of its own, of two modules a layer whose input is masked, and what to do with absent blocks.
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
    """Paths in a layer: the Linear modules that heads and units flow into, and hooks that take a block out."""

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
    """While the block runs, `model` computes `subnet` at the full cost, by hooks on its modules."""
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


def _mask_input(linear: nn.Module, kept: Kept, groups: int | None) -> RemovableHandle:
    """Multiplies the input features of the groups that are not kept by zero; without `groups`, each is one feature."""
    assert isinstance(linear, nn.Linear)
    mask = torch.zeros(groups or linear.in_features, dtype=linear.weight.dtype, device=linear.weight.device)
    mask[list(kept)] = 1
    mask = mask.repeat_interleave(linear.in_features // len(mask))

    def multiply(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0] * mask,)

    return linear.register_forward_pre_hook(multiply)
