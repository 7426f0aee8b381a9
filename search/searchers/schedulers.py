"""Names -> Syne Tune schedulers that propose sub-networks.

Use: `scheduler = make_scheduler("ehvi", space, metrics=["error", "params"], seed=0, known={"params": params})`, then
`scheduler.suggest()` and `scheduler.on_trial_complete(trial, {"error": 0.2, "params": 1e6})` in turn. A search is
resumed by telling a new scheduler what the old one was told.

One Syne Tune searcher keeps the history; what to propose is a function of that history (`history.Propose`), one
row of `SEARCHERS` each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar, final

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import randint
from syne_tune.optimizer.scheduler import TrialScheduler
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from search.options.searchers import EhviOptions, MoreaOptions, Nsga2Options, SearcherOptions, searcher_options
from search.searchers import evolution, exploration

# BoTorch comes with this import. Loading it late would hardly help: after torch and transformers, which every search
# loads anyway, it takes about 0.15 s.
from search.searchers.candidates import ENUMERABLE
from search.searchers.ehvi import propose_known_cost, propose_plain
from search.searchers.history import History, Propose
from search.searchers.scalarization import random_scalarization
from supernet.runtime.errors import UserError, unknown
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

MODEL_DIMENSIONS = 256
"""Beyond this a Gaussian process on at most hundreds of observations has nothing to say."""

Formula = Callable[[SubNetwork], float]
Options = TypeVar("Options", bound=SearcherOptions)


@final
class SubNetworkSearcher(BaseSearcher):
    """A searcher whose trials are the sub-networks of a space, each at most once.

    Starts with the largest, the smallest and the middle sub-network, as the paper does. Each proposal depends only on
    the seed and on the sub-networks asked and told before, however they got here: telling a new searcher the trials of
    an interrupted search in their order, without asking, continues that search.

    Args:
        space: Where the sub-networks come from.
        propose: The next one, after the first three.
        seed: Of the proposals.
        learns: Whether proposals follow from results. One that does not learn is not to know of free results either,
            which come at other moments if several sub-networks are evaluated at once.

    Attributes:
        config_space: Syne Tune's view of the space: one integer for each entry of a vector.
    """

    def __init__(self, space: SearchSpace, propose: Propose, *, seed: int, learns: bool = True) -> None:
        super().__init__({name: randint(low, high) for name, (low, high) in space.bounds.items()}, random_seed=seed)
        self.space, self._propose, self._learns = space, propose, learns
        self._told: dict[SubNetwork, tuple[float, ...]] = {}
        self._free: set[SubNetwork] = set()
        self._pending: set[SubNetwork] = set()
        self._failed: set[SubNetwork] = set()

    def suggest(self, **kwargs: Any) -> dict[str, int] | None:
        """The vector of the next sub-network by the names of its entries; None if none is left."""
        history = History(self.space, self._told, self._free, self._pending, self._failed)
        subnet = history.first_unseen((self.space.largest, self.space.smallest, self.space.middle))
        if subnet is None:
            # A generator per trial, not one for the search: its state need not be restored on resuming.
            subnet = self._propose(history, np.random.default_rng([self.random_seed, history.trials]))
        if subnet is None:
            return None
        self._pending.add(subnet)
        return dict(zip(self.config_space, self.space.encode(subnet), strict=True))

    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metrics: Sequence[float]) -> None:
        """Records what a sub-network costs.

        Raises:
            ValueError: if a metric is not finite; report such a trial by `on_trial_error`.
        """
        subnet = self._subnet(config)
        costs = self._finite(subnet, metrics)
        for others in (self._pending, self._failed, self._free):
            others.discard(subnet)
        self._told.pop(subnet, None)  # a trial's age counts from when it is told, not from when it was observed
        self._told[subnet] = costs

    def on_trial_error(self, trial_id: int, config: dict[str, Any] | None = None) -> None:
        """Remembers a sub-network that could not be evaluated, so that it is not suggested again.

        Args:
            trial_id: Not used: ids are given by the caller, not here.
            config: The trial's configuration. Syne Tune's own schedulers leave it out; the trial then stays pending.
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
        known = subnet in self._told or subnet in self._pending or subnet in self._failed
        if self._learns and not known:
            self._told[subnet] = costs
            self._free.add(subnet)

    def claim(self, subnet: SubNetwork) -> None:
        """Takes a sub-network for one that was suggested and is not told yet, as in the search that is resumed."""
        self._pending.add(subnet)

    @staticmethod
    def _finite(subnet: SubNetwork, metrics: Sequence[float]) -> tuple[float, ...]:
        if not np.isfinite(metrics).all():
            raise ValueError(f"metrics of sub-network ({subnet}) must be finite, got {list(metrics)}")
        return tuple(float(m) for m in metrics)

    def _subnet(self, config: dict[str, Any]) -> SubNetwork:
        return self.space.decode([config[name] for name in self.config_space])


# --- the searchers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What a searcher is made for; see `make_scheduler`."""

    space: SearchSpace
    metrics: Sequence[str]
    seed: int
    known: Mapping[str, Formula] = field(default_factory=dict)
    options: SearcherOptions | None = None

    @property
    def formulas(self) -> dict[int, Formula]:
        """The objectives known in closed form, by column."""
        return {i: self.known[name] for i, name in enumerate(self.metrics) if name in self.known}

    def options_as(self, kind: type[Options]) -> Options:
        """The searcher's options.

        Raises:
            TypeError: if they are another searcher's.
        """
        if not isinstance(self.options, kind):
            raise TypeError(f"{self.options} are not {kind.__name__}")
        return self.options


