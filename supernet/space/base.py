"""The base class of search spaces: sets of sub-networks, described by vectors of integers.

Each sub-network of a space has a vector of integers within bounds (`decode`, `encode`). Searchers work on vectors,
everything else on the `SubNetwork` itself. `supernet.space.spaces` has the spaces. This module imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from supernet.runtime.errors import UserError
from supernet.space.subnetwork import Sizes, SubNetwork

DEPTH_ORDERS = ("prefix", "even", "importance")

SAMPLES = 100
"""Sub-networks of another space that are looked at to see whether it lies within a space."""


def layer_sets(depth: str, layers: int, importance: Sequence[float] | None = None) -> tuple[tuple[int, ...], ...]:
    """For each number of layers from 0 to all, the indices of the kept layers, ascending.

    Args:
        depth: One of `DEPTH_ORDERS`.
        layers: Number of layers of the full model.
        importance: A score for each layer, larger is more important; required for depth "importance".
    """
    if depth == "even":
        spread = [[round(i * (layers - 1) / max(n - 1, 1)) for i in range(n)] for n in range(layers + 1)]
        return tuple(map(tuple, spread))
    order = range(layers) if depth == "prefix" else np.argsort(-np.asarray(importance), kind="stable").tolist()
    return tuple(tuple(sorted(order[:n])) for n in range(layers + 1))


@dataclass(frozen=True)
class SearchSpace(ABC):
    """A set of sub-networks of one full model, described by vectors of integers within bounds.

    Several vectors can stand for the same sub-network (without layers, the widths do not matter), so compare
    sub-networks, not vectors. Units are kept in multiples: bundles of `multiple_of`, the last of which
    may be smaller.

    Attributes:
        layers, heads, units: Sizes of the full model: layers, and attention heads and feed-forward units per layer.
        kept_layers: The kept layers for each number of layers (see `layer_sets`). Empty: the first layers.
        multiple_of: Units in a multiple.
        min_layers, min_heads, min_units: Smallest numbers, if the space has such a number; None is its default.

    Raises:
        UserError: if a smallest number is larger than the full model's.
    """

    layers: int
    heads: int
    units: int
    kept_layers: tuple[tuple[int, ...], ...] = ()
    multiple_of: int = 1
    min_layers: int | None = None
    min_heads: int | None = None
    min_units: int | None = None

    name: ClassVar[str]
    features_are_entries: ClassVar[bool] = True
    """Whether the features of a vector are its entries, so that a vector can be found for any features."""

    counts: ClassVar[Mapping[str, int]]
    """What a vector has numbers of, and their default minimum."""

    def __post_init__(self) -> None:
        for count in ("layers", "heads", "units"):
            least, most = getattr(self, f"min_{count}"), getattr(self, count)
            if least is not None and least > most:
                raise UserError(f"space.min_{count} is {least}, but the model has {most}; give at most {most}")

    def _range(self, count: str) -> tuple[int, int]:
        """Smallest and largest number of layers, heads or multiples of units."""
        least = getattr(self, f"min_{count}")
        least = self.counts[count] if least is None else least
        return (-(-least // self.multiple_of), self.multiples) if count == "units" else (least, getattr(self, count))

    @final
    @property
    def sizes(self) -> Sizes:
        """Sizes of the full model."""
        return Sizes(self.layers, self.heads, self.units)

    @final
    @property
    def multiples(self) -> int:
        """Multiples of units per layer."""
        return -(-self.units // self.multiple_of)

    def _units(self, multiples: int) -> int:
        """Number of units in the first `multiples` multiples."""
        return min(multiples * self.multiple_of, self.units)

    def _multiples(self, units: int) -> int:
        """Number of multiples that hold this number of units, rounded up; `encode` refuses numbers in between."""
        return -(-units // self.multiple_of)

    @property
    @abstractmethod
    def bounds(self) -> dict[str, tuple[int, int]]:
        """Smallest and largest value, both included, of each entry of a vector, by name and in order."""

    @abstractmethod
    def decode(self, vector: Sequence[int]) -> SubNetwork:
        """The sub-network of a vector."""

    @abstractmethod
    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        """A vector of a sub-network of this space. For others the result does not matter: `encode` checks it."""

    @property
    @abstractmethod
    def middle(self) -> SubNetwork:
        """Half of everything, at least the minimum; the third trial of every search."""

    def _half(self, count: str) -> int:
        low, high = self._range(count)
        return max(high // 2, low)

    @final
    def encode(self, subnet: SubNetwork) -> tuple[int, ...]:
        """A vector of `subnet`: the inverse of `decode`.

        Raises:
            ValueError: if the sub-network is not in this space.
        """
        vector = tuple(int(v) for v in self._encode(subnet))
        inside = all(low <= v <= high for v, (low, high) in zip(vector, self.bounds.values(), strict=True))
        if not inside or self.decode(vector) != subnet:
            raise ValueError(f"sub-network ({subnet}) is not in space {self.name}")
        return vector

    @final
    def includes(self, other: SearchSpace) -> bool:
        """Whether another space of the same full model lies within this one, as far as `SAMPLES` of it tell."""
        rng = np.random.default_rng(0)
        ends = (other.largest, other.smallest, other.middle)
        return self.sizes == other.sizes and all(
            s in self for s in (*ends, *(other.sample(rng) for _ in range(SAMPLES)))
        )

    @final
    def __contains__(self, subnet: SubNetwork) -> bool:
        """Whether the sub-network has a vector."""
        try:
            self.encode(subnet)
        except ValueError:
            return False
        return True

    @property
    def regular(self) -> SearchSpace:
        """The sub-networks that are good starting points for a search, as a space within this one; here all of them."""
        return self

    def features(self, vectors_cd: np.ndarray) -> np.ndarray:
        """(c, f) what a model of the errors sees of vectors: numbers from 0 to 1, here the entries themselves."""
        return (vectors_cd - self.lower) / np.maximum(self.upper - self.lower, 1)

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
    @cached_property
    def smallest(self) -> SubNetwork:
        """The sub-network of the vector of lower bounds."""
        return self.decode(self.lower.tolist())

    @final
    @cached_property
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
        """A random sub-network: its vector is drawn uniformly within the bounds."""
        return self.decode(rng.integers(self.lower, self.upper, endpoint=True).tolist())
