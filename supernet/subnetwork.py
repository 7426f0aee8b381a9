"""Sub-networks as frozen values: what is kept of each layer. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

Kept: TypeAlias = "range | tuple[int, ...]"
"""Indices kept, ascending. A prefix is always a `range`, so that equal sub-networks compare and hash equal."""


def kept(indices: Iterable[int]) -> Kept:
    """Canonical form of a set of indices: `range(n)` for the first n, otherwise an ascending tuple."""
    if isinstance(indices, range) and indices == range(len(indices)):
        return indices
    ordered = tuple(sorted({int(i) for i in indices}))
    return range(len(ordered)) if ordered == tuple(range(len(ordered))) else ordered


@dataclass(frozen=True)
class LayerSlice:
    """What a sub-network keeps of one layer. A block of which nothing is kept is absent, LayerNorm and biases too.

    Attributes:
        index: Position of the layer in the full model.
        heads: Attention heads kept; none means that the layer has no attention block.
        units: Feed-forward units kept; none means that the layer has no feed-forward block.
    """

    index: int
    heads: Kept
    units: Kept

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", kept(self.heads))
        object.__setattr__(self, "units", kept(self.units))


@dataclass(frozen=True)
class SubNetwork:
    """The layers, heads and units that are kept, as a value: hashable, comparable, without reference to any model.

    Layers of which nothing is kept are dropped, so that there is one value for each function.

    Raises:
        ValueError: if the layers are not in ascending order.
    """

    layers: tuple[LayerSlice, ...]

    def __post_init__(self) -> None:
        indices = [layer.index for layer in self.layers]
        if indices != sorted(set(indices)):
            raise ValueError(f"layers must be in ascending order, got {indices}")
        object.__setattr__(self, "layers", tuple(s for s in self.layers if s.heads or s.units))

    @classmethod
    def uniform(cls, layers: Iterable[int], heads: int, units: int) -> SubNetwork:
        """The first `heads` heads and the first `units` units in each of the given layers."""
        return cls(tuple(LayerSlice(i, range(heads), range(units)) for i in layers))

    def prefixes(self) -> tuple[SubNetwork, ...]:
        """This sub-network without its last layer, without its last two, and so on, down to no layer."""
        return tuple(SubNetwork(self.layers[:count]) for count in reversed(range(len(self.layers))))

    def contains(self, other: SubNetwork) -> bool:
        """Whether it keeps everything that another one keeps."""
        mine = {s.index: s for s in self.layers}
        return all(
            s.index in mine and set(s.heads) <= set(mine[s.index].heads) and set(s.units) <= set(mine[s.index].units)
            for s in other.layers
        )

    def to_json(self) -> list[list[Any]]:
        """One [index, heads, units] a layer; a number n stands for the first n, a list for the very indices."""
        return [[s.index, _kept_to_json(s.heads), _kept_to_json(s.units)] for s in self.layers]

    @classmethod
    def from_json(cls, rows: list[list[Any]]) -> SubNetwork:
        """Inverse of `to_json`."""
        return cls(tuple(LayerSlice(i, _kept_from_json(heads), _kept_from_json(units)) for i, heads, units in rows))

    def widths(self) -> tuple[str, str, str]:
        """Layers, heads and units for people: a number each, or a range where layers differ."""
        heads, units = (_span([len(getattr(s, name)) for s in self.layers]) for name in ("heads", "units"))
        return str(len(self.layers)), heads, units

    def __str__(self) -> str:
        return "{} layers, {} heads, {} units".format(*self.widths())


def _kept_to_json(indices: Kept) -> int | list[int]:
    return len(indices) if isinstance(indices, range) else list(indices)


def _kept_from_json(value: int | list[int]) -> Kept:
    return range(value) if isinstance(value, int) else kept(value)


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low}-{high}"
