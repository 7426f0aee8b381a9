"""Syne Tune schedulers that propose the sub-networks of a space, and how to ask them without Syne Tune's loop.

Use: `scheduler = make_scheduler("ehvi", space, metrics=["error", "params"], seed=0, known={"params": params})`, then
`scheduler.suggest()` and `scheduler.on_trial_complete(trial, {"error": 0.2, "params": 1e6})` in turn. To resume a
search, tell a new scheduler all results of the old one.

A single Syne Tune searcher keeps the history. Proposals are functions of that history (`history.Propose`), each a row
of `table.SEARCHERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, final

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import randint
from syne_tune.optimizer.scheduler import TrialScheduler
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from search.options.searchers import SearcherOptions, searcher_options
from search.searchers.history import History, Propose
from search.searchers.phases import FirstPhase, in_phases
from search.searchers.table import SEARCHERS, Formula, Problem
from supernet.runtime.errors import UserError, unknown
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork


@final
class SubNetworkSearcher(BaseSearcher):
    """A searcher whose trials are the sub-networks of a space, each at most once.

    Starts with given sub-networks. Each proposal depends only on the seed and on the earlier sub-networks and results.
    So a new searcher that gets the trials of an interrupted search in their order, without being asked, continues that
    search.

    Args:
        space: Where the sub-networks come from.
        propose: Proposes the next sub-network, after the starts.
        starts: Tried first.
        seed: Of the proposals.
        learns: Whether proposals depend on results. A searcher that does not learn must not know byproducts: they
            come at other times if several sub-networks are evaluated at once.

    Attributes:
        config_space: Syne Tune's view of the space: one integer for each entry of a vector.
    """

    def __init__(
        self, space: SearchSpace, propose: Propose, *, starts: Sequence[SubNetwork], seed: int, learns: bool = True
    ) -> None:
        super().__init__({name: randint(low, high) for name, (low, high) in space.bounds.items()}, random_seed=seed)
        self.space, self._propose, self._starts, self._learns = space, propose, starts, learns
        self._results: dict[SubNetwork, tuple[float, ...]] = {}
        self._byproducts: set[SubNetwork] = set()
        self._pending: set[SubNetwork] = set()
        self._failed: set[SubNetwork] = set()

    def suggest(self, **kwargs: Any) -> dict[str, int] | None:
        """The vector of the next sub-network by the names of its entries; None if none is left."""
        history = History(self.space, self._results, self._byproducts, self._pending, self._failed)
        subnet = history.first_unseen(self._starts)
        if subnet is None:
            # A generator for each trial, not for the whole search: resuming need not restore its state.
            subnet = self._propose(history, np.random.default_rng([self.random_seed, history.trials]))
        if subnet is None:
            return None
        self._pending.add(subnet)
        return dict(zip(self.config_space, self.space.encode(subnet), strict=True))

    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metrics: Sequence[float]) -> None:
        """Records the objectives of a sub-network.

        Raises:
            ValueError: if a metric is not finite; report such a trial by `on_trial_error`.
        """
        subnet = self._subnet(config)
        costs = self._finite(subnet, metrics)
        for others in (self._pending, self._failed, self._byproducts):
            others.discard(subnet)
        self._results.pop(subnet, None)  # a trial's age counts from its own result, not from an earlier observation
        self._results[subnet] = costs

    def on_trial_error(self, trial_id: int, config: dict[str, Any] | None = None) -> None:
        """Remembers a sub-network that could not be evaluated, so that it is not suggested again.

        Args:
            trial_id: Not used, since the caller chooses ids.
            config: The trial's configuration. Syne Tune's own schedulers leave it out; then the trial stays pending.
        """
        if config is not None:
            subnet = self._subnet(config)
            self._pending.discard(subnet)
            self._failed.add(subnet)

    def observe(self, subnet: SubNetwork, metrics: Sequence[float]) -> None:
        """Records a result that came without a trial. A trial's own result, before or after, takes its place.

        Raises:
            ValueError: if a metric is not finite.
        """
        costs = self._finite(subnet, metrics)
        known = subnet in self._results or subnet in self._pending or subnet in self._failed
        if self._learns and not known:
            self._results[subnet] = costs
            self._byproducts.add(subnet)

    def mark_pending(self, subnet: SubNetwork) -> None:
        """Marks a sub-network as suggested without a result yet, as it was in the search that is resumed."""
        self._pending.add(subnet)

    @staticmethod
    def _finite(subnet: SubNetwork, metrics: Sequence[float]) -> tuple[float, ...]:
        if not np.isfinite(metrics).all():
            raise ValueError(f"metrics of sub-network ({subnet}) must be finite, got {list(metrics)}")
        return tuple(float(m) for m in metrics)

    def _subnet(self, config: dict[str, Any]) -> SubNetwork:
        return self.space.decode([config[name] for name in self.config_space])


@final
class SubNetworkScheduler(SingleFidelityScheduler):
    """Syne Tune's scheduler, except that a searcher learns which sub-network failed, also when a search is resumed."""

    searcher: SubNetworkSearcher

    def on_trial_error(self, trial: Trial) -> None:
        self.searcher.on_trial_error(trial.trial_id, trial.config)

    def observe(self, subnet: SubNetwork, result: Mapping[str, float]) -> None:
        """Records a result that came without a trial."""
        self.searcher.observe(subnet, [result[name] for name in self.metrics])


