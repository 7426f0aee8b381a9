"""Names -> Syne Tune schedulers that propose sub-networks.

Use: `scheduler = make_scheduler("ehvi", space, metrics=["error", "params"], seed=0, known_cost=params)`, then
`scheduler.suggest()` and `scheduler.on_trial_complete(trial, {"error": 0.2, "params": 1e6})` in turn. A search is
resumed by telling a new scheduler what the old one was told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import product
from typing import Any, Protocol, final

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import randint
from syne_tune.optimizer.scheduler import TrialScheduler
from syne_tune.optimizer.schedulers.searchers.searcher import BaseSearcher
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

# BoTorch comes with this import. Loading it late would hardly help: after torch and transformers, which every search
# loads anyway, it takes about 0.15 s.
from search.ehvi import Observations, propose_known_cost, propose_plain
from supernet.errors import UserError, unknown
from supernet.space import SearchSpace
from supernet.subnetwork import SubNetwork

REJECTIONS = 1000
"""Draws that may turn out to be known before the space is gone through in order; see `unseen_sample`."""

EHVI_DIMENSIONS = 256
"""Beyond this a Gaussian process on at most hundreds of observations has nothing to say."""


class SubNetworkSearcher(BaseSearcher, ABC):
    """A searcher whose trials are the sub-networks of a space, each at most once.

    Starts with the largest, the smallest and the middle sub-network, as the paper does. Each proposal depends only on
    the seed and on the sub-networks asked and told before, however they got here: telling a new searcher the trials of
    an interrupted search, without asking, continues that search.

    Attributes:
        space: Where the sub-networks come from.
        config_space: Syne Tune's view of it: one integer for each entry of a vector.
    """

    space: SearchSpace

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        super().__init__({name: randint(low, high) for name, (low, high) in space.bounds.items()}, random_seed=seed)
        self.space = space
        self._metrics: dict[SubNetwork, tuple[float, ...]] = {}
        self._pending: set[SubNetwork] = set()
        self._failed: set[SubNetwork] = set()

    @abstractmethod
    def _propose(self, rng: np.random.Generator) -> SubNetwork | None:
        """A sub-network not in `seen`; None if there is none left."""

    @final
    @property
    def seen(self) -> set[SubNetwork]:
        """Every sub-network asked or told so far."""
        return self._metrics.keys() | self._pending | self._failed

    @final
    def suggest(self, **kwargs: Any) -> dict[str, int] | None:
        """The vector of the next sub-network by the names of its entries; None if the space is exhausted."""
        seen = self.seen
        first = (self.space.largest, self.space.smallest, self.space.middle)
        subnet = next((s for s in first if s not in seen), None)
        if subnet is None:
            # A generator per trial, not one for the search: its state need not be restored on resuming.
            subnet = self._propose(np.random.default_rng([self.random_seed, len(seen)]))
        if subnet is None:
            return None
        self._pending.add(subnet)
        return dict(zip(self.config_space, self.space.encode(subnet), strict=True))

    @final
    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metrics: Sequence[float]) -> None:
        """Records what a sub-network costs.

        Raises:
            ValueError: if a metric is not finite; report such a trial by `on_trial_error`.
        """
        if not np.isfinite(metrics).all():
            raise ValueError(f"metrics of trial {trial_id} must be finite, got {list(metrics)}")
        subnet = self._subnet(config)
        self._pending.discard(subnet)
        self._failed.discard(subnet)
        self._metrics[subnet] = tuple(float(m) for m in metrics)

    @final
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

    @final
    def unseen_sample(self, rng: np.random.Generator) -> SubNetwork | None:
        """A uniform draw among those not seen; None if there is none.

        Draws until one is new, which ends at once in any space worth searching. In a space nearly exhausted it may
        not: then the first new one in the order of the vectors.
        """
        seen = self.seen
        draws = (self.space.sample(rng) for _ in range(REJECTIONS))
        subnet = next((s for s in draws if s not in seen), None)
        return next((s for s in _all_subnets(self.space) if s not in seen), None) if subnet is None else subnet

    def _subnet(self, config: dict[str, Any]) -> SubNetwork:
        return self.space.decode([config[name] for name in self.config_space])


def _all_subnets(space: SearchSpace) -> Any:
    return map(space.decode, product(*(range(low, high + 1) for low, high in space.bounds.values())))


@final
class RandomSearcher(SubNetworkSearcher):
    """Uniform draws of vectors, without repeating a sub-network (MO-RS in the paper)."""

    def _propose(self, rng: np.random.Generator) -> SubNetwork | None:
        return self.unseen_sample(rng)


@final
class EHVISearcher(SubNetworkSearcher):
    """The sub-network with the largest expected hypervolume improvement; see `search.ehvi` for the two versions.

    Args:
        known_cost: The second objective of any sub-network in closed form, in the unit in which it is told. None: it
            is modelled as the error is.

    Raises:
        UserError: if a vector of the space has more than `EHVI_DIMENSIONS` entries.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int, known_cost: Callable[[SubNetwork], float] | None = None
    ) -> None:
        if len(space.bounds) > EHVI_DIMENSIONS:
            raise UserError(
                f"searcher 'ehvi' models at most {EHVI_DIMENSIONS} dimensions, space {space.name} has "
                f"{len(space.bounds)}; use searcher=random, or space=small, medium or layer"
            )
        super().__init__(space, seed=seed)
        self._known_cost = known_cost

    def _propose(self, rng: np.random.Generator) -> SubNetwork | None:
        subnet = None
        if self._metrics:
            observations = Observations.of(self.space, self._metrics, self._pending)
            if self._known_cost is None:
                subnet = propose_plain(observations, seen=self.seen, rng=rng)
            else:
                subnet = propose_known_cost(observations, known_cost=self._known_cost, seen=self.seen, rng=rng)
        return self.unseen_sample(rng) if subnet is None else subnet


