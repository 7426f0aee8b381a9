"""What a searcher knows when it is asked for the next sub-network. A proposal is a function of this and of a seed."""

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
"""Draws that may turn out to be known before the space is gone through in order; see `unseen_sample`."""


@dataclass(frozen=True)
class History:
    """What was asked and told before a proposal.

    Attributes:
        space: Where the sub-networks come from.
        told: What each sub-network costs, all objectives minimised, in the order told.
        byproducts: Those of `told` that came without being asked for: early exits. They are no trials.
        pending: Asked, but not yet told.
        failed: Could not be evaluated.
    """

    space: SearchSpace
    results: Mapping[SubNetwork, tuple[float, ...]]
    byproducts: Collection[SubNetwork] = frozenset()
    pending: Collection[SubNetwork] = frozenset()
    failed: Collection[SubNetwork] = frozenset()

    @cached_property
    def seen(self) -> set[SubNetwork]:
        """Every sub-network that is not to be proposed again."""
        return {*self.results, *self.pending, *self.failed}

    @property
    def trials(self) -> int:
        """Sub-networks asked for so far, whatever became of them."""
        return len(self.seen) - len(self.byproducts)

    def first_unseen(self, subnets: Iterable[SubNetwork]) -> SubNetwork | None:
        """The first of some sub-networks that may be proposed."""
        return next((subnet for subnet in subnets if subnet not in self.seen), None)

    def unseen_sample(self, rng: np.random.Generator) -> SubNetwork | None:
        """A uniform draw among those not seen; None if there is none.

        Draws until one is new, which ends at once in any space worth searching. In a space nearly exhausted it may
        not: then the first new one in the order of the vectors.
        """
        drawn = self.first_unseen(self.space.sample(rng) for _ in range(REJECTIONS))
        return self.first_unseen(all_subnets(self.space)) if drawn is None else drawn

    def sorted(self) -> tuple[list[SubNetwork], np.ndarray, np.ndarray]:
        """The n sub-networks told, their (n, d) vectors and their (n, m) costs, in the order of the vectors.

        For searchers that do not care about the order told: sums of floats, and so proposals, depend on the order.
        """
        rows = sorted(((self.space.encode(s), costs, s) for s, costs in self.results.items()), key=lambda row: row[0])
        vectors, costs, subnets = zip(*rows, strict=True)
        return list(subnets), np.array(vectors), np.array(costs, dtype=float)

    def by_cost(self) -> tuple[list[SubNetwork], np.ndarray]:
        """The n sub-networks told and their (n, m) costs, in the order of the costs; equal ones in the order told."""
        rows = sorted(self.results.items(), key=lambda row: row[1])
        return [subnet for subnet, _ in rows], np.array([costs for _, costs in rows], dtype=float)


Propose: TypeAlias = Callable[[History, np.random.Generator], "SubNetwork | None"]
"""A sub-network not seen before; None if there is none left. What a searcher is, apart from Syne Tune."""


def all_subnets(space: SearchSpace) -> Iterator[SubNetwork]:
    """Every sub-network of a space, in the order of the vectors; some more than once."""
    return map(space.decode, product(*(range(low, high + 1) for low, high in space.bounds.values())))
