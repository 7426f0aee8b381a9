"""The history of a search. A proposal is a function of this history and of a seed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TypeAlias

import numpy as np

from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

REJECTIONS = 1000
"""Draws of known sub-networks after which the space is searched in order; see `unseen_sample`."""


@dataclass(frozen=True)
class History:
    """The sub-networks and results before a proposal.

    Attributes:
        space: Where the sub-networks come from.
        results: The objectives of each sub-network, all minimised, in the order in which they came.
        byproducts: Sub-networks of `results` that were not asked for: early exits. They are no trials.
        pending: Sub-networks that were asked for and have no result yet.
        failed: Sub-networks that could not be evaluated.
    """

    space: SearchSpace
    results: Mapping[SubNetwork, tuple[float, ...]]
    byproducts: Collection[SubNetwork] = frozenset()
    pending: Collection[SubNetwork] = frozenset()
    failed: Collection[SubNetwork] = frozenset()

    @cached_property
    def seen(self) -> set[SubNetwork]:
        """Every sub-network that must not be proposed again."""
        return {*self.results, *self.pending, *self.failed}

    @property
    def trials(self) -> int:
        """Number of sub-networks asked for so far, with any outcome."""
        return len(self.seen) - len(self.byproducts)

    def first_unseen(self, subnets: Iterable[SubNetwork]) -> SubNetwork | None:
        """The first of the sub-networks that may be proposed; None if there is none."""
        return next((subnet for subnet in subnets if subnet not in self.seen), None)

    def unseen_sample(self, rng: np.random.Generator) -> SubNetwork | None:
        """A uniform draw among the unseen sub-networks; None if none is left.

        Draws until a sub-network is new, which is quick in any space worth searching. In a nearly exhausted space it
        may fail: then it returns the first new sub-network in the order of the vectors.
        """
        drawn = self.first_unseen(self.space.sample(rng) for _ in range(REJECTIONS))
        return self.first_unseen(all_subnets(self.space)) if drawn is None else drawn

    def sorted(self) -> tuple[list[SubNetwork], np.ndarray, np.ndarray]:
        """The n sub-networks with results, their (n, d) vectors and (n, m) objectives, in the order of the vectors.

        For searchers that must not depend on the order of the results: sums of floats depend on the order.
        """
        rows = sorted(((self.space.encode(s), costs, s) for s, costs in self.results.items()), key=lambda row: row[0])
        vectors, costs, subnets = zip(*rows, strict=True)
        return list(subnets), np.array(vectors), np.array(costs, dtype=float)

    def by_cost(self) -> tuple[list[SubNetwork], np.ndarray]:
        """The n sub-networks with results and their (n, m) objectives, sorted by these; equal rows keep their order."""
        rows = sorted(self.results.items(), key=lambda row: row[1])
        return [subnet for subnet, _ in rows], np.array([costs for _, costs in rows], dtype=float)


Propose: TypeAlias = Callable[[History, np.random.Generator], "SubNetwork | None"]
"""A searcher, apart from Syne Tune: returns a sub-network not seen before, or None if none is left."""


def all_subnets(space: SearchSpace) -> Iterator[SubNetwork]:
    """Every sub-network of a space, in the order of the vectors; some more than once."""
    return map(space.decode, product(*(range(low, high + 1) for low, high in space.bounds.values())))