@dataclass(frozen=True)
class Searcher:
    """A row of `SEARCHERS`.

    Attributes:
        make: How it proposes, for a problem.
        description: In one line, for people.
        refuses: Why it cannot search a space and what to do instead, for people; None if it can.
        learns: Whether its proposals follow from results.
        draws: Whether it draws anything for a space, so that the seed counts.
    """

    make: Callable[[Problem], Propose]
    description: str
    refuses: Callable[[SearchSpace], str | None] = lambda space: None
    learns: bool = True
    draws: Callable[[SearchSpace], bool] = lambda space: True


def _stratified_random(problem: Problem) -> Propose:
    size = problem.known.get("params", partial(exploration.relative_size, problem.space))
    return partial(exploration.stratified_random, seed=problem.seed, size=size)


def _morea(problem: Problem) -> Propose:
    options = problem.options_as(MoreaOptions)
    return partial(evolution.morea, population=options.population, sample_size=options.sample_size)


def _nsga2(problem: Problem) -> Propose:
    return partial(evolution.nsga2, population=problem.options_as(Nsga2Options).population)


def _ehvi(problem: Problem) -> Propose:
    """Known costs where some objective has a formula, whatever their number; plain where none has, or if told so."""
    if problem.formulas and problem.options_as(EhviOptions).known_cost:
        return partial(propose_known_cost, formulas=problem.formulas)
    return propose_plain


def _many_entries(space: SearchSpace) -> str | None:
    if len(space.bounds) <= MODEL_DIMENSIONS:
        return None
    return (
        f"it models at most {MODEL_DIMENSIONS} dimensions, space {space.name} has {len(space.bounds)}; use "
        "searcher=nsga2, morea or stratified_random, or space=small, medium or layer"
    )


def _many_points(space: SearchSpace) -> str | None:
    if exploration.grid_levels(space):
        return None
    return (
        f"two values of each of the {len(space.bounds)} dimensions of space {space.name} are more than "
        f"{exploration.GRID_POINTS} points; use searcher=stratified_random, or space=small or layer"
    )


SEARCHERS: dict[str, Searcher] = {
    "random": Searcher(lambda problem: exploration.random, "uniform draws", learns=False),
    "stratified_random": Searcher(_stratified_random, "draws spread evenly over numbers of parameters", learns=False),
    "grid": Searcher(
        lambda problem: partial(exploration.grid, seed=problem.seed),
        "a factorial grid in an order whose every prefix fills the space",
        _many_points,
        learns=False,
    ),
    "local_search": Searcher(lambda problem: evolution.local_search, "members of the front, one entry changed"),
    "morea": Searcher(_morea, "multi-objective regularised evolution"),
    "nsga2": Searcher(_nsga2, "non-dominated sorting genetic algorithm"),
    "ehvi": Searcher(
        _ehvi,
        "Bayesian: expected hypervolume improvement",
        _many_entries,
        draws=lambda space: space.size > ENUMERABLE,  # of fewer, all are compared, and the best is the best
    ),
    "random_scalarization": Searcher(
        lambda problem: partial(random_scalarization, formulas=problem.formulas),
        "Bayesian: expected improvement of randomly weighted objectives",
        _many_entries,
    ),
}


# --- Syne Tune --------------------------------------------------------------------------------------------------------


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
) -> SubNetworkScheduler:
    """A Syne Tune scheduler that proposes sub-networks of a space.

    Args:
        name: One of `SEARCHERS`.
        space: Where the sub-networks come from.
        metrics: Names of the objectives in what the scheduler is told, two or more, all minimised.
        seed: Same seed and same results told: same sub-networks.
        known: Objectives of any sub-network in closed form, in the unit in which they are told. ehvi and
            random_scalarization model the other ones only; stratified_random spreads over "params", which need not be
            an objective, and without it over BERT's proportions.
        options: The searcher's own options; None takes the defaults.

    Raises:
        UserError: if no searcher has that name, if it cannot search this space, or for less than two objectives.
    """
    if name not in SEARCHERS:
        raise unknown("searcher", name, SEARCHERS)
    if len(metrics) < 2:
        raise UserError(f"searchers take two or more objectives, got {list(metrics)}; name another one")
    row = SEARCHERS[name]
    if (reason := row.refuses(space)) is not None:
        raise UserError(f"searcher '{name}' cannot search this space: {reason}")
    problem = Problem(space, metrics, seed, known or {}, options or searcher_options(name))
    searcher = SubNetworkSearcher(space, row.make(problem), seed=seed, learns=row.learns)
    return SubNetworkScheduler(searcher.config_space, metrics=list(metrics), searcher=searcher, random_seed=seed)


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
        self._ended = 0

    def ask(self) -> SubNetwork | None:
        """The next sub-network to evaluate; None if none is left."""
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        return self._space.decode([suggestion.config[name] for name in self._space.bounds])

    def tell(self, subnet: SubNetwork, metrics: Mapping[str, float]) -> None:
        """Reports the objectives of a sub-network, asked for or not (a resumed search tells its old trials)."""
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

    def claim(self, subnet: SubNetwork) -> None:
        """Says that a sub-network has been asked for, in an earlier sitting, and is not told yet.

        Raises:
            TypeError: if the scheduler is not `make_scheduler`'s.
        """
        self._ours().searcher.claim(subnet)

    def _ours(self) -> SubNetworkScheduler:
        if not isinstance(self._scheduler, SubNetworkScheduler):
            raise TypeError(f"{type(self._scheduler).__name__} takes no results without trials")
        return self._scheduler

    def _trial(self, subnet: SubNetwork) -> Trial:
        config = dict(zip(self._space.bounds, self._space.encode(subnet), strict=True))
        self._ended += 1
        return Trial(trial_id=self._ended - 1, config=config, creation_time=datetime.now(timezone.utc))
