"""MO-ASHA: it trains random sub-networks, and stops those that look poor after some epochs.

Syne Tune's scheduler decides at *rungs* (1, 3, 9, ... reports): a trial continues if it is among the best third that
reached the rung, by non-dominated sorting. This module corrects three faults of Syne Tune 0.16: its priority confuses
ranks with an order, so that it stops arbitrary trials; distances within a front have the objectives' own units, where
millions of parameters outweigh an error; proposals are not seeded and may repeat.

Source: Schmucker et al., "Multi-objective asynchronous successive halving", arXiv:2106.12639, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import TrialSuggestion
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import MOPriority
from syne_tune.optimizer.schedulers.multiobjective.non_dominated_priority import compute_epsilon_net

from search.searchers.schedulers import make_scheduler
from supernet.space.base import SearchSpace

REPORTS = "reports"
"""A trial's progress: its number of evaluations so far."""


class NonDominatedRank(MOPriority):
    """The rank of each row when all are sorted: 0 is the best.

    Sorts front by front. Within a front, the best in objective `dim` comes first, then repeatedly the row farthest from
    those before it. Each objective is scaled to its range among the rows.

    Args:
        dim: The objective whose best comes first.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def priority_unsafe(self, objectives: np.ndarray) -> np.ndarray:
        """(n,) ranks of (n, m) objectives, all minimised."""
        low, span = objectives.min(axis=0), np.ptp(objectives, axis=0)
        scaled = (objectives - low) / np.where(span > 0, span, 1.0)
        ranks, before = np.empty(len(scaled)), 0
        for front in NonDominatedSorting().do(scaled):
            ranks[front] = before + compute_epsilon_net(scaled[front], dim=self.dim)
            before += len(front)
        return ranks


class SubNetworkMOASHA(MOASHA):
    """Syne Tune's MO-ASHA over the sub-networks of a space, each at most once, the same for the same seed.

    Args:
        space: Where the sub-networks come from.
        metrics: Names of the objectives in reported results, all minimised.
        first: Number of the objective whose best comes first in each front.
        seed: Of the proposals.
        reports: Number of reports of a full trial.
        grace: Number of reports before the first decision.
        reduction_factor: The best 1/reduction_factor of the trials continue at each rung, to reduction_factor times as
            many reports.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        metrics: Sequence[str],
        first: int,
        seed: int,
        reports: int,
        grace: int,
        reduction_factor: float,
    ) -> None:
        self._proposals = make_scheduler("random", space, metrics=metrics, seed=seed)
        super().__init__(
            self._proposals.config_space,
            metrics=list(metrics),
            time_attr=REPORTS,
            multiobjective_priority=NonDominatedRank(first),
            max_t=reports,
            grace_period=grace,
            reduction_factor=reduction_factor,
            random_seed=seed,
        )

    def suggest(self) -> TrialSuggestion | None:
        """A random sub-network that was not tried before; None if none is left."""
        return self._proposals.suggest()

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:
        """Tells the searcher that the trial has ended; it already has the last report."""
        del self.trial_info[trial.trial_id]
        self._proposals.on_trial_complete(trial, result)

    def on_trial_remove(self, trial: Trial) -> None:
        """A stopped trial counts as tried."""
        self.on_trial_error(trial)

    def on_trial_error(self, trial: Trial) -> None:
        """A failed trial counts as tried. Its earlier reports stay in the rungs."""
        del self.trial_info[trial.trial_id]
        self._proposals.on_trial_error(trial)
