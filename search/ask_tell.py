"""Syne Tune's scheduler interface, in terms of sub-networks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import TrialScheduler

from supernet.space import SearchSpace, SubNetwork


class AskTell:
    """Asks a scheduler for sub-networks and tells it what they cost.

    Syne Tune's own AskTellScheduler numbers trials by what was asked, which a resumed search has not, and fails when
    a space is exhausted.

    Args:
        scheduler: Any Syne Tune scheduler over the entries of the space's vectors.
        space: Where the sub-networks come from.
    """

    def __init__(self, scheduler: TrialScheduler, space: SearchSpace) -> None:
        self._scheduler, self._space = scheduler, space
        self._told = 0

    def ask(self) -> SubNetwork | None:
        """The next sub-network to evaluate; None if none is left."""
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        return self._space.decode([suggestion.config[name] for name in self._space.bounds])

    def tell(self, subnet: SubNetwork, metrics: Mapping[str, float]) -> None:
        """Reports the objectives of a sub-network, asked for or not (a resumed search tells its old trials)."""
        config = dict(zip(self._space.bounds, self._space.encode(subnet), strict=True))
        trial = Trial(trial_id=self._told, config=config, creation_time=datetime.now(timezone.utc))
        self._scheduler.on_trial_complete(trial, dict(metrics))
        self._told += 1
