"""Makes a model compute only what its classifier reads: the first token's hidden state, after the last or every layer.

The classifiers of transformers read a single hidden state of a sequence. So the last layer need not compute its
feed-forward block for other tokens. A shallower sub-network has the same first layers as a deeper sub-network, so its
hidden states occur in the pass of the deeper sub-network: the classifier turns them into its predictions (early exits).

Shape letters: B sequences, T tokens, D hidden features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.models.heads import head_of


@contextmanager
def first_token_only(model: PreTrainedModel, *, early_exits: bool = False) -> Iterator[int]:
    """While the block runs, hooks on the layers make `model` compute only what its classifier reads.

    The logits stay the same.

    Args:
        model: Of a known family, in evaluation mode, without gradients.
        early_exits: Whether to compute the logits of several models, joined along the first dimension: `model`, `model`
            without its last layer, without its last two, and so on.

    Yields:
        Number of models. The last model has no layers, or a single layer if the family needs its first layer
        (`Family.first_stays`). 1 if the classifier reads more than the first token (`model` is then unchanged) or
        needs the attention mask (`Family.stacked_reads_mask`).
    """
    family, head = family_of(model.config), head_of(model)
    layers = list(family.layers_of(model))
    apart = layers[1:] if family.first_stays else layers  # only these are followed by nothing but layers
    if not apart or not (head.reads_first and family.reads_first(model.config)):
        yield 1
        return
    early_exits = early_exits and not (family.stacked_reads_mask and head.stacked)
    last, states = apart[-1], _States()
    has_attention = family.token_wise in {name for name, _ in last.named_modules()}
    handles = [layer.register_forward_pre_hook(states.keep) for layer in apart] if early_exits else []
    handles += [
        last.get_submodule(family.token_wise if has_attention else "").register_forward_pre_hook(_first_token),
        last.register_forward_hook(states.give),
    ]
    try:
        yield len(apart) + 1 if early_exits else 1
    finally:
        for handle in handles:
            handle.remove()


def _first_token(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments, with hidden states (B, T, D) reduced to those of the first token, (B, 1, D)."""
    return tuple(x[:, :1] if isinstance(x, Tensor) else x for x in args)


class _States:
    """Hooks of layers: keep the first token's hidden state before each layer, and return all of them after the last."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def keep(self, layer: nn.Module, args: tuple[Any, ...]) -> None:
        self.kept.append(args[0][:, :1])

    def give(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Replaces the last layer's output by its first token's (B, 1, D) and the kept hidden states, latest first."""
        whole = isinstance(output, Tensor)
        hidden = torch.cat([(output if whole else output[0])[:, :1], *reversed(self.kept)])
        self.kept.clear()
        return hidden if whole else (hidden, *output[1:])
