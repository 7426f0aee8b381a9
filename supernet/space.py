"""Sub-networks as frozen values, and the search spaces they come from.

A space describes each of its sub-networks by a vector of integers within bounds (`decode`, `encode`), which is what
searchers work on; everything else in the project works on the `SubNetwork` itself. This module imports no torch.

Source of the four spaces: Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture
Search", TMLR 2024.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias, final

import numpy as np

from supernet.errors import unknown

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


def _ones(bits: np.ndarray) -> Kept:
    return kept(bits.nonzero()[0].tolist())


def _kept_to_json(indices: Kept) -> int | list[int]:
    return len(indices) if isinstance(indices, range) else list(indices)


def _kept_from_json(value: int | list[int]) -> Kept:
    return range(value) if isinstance(value, int) else kept(value)


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low}-{high}"


@dataclass(frozen=True)
class SearchSpace(ABC):
    """A set of sub-networks of one full model, described by vectors of integers within bounds.

    Different vectors may stand for the same sub-network (no layers: the widths do not matter), so compare
    sub-networks, not vectors.

    Attributes:
        layers, heads, units: Sizes of the full model: number of layers, heads and feed-forward units per layer.
    """

    layers: int
    heads: int
    units: int

    name: ClassVar[str]

    @property
    @abstractmethod
    def bounds(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest value, both included, of each named entry of a vector, in order."""

    @abstractmethod
    def decode(self, vector: Sequence[int]) -> SubNetwork:
        """The sub-network that a vector stands for."""

    @abstractmethod
    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        """A vector for a sub-network of this space; anything for another one (`encode` checks)."""

    @property
    def middle(self) -> SubNetwork:
        """Half of what there is (here: of each layer); the third point of every search, after largest and smallest."""
        return SubNetwork.uniform(range(self.layers), self.heads // 2, self.units // 2)

    @final
    def encode(self, subnet: SubNetwork) -> tuple[int, ...]:
        """A vector that decodes to `subnet`.

        Raises:
            ValueError: if the sub-network is not in this space.
        """
        vector = tuple(int(v) for v in self._encode(subnet))
        inside = all(low <= v <= high for v, (low, high) in zip(vector, self.bounds.values(), strict=True))
        if not inside or self.decode(vector) != subnet:
            raise ValueError(f"sub-network ({subnet}) is not in space {self.name}")
        return vector

    @final
    @cached_property
    def lower(self) -> np.ndarray:
        """(d,) smallest value of each entry of a vector."""
        return np.array([low for low, _ in self.bounds.values()])

    @final
    @cached_property
    def upper(self) -> np.ndarray:
        """(d,) largest value of each entry of a vector."""
        return np.array([high for _, high in self.bounds.values()])

    @final
    @property
    def smallest(self) -> SubNetwork:
        """The sub-network of the lower bounds."""
        return self.decode(self.lower.tolist())

    @final
    @property
    def largest(self) -> SubNetwork:
        """The full model."""
        return self.decode(self.upper.tolist())

    @final
    @property
    def size(self) -> int:
        """Number of vectors."""
        size = 1
        for low, high in self.bounds.values():
            size *= high - low + 1
        return size

    @final
    def sample(self, rng: np.random.Generator) -> SubNetwork:
        """A sub-network whose vector is drawn uniformly within the bounds."""
        return self.decode(rng.integers(self.lower, self.upper, endpoint=True).tolist())


@final
@dataclass(frozen=True)
class SmallSpace(SearchSpace):
    """One number of layers, heads and units for the whole net: the first l layers, each with the first h and u."""

    name = "small"

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {"layers": (0, self.layers), "heads": (1, self.heads), "units": (1, self.units)}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        layers, heads, units = vector
        return SubNetwork.uniform(range(layers), heads, units)

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        if not subnet.layers:
            return (0, 1, 1)
        return (len(subnet.layers), len(subnet.layers[0].heads), len(subnet.layers[0].units))

    @property
    def middle(self) -> SubNetwork:
        return SubNetwork.uniform(range(self.layers // 2), max(self.heads // 2, 1), max(self.units // 2, 1))


@final
@dataclass(frozen=True)
class MediumSpace(SearchSpace):
    """A number of heads and a number of units for each layer; none of both removes the layer."""

    name = "medium"

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        heads = {f"heads_{i}": (0, self.heads) for i in range(self.layers)}
        return heads | {f"units_{i}": (0, self.units) for i in range(self.layers)}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        pairs = zip(vector[: self.layers], vector[self.layers :], strict=True)
        return SubNetwork(tuple(LayerSlice(i, range(h), range(u)) for i, (h, u) in enumerate(pairs)))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        heads, units = [0] * self.layers, [0] * self.layers
        for s in subnet.layers:
            heads[s.index], units[s.index] = len(s.heads), len(s.units)
        return heads + units


@final
@dataclass(frozen=True)
class LargeSpace(SearchSpace):
    """Each single head and unit is kept or not: any subset."""

    name = "large"

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        heads = [f"head_{i}_{n}" for i in range(self.layers) for n in range(self.heads)]
        units = [f"unit_{i}_{f}" for i in range(self.layers) for f in range(self.units)]
        return dict.fromkeys(heads + units, (0, 1))

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        bits = np.asarray(vector, dtype=bool)
        heads, units = np.split(bits, [self.layers * self.heads])
        rows = zip(heads.reshape(self.layers, self.heads), units.reshape(self.layers, self.units), strict=True)
        return SubNetwork(tuple(LayerSlice(i, _ones(h), _ones(u)) for i, (h, u) in enumerate(rows)))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        heads = np.zeros((self.layers, self.heads), dtype=int)
        units = np.zeros((self.layers, self.units), dtype=int)
        for s in subnet.layers:
            heads[s.index, list(s.heads)] = 1
            units[s.index, list(s.units)] = 1
        return np.concatenate([heads.ravel(), units.ravel()]).tolist()


@final
@dataclass(frozen=True)
class LayerSpace(SearchSpace):
    """Each layer is kept whole or not at all."""

    name = "layer"

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {f"layer_{i}": (0, 1) for i in range(self.layers)}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        return SubNetwork.uniform([i for i, keep in enumerate(vector) if keep], self.heads, self.units)

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        indices = {s.index for s in subnet.layers}
        return [int(i in indices) for i in range(self.layers)]

    @property
    def middle(self) -> SubNetwork:
        return SubNetwork.uniform(range(0, self.layers, 2), self.heads, self.units)


SPACES: dict[str, type[SearchSpace]] = {
    space.name: space for space in (SmallSpace, MediumSpace, LargeSpace, LayerSpace)
}


def search_space(name: str, *, layers: int, heads: int, units: int) -> SearchSpace:
    """The space called `name` over a full model of the given sizes.

    Raises:
        UserError: if no space has that name.
    """
    if name not in SPACES:
        raise unknown("space", name, SPACES)
    return SPACES[name](layers, heads, units)