def make_scheduler(
    name: str,
    space: SearchSpace,
    *,
    metrics: Sequence[str],
    seed: int,
    known: Mapping[str, Formula] | None = None,
    options: SearcherOptions | None = None,
    first: FirstPhase | None = None,
    starts: Sequence[SubNetwork] = (),
) -> SubNetworkScheduler:
    """A Syne Tune scheduler that proposes sub-networks of a space.

    The first are the largest, the smallest and the middle sub-network, as in the paper.

    Args:
        name: One of `table.SEARCHERS`.
        space: Where the sub-networks come from.
        metrics: Names of the objectives in reported results, two or more, all minimised.
        seed: The same seed and the same results give the same sub-networks.
        known: Formulas of objectives, in the unit of reported results. ehvi and random_scalarization model only the
            other objectives. stratified_random spreads over "params", which need not be an objective, and without it
            over BERT's proportions.
        options: The searcher's own options; None takes the defaults.
        first: The phase that comes first; None searches the space at once.
        starts: Sub-networks of the space that are tried after the first three.

    Raises:
        UserError: if the searcher is unknown or cannot search this space, or for fewer than two objectives.
    """
    if name not in SEARCHERS:
        raise unknown("searcher", name, SEARCHERS)
    if len(metrics) < 2:
        raise UserError(f"searchers take two or more objectives, got {list(metrics)}; name another objective")
    row = SEARCHERS[name]

    def made(space: SearchSpace) -> Propose:
        if (reason := row.refuses(space)) is not None:
            raise UserError(f"searcher '{name}' cannot search this space: {reason}")
        return row.make(Problem(space, metrics, seed, known or {}, options or searcher_options(name)))

    propose, at_first = made(space), space if first is None else first.space
    before = [at_first.largest, at_first.smallest, at_first.middle, *starts]
    if first is not None:
        whole = FirstPhase(first.space, first.trials + len(starts))
        propose = in_phases(whole, made(first.space), propose)
    searcher = SubNetworkSearcher(space, propose, starts=before, seed=seed, learns=row.learns)
    return SubNetworkScheduler(searcher.config_space, metrics=list(metrics), searcher=searcher, random_seed=seed)


class AskTell:
    """Asks a scheduler for sub-networks and tells it their objectives.

    Syne Tune's own AskTellScheduler numbers trials as they are asked for, which a resumed search does not do, and fails
    when a space is exhausted.

    Args:
        scheduler: Any Syne Tune scheduler over the entries of the space's vectors.
        space: Where the sub-networks come from.
    """

    def __init__(self, scheduler: TrialScheduler, space: SearchSpace) -> None:
        self._scheduler, self._space = scheduler, space
        self._ended = 0

    def ask(self) -> SubNetwork | None:
        """The next sub-network to evaluate; None if none is left."""
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        return self._space.decode([suggestion.config[name] for name in self._space.bounds])

    def tell(self, subnet: SubNetwork, metrics: Mapping[str, float]) -> None:
        """Reports the objectives of a sub-network, asked for or not: a resumed search reports its old trials."""
        self._scheduler.on_trial_complete(self._trial(subnet), dict(metrics))

    def fail(self, subnet: SubNetwork) -> None:
        """Reports a sub-network that could not be evaluated. It is not asked for again."""
        self._scheduler.on_trial_error(self._trial(subnet))

    def observe(self, subnet: SubNetwork, metrics: Mapping[str, float]) -> None:
        """Reports the objectives of a sub-network that came without being asked for. It is no trial.

        Raises:
            TypeError: if the scheduler is not `make_scheduler`'s.
        """
        self._ours().observe(subnet, metrics)

    def mark_pending(self, subnet: SubNetwork) -> None:
        """Marks a sub-network that was asked for before the search was interrupted and has no result yet.

        Raises:
            TypeError: if the scheduler is not `make_scheduler`'s.
        """
        self._ours().searcher.mark_pending(subnet)

    def _ours(self) -> SubNetworkScheduler:
        if not isinstance(self._scheduler, SubNetworkScheduler):
            raise TypeError(f"{type(self._scheduler).__name__} takes no results without trials")
        return self._scheduler

    def _trial(self, subnet: SubNetwork) -> Trial:
        config = dict(zip(self._space.bounds, self._space.encode(subnet), strict=True))
        self._ended += 1
        return Trial(trial_id=self._ended - 1, config=config, creation_time=datetime.now(timezone.utc))
