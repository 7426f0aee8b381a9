"""Sub-networks as frozen values: the kept heads and units of each layer. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeAlias

from supernet.runtime.shapes import Within, WrongValue, shaped

Kept: TypeAlias = "range | tuple[int, ...]"
"""Kept indices, ascending. A prefix is always a `range`, so that equal sub-networks compare and hash equal."""

MOST = 10**6
"""More layers, heads or units per layer than any model has."""
_Index = Annotated[int, Within(0, MOST)]


def kept(indices: Iterable[int]) -> Kept:
    """Canonical form of a set of indices: `range(n)` for the first n, otherwise an ascending tuple."""
    if isinstance(indices, range) and indices == range(len(indices)):
        return indices
    ordered = tuple(sorted({int(i) for i in indices}))
    return range(len(ordered)) if ordered == tuple(range(len(ordered))) else ordered


@dataclass(frozen=True, init=False)
class LayerSlice:
    """What a sub-network keeps of a layer. A block without heads or units is absent, with its LayerNorm and biases.

    Attributes:
        index: Position of the layer in the full model.
        heads: Kept attention heads. Without any, the layer has no attention block.
        units: Kept feed-forward units. Without any, the layer has no feed-forward block.
    """

    index: int
    heads: Kept
    units: Kept

    def __init__(self, index: int, heads: Iterable[int], units: Iterable[int]) -> None:
        vars(self).update(index=index, heads=kept(heads), units=kept(units))


@dataclass(frozen=True, init=False)
class SubNetwork:
    """The kept layers, heads and units as a value: hashable, comparable, independent of any model.

    Layers without heads and units are dropped, so that the same function always has the same value.

    Raises:
        ValueError: if the layers are not in ascending order.
    """

    layers: tuple[LayerSlice, ...]

    def __init__(self, layers: Iterable[LayerSlice]) -> None:
        layers = tuple(layers)
        indices = [layer.index for layer in layers]
        if indices != sorted(set(indices)):
            raise ValueError(f"layers must be in ascending order, got {indices}")
        vars(self).update(layers=tuple(s for s in layers if s.heads or s.units))

    @classmethod
    def uniform(cls, layers: Iterable[int], heads: int, units: int) -> SubNetwork:
        """The first `heads` heads and the first `units` units in each of the given layers."""
        return cls(tuple(LayerSlice(i, range(heads), range(units)) for i in layers))

    def prefixes(self) -> tuple[SubNetwork, ...]:
        """This sub-network without its last layer, without its last two, and so on, down to no layer."""
        return tuple(SubNetwork(self.layers[:count]) for count in reversed(range(len(self.layers))))

    def contains(self, other: SubNetwork) -> bool:
        """Whether it keeps everything that `other` keeps."""
        mine = {s.index: s for s in self.layers}
        return all(
            s.index in mine and set(s.heads) <= set(mine[s.index].heads) and set(s.units) <= set(mine[s.index].units)
            for s in other.layers
        )

    def to_json(self) -> list[list[Any]]:
        """[index, heads, units] for each layer. A number n stands for the first n, a list for these indices."""
        return [[s.index, _kept_to_json(s.heads), _kept_to_json(s.units)] for s in self.layers]

    @classmethod
    def from_json(cls, rows: Any) -> SubNetwork:
        """Inverse of `to_json`.

        Raises:
            WrongValue: if `to_json` cannot have made it.
        """
        layers = shaped(list[tuple[_Index, Any, Any]], rows, "layers")
        indices = [index for index, *_ in layers]
        if not _ascending(indices):
            raise WrongValue.at("the order of layers", indices, "ascending")
        return cls(
            tuple(
                LayerSlice(index, *(_kept_from_json(block, f"layers[{row}][{i}]") for i, block in enumerate(blocks, 1)))
                for row, (index, *blocks) in enumerate(layers)
            )
        )

    def widths(self) -> tuple[str, str, str]:
        """Layers, heads and units for people: each a number, or a range if layers differ."""
        heads, units = (_span([len(getattr(s, name)) for s in self.layers]) for name in ("heads", "units"))
        return str(len(self.layers)), heads, units

    def __str__(self) -> str:
        return "{} layers, {} heads, {} units".format(*self.widths())


@dataclass(frozen=True)
class Sizes:
    """Sizes of a full model: layers, and heads and units per layer."""

    layers: Annotated[int, Within(1, MOST)]
    heads: Annotated[int, Within(1, MOST)]
    units: Annotated[int, Within(1, MOST)]

    def excess(self, subnet: SubNetwork) -> str | None:
        """What a sub-network has beyond the model, for people; None if it fits."""
        for s in subnet.layers:
            most = {"layers": s.index, "heads": max(s.heads, default=-1), "units": max(s.units, default=-1)}
            for name, last in most.items():
                if last >= getattr(self, name):
                    return f"it has {name} up to number {last + 1}, the supernet only {getattr(self, name)}"
        return None


def _kept_to_json(indices: Kept) -> int | list[int]:
    return len(indices) if isinstance(indices, range) else list(indices)


def _kept_from_json(value: Any, key: str) -> Kept:
    if not isinstance(value, list):
        return range(shaped(_Index, value, key))
    # `shaped` would be slow for thousands of indices.
    if not all(type(i) is int and 0 <= i < MOST for i in value) or not _ascending(value):
        raise WrongValue.at(key, value, "whole numbers from 0, ascending")
    return kept(value)


def _ascending(indices: list[int]) -> bool:
    return all(i < j for i, j in pairwise(indices))


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low}-{high}"
