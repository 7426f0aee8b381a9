"""A space for searching a trained supernet: the first heads and units of each layer, or those that matter most.

This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeAlias, final

from supernet.runtime.files import write_json
from supernet.runtime.reading import read_record, unusable
from supernet.runtime.shapes import WrongValue
from supernet.space.base import SearchSpace
from supernet.space.spaces import MediumSpace
from supernet.space.subnetwork import LayerSlice, Sizes, SubNetwork

FILE = "ranking.json"

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


@dataclass(frozen=True)
class Ranking:
    """How a trained supernet was pruned step by step (`search.ranking`); the content of ranking.json.

    Attributes:
        heads, units: For each layer, all of them, the best first.
        multiple_of: Units in a multiple.
        steps: Sub-networks, the largest first: the numbers of each layer's heads and of its multiples of units.
    """

    heads: list[list[int]]
    units: list[list[int]]
    multiple_of: int
    steps: list[tuple[list[int], list[int]]]

    def space(self, sizes: Sizes) -> RankedSpace:
        """The sub-networks of the first and of the best heads and units."""
        orders = (tuple(map(tuple, order)) for order in (self.heads, self.units))
        return RankedSpace(sizes.layers, sizes.heads, sizes.units, (), self.multiple_of, None, None, None, *orders)

    def subnets(self, sizes: Sizes) -> list[SubNetwork]:
        """The steps."""
        space = self.space(sizes)
        return [space.decode([1, *heads, *multiples]) for heads, multiples in self.steps]


def read_ranking(folder: Path, sizes: Sizes) -> Ranking | None:
    """Reads what `write_ranking` wrote; None if there is no such file.

    Raises:
        UserError: if the file is damaged, or belongs to another model.
    """
    path, advice = folder / FILE, "start again with overwrite=true"
    if not path.exists():
        return None
    ranking = read_record(path, Ranking, advice)
    with unusable(str(path), advice):
        for name, orders, width in (("heads", ranking.heads, sizes.heads), ("units", ranking.units, sizes.units)):
            if [sorted(order) for order in orders] != [list(range(width))] * sizes.layers:
                raise WrongValue(f"{name} are not {sizes.layers} orders of {width}")
    return ranking


def write_ranking(folder: Path, ranking: Ranking) -> None:
    """Writes ranking.json."""
    write_json(folder / FILE, asdict(ranking))
