"""A space for searching a trained supernet: the first heads and units of each layer, or those that matter most.

This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias, final

from supernet.space.base import SearchSpace
from supernet.space.spaces import MediumSpace
from supernet.space.subnetwork import LayerSlice, SubNetwork

Orders: TypeAlias = tuple[tuple[int, ...], ...]
"""For each layer, all its heads or all its units in an order."""


@final
@dataclass(frozen=True)
class RankedSpace(SearchSpace):
    """As medium, and each sub-network may keep, instead of the first heads and units of each layer, the best ones.

    Which are the best is measured on a trained supernet, so this space is for searching, not for training.

    Attributes:
        best_heads, best_units: Of each layer, all of them, the best first.
    """

    best_heads: Orders = ()
    best_units: Orders = ()

    name = "ranked"
    counts: ClassVar[Mapping[str, int]] = {"heads": 0, "units": 0}

    @cached_property
    def _medium(self) -> MediumSpace:
        return MediumSpace(self.layers, self.heads, self.units, multiple_of=self.multiple_of)

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {"best": (0, 1)} | self._medium.bounds

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        best, *numbers = vector
        if not best:
            return self._medium.decode(numbers)
        triples = zip(numbers[: self.layers], numbers[self.layers :], self.best_heads, self.best_units, strict=True)
        kept = [(heads[:h], units[: self._units(g)]) for h, g, heads, units in triples]
        return SubNetwork(tuple(LayerSlice(i, *both) for i, both in enumerate(kept)))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        first = all(isinstance(kept, range) for s in subnet.layers for kept in (s.heads, s.units))
        return [int(not first), *self._medium._encode(subnet)]

    @property
    def middle(self) -> SubNetwork:
        return self._medium.middle
