"""Two phases: a searcher looks first in a small space, then in a larger one that contains it.

The supernet was trained in the small space, so its sub-networks are good, and few trials find the best of them. Around
these, the larger space has better ones: it may give each layer another width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from search.searchers.history import History, Propose
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork


@dataclass(frozen=True)
class FirstPhase:
    """The phase that comes first.

    Attributes:
        space: The space that is searched first, within the whole space.
        trials: Number of trials in it.
    """

    space: SearchSpace
    trials: int


def in_phases(first: FirstPhase, propose_first: Propose, propose: Propose) -> Propose:
    """Proposes from the first space until its phase is over or it is exhausted, then from the whole space.

    Args:
        first: The first phase.
        propose_first: Made for its space.
        propose: Made for the whole space.
    """

    def proposed(history: History, rng: np.random.Generator) -> SubNetwork | None:
        if history.trials < first.trials:
            subnet = propose_first(within(history, first.space), rng)
            if subnet is not None:
                return subnet
        return propose(history, rng)

    return proposed


def within(history: History, space: SearchSpace) -> History:
    """What of a history is about the sub-networks of a space."""
    byproducts, pending, failed = (
        {subnet for subnet in subnets if subnet in space}
        for subnets in (history.byproducts, history.pending, history.failed)
    )
    results = {subnet: costs for subnet, costs in history.results.items() if subnet in space}
    return replace(history, space=space, results=results, byproducts=byproducts, pending=pending, failed=failed)