class SearcherFactory(Protocol):
    """What a name in `SEARCHERS` stands for."""

    def __call__(
        self, space: SearchSpace, *, seed: int, known_cost: Callable[[SubNetwork], float] | None
    ) -> SubNetworkSearcher: ...


def _random(space: SearchSpace, *, seed: int, known_cost: Callable[[SubNetwork], float] | None) -> SubNetworkSearcher:
    return RandomSearcher(space, seed=seed)


SEARCHERS: dict[str, SearcherFactory] = {"random": _random, "ehvi": EHVISearcher}


@final
class SubNetworkScheduler(SingleFidelityScheduler):
    """Syne Tune's scheduler, except that a searcher learns which sub-network failed, also when a search is resumed."""

    def on_trial_error(self, trial: Trial) -> None:
        self.searcher.on_trial_error(trial.trial_id, trial.config)


def make_scheduler(
    name: str,
    space: SearchSpace,
    *,
    metrics: Sequence[str],
    seed: int,
    known_cost: Callable[[SubNetwork], float] | None = None,
) -> SingleFidelityScheduler:
    """A Syne Tune scheduler that proposes sub-networks of a space.

    Args:
        name: One of `SEARCHERS`.
        space: Where the sub-networks come from.
        metrics: Names of the objectives in what the scheduler is told, all minimised: [error, cost].
        seed: Same seed and same results told: same sub-networks.
        known_cost: The second objective of any sub-network in closed form, in the unit in which it is told; None if
            there is none (a latency). Only ehvi uses it.

    Raises:
        UserError: if no searcher has that name, or if it cannot search this space or this number of objectives.
    """
    if name not in SEARCHERS:
        raise unknown("searcher", name, SEARCHERS)
    if name == "ehvi" and len(metrics) != 2:
        raise UserError(
            f"searcher 'ehvi' takes two objectives, an error and a cost; got {len(metrics)} ({', '.join(metrics)}); "
            "use searcher=random for another number"
        )
    searcher = SEARCHERS[name](space, seed=seed, known_cost=known_cost)
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
