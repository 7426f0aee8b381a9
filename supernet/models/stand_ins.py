"""What stands in a sub-network's layer for what the layer lacks.

`modeling_pruned.py` of an export folder holds this text, so the module imports torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class AbsentAttention(nn.Module):
    """Stands where an attention block was, with its residual and LayerNorm: passes the hidden states on."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return hidden_states, None


class AbsentOutput(nn.Module):
    """Stands where a block's output (dense, residual, LayerNorm) was: passes the residual stream on."""

    def forward(self, hidden_states: Tensor, residual: Tensor) -> Tensor:
        return residual


class ZeroAttention(nn.Module):
    """Stands where attention was, in a layer that adds the residual itself: adds nothing."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None


class Zero(nn.Module):
    """Stands where a feed-forward network was, in a layer that adds the residual itself: adds nothing."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.zeros_like(hidden_states)


class BiasOfHeads:
    """Hook of a module: of the biases of all heads among its arguments, keeps those of a layer's own heads.

    Args:
        argument: Position of the biases, (batch, heads, tokens, tokens).
        heads: The heads to keep. A range is the first ones, which need no copy.
    """

    def __init__(self, argument: int, heads: Sequence[int]) -> None:
        self.argument, self.heads = argument, heads
        self.index = slice(len(heads)) if isinstance(heads, range) else list(heads)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return *args[: self.argument], args[self.argument][:, self.index], *args[self.argument + 1 :]


STAND_INS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (AbsentAttention, AbsentOutput, ZeroAttention, Zero, nn.Identity)
}
"""Modules that stand for absent blocks, by name."""
