"""Searchers: what they start with, that they never repeat, that they resume, and that EHVI is worth its name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.schedulers.single_fidelity_scheduler import SingleFidelityScheduler

from search import candidates, ehvi
from search.pareto import hypervolume
from search.searchers import EHVI_DIMENSIONS, SEARCHERS, make_scheduler
from supernet.errors import UserError
from supernet.space import LargeSpace, LayerSpace, MediumSpace, SearchSpace, SmallSpace
from supernet.subnetwork import SubNetwork

SMALL = SmallSpace(layers=12, heads=12, units=3072)
COLLIDING = SmallSpace(layers=1, heads=2, units=3)  # 12 vectors, 7 sub-networks: widths do not matter at 0 layers
VERSIONS = [("random", False), ("ehvi", True), ("ehvi", False)]
versions = pytest.mark.parametrize(("name", "known"), VERSIONS, ids=["random", "ehvi", "ehvi_plain"])

pytestmark = pytest.mark.filterwarnings("error")

Costs = tuple[float, float]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def cost(subnet: SubNetwork) -> float:
    return sum(len(s.heads) / 12 + 2 * len(s.units) / 3072 for s in subnet.layers) / 36


def smooth(subnet: SubNetwork) -> Costs:
    """Costs of a sub-network of `SMALL`: the more layers and the wider, the better."""
    layers = len(subnet.layers) / 12
    heads, units = (len(subnet.layers[0].heads) / 12, len(subnet.layers[0].units) / 3072) if subnet.layers else (0, 0)
    error = 0.15 + 0.4 * math.exp(-4 * layers)
    return error + layers * (0.12 * math.exp(-5 * heads) + 0.15 * math.exp(-6 * units)), cost(subnet)


def scheduler_of(name: str, known: bool, space: SearchSpace = SMALL, seed: int = 0) -> SingleFidelityScheduler:
    return make_scheduler(name, space, metrics=["error", "cost"], seed=seed, known_cost=cost if known else None)


def tell(scheduler: SingleFidelityScheduler, trial_id: int, config: dict[str, int], costs: Costs) -> None:
    trial = Trial(trial_id, config, datetime(2024, 1, 1))
    scheduler.on_trial_complete(trial, {"error": costs[0], "cost": costs[1]})


def search(
    scheduler: SingleFidelityScheduler,
    space: SearchSpace,
    trials: int,
    evaluate: Callable[[SubNetwork], Costs] = smooth,
) -> list[tuple[dict[str, int], Costs]]:
    """Asks and tells; stops early where the space is exhausted."""
    done = []
    for trial_id in range(trials):
        suggestion = scheduler.suggest()
        if suggestion is None:
            break
        costs = evaluate(space.decode(list(suggestion.config.values())))
        tell(scheduler, trial_id, suggestion.config, costs)
        done.append((suggestion.config, costs))
    return done


def subnets(space: SearchSpace, done: list[tuple[dict[str, int], Costs]]) -> list[SubNetwork]:
    return [space.decode(list(config.values())) for config, _ in done]


@versions
def test_starts_with_largest_smallest_middle(name: str, known: bool) -> None:
    done = search(scheduler_of(name, known), SMALL, 3)
    assert subnets(SMALL, done) == [SMALL.largest, SMALL.smallest, SMALL.middle]


def test_a_duplicate_among_the_first_is_skipped() -> None:
    space = LayerSpace(layers=1, heads=12, units=3072)  # the middle is the largest
    done = search(scheduler_of("random", False, space), space, 5)
    assert subnets(space, done) == [space.largest, space.smallest]


@versions
@pytest.mark.parametrize("space", [COLLIDING, LayerSpace(3, 12, 3072), MediumSpace(1, 1, 2)], ids=lambda s: s.name)
def test_every_subnetwork_once_and_then_none(name: str, known: bool, space: SearchSpace) -> None:
    everything = set(map(space.decode, candidates.all_vectors(space).tolist()))
    scheduler = scheduler_of(name, known, space)
    found = subnets(space, search(scheduler, space, space.size + 1))
    assert len(found) == len(everything)
    assert set(found) == everything
    assert scheduler.suggest() is None


def test_random_exhausts_64_subnetworks() -> None:
    space = LayerSpace(layers=6, heads=12, units=3072)
    assert len(set(subnets(space, search(scheduler_of("random", False, space), space, 100)))) == 64


@versions
def test_same_seed_same_trials_other_seed_other_trials(name: str, known: bool) -> None:
    first, again, other = (search(scheduler_of(name, known, seed=s), SMALL, 7) for s in (1, 1, 2))
    assert first == again
    assert first != other


@versions
def test_global_generators_are_neither_read_nor_moved(name: str, known: bool) -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    first = search(scheduler_of(name, known), SMALL, 5)
    assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(3)).item()
    assert np.random.random() == np.random.RandomState(3).random()
    assert search(scheduler_of(name, known), SMALL, 5) == first


@versions
@pytest.mark.parametrize("told_in_reverse", [False, True])
def test_resumed_by_telling_equals_uninterrupted(name: str, known: bool, told_in_reverse: bool) -> None:
    uninterrupted = search(scheduler_of(name, known), SMALL, 9)
    resumed = scheduler_of(name, known)
    old = list(enumerate(uninterrupted[:6]))
    for trial_id, (config, costs) in reversed(old) if told_in_reverse else old:
        tell(resumed, trial_id, config, costs)
    assert search(resumed, SMALL, 3) == uninterrupted[6:]


@versions
def test_asking_several_before_telling_repeats_none(name: str, known: bool) -> None:
    scheduler = scheduler_of(name, known)
    search(scheduler, SMALL, 5)
    asked = [SMALL.decode(list(scheduler.suggest().config.values())) for _ in range(4)]
    assert len(set(asked)) == 4


@versions
def test_a_failed_subnetwork_is_not_suggested_again_after_resuming(name: str, known: bool) -> None:
    done = search(scheduler_of(name, known, COLLIDING), COLLIDING, 6)
    resumed = scheduler_of(name, known, COLLIDING)
    for trial_id, (config, costs) in enumerate(done[:5]):
        tell(resumed, trial_id, config, costs)
    resumed.on_trial_error(Trial(5, done[5][0], datetime(2024, 1, 1)))
    rest = subnets(COLLIDING, search(resumed, COLLIDING, 10))
    assert len(rest) == 1
    assert not set(rest) & set(subnets(COLLIDING, done))


def test_configurations_are_plain_integers_within_the_bounds() -> None:
    for config, _ in search(scheduler_of("random", False), SMALL, 10):
        assert list(config) == list(SMALL.bounds)
        assert all(type(v) is int and SMALL.bounds[name][0] <= v <= SMALL.bounds[name][1] for name, v in config.items())


def test_a_metric_that_is_not_finite_is_refused() -> None:
    scheduler = scheduler_of("random", False)
    with pytest.raises(ValueError, match="trial 0 must be finite"):
        tell(scheduler, 0, scheduler.suggest().config, (float("nan"), 1.0))


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"searcher 'evhi' is unknown; .*did you mean ehvi\?"):
        make_scheduler("evhi", SMALL, metrics=["error", "cost"], seed=0)
    with pytest.raises(UserError, match=r"takes two objectives, .* got 3"):
        make_scheduler("ehvi", SMALL, metrics=["error", "cost", "latency_ms"], seed=0)
    large = LargeSpace(layers=2, heads=4, units=EHVI_DIMENSIONS)
    with pytest.raises(UserError, match="use searcher=random, or space=small, medium or layer") as caught:
        make_scheduler("ehvi", large, metrics=["error", "cost"], seed=0)
    assert "\n" not in str(caught.value)
    assert set(SEARCHERS) == {"random", "ehvi"}


def test_random_takes_the_large_space_and_any_number_of_objectives() -> None:
    space = LargeSpace(layers=2, heads=4, units=300)
    scheduler = make_scheduler("random", space, metrics=["a", "b", "c"], seed=0)
    config = scheduler.suggest().config
    scheduler.on_trial_complete(Trial(0, config, datetime(2024, 1, 1)), {"a": 1.0, "b": 2.0, "c": 3.0})
    assert scheduler.suggest().config != config


# --- EHVI -------------------------------------------------------------------------------------------------------------


def test_expected_improvement_equals_monte_carlo() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.2, size=400_000)
    expected = np.maximum(0.4 - draws, 0).mean()
    assert ehvi.expected_improvement(np.array(0.4), np.array(0.3), np.array(0.2)) == pytest.approx(expected, rel=0.01)


def test_known_cost_improvement_equals_monte_carlo() -> None:
    rng = np.random.default_rng(1)
    observed, reference = rng.random((12, 2)), np.array([1.1, 1.2])
    mean_c, std_c, cost_c = rng.random(6), rng.uniform(0.05, 0.4, 6), rng.uniform(-0.1, 1.3, 6)
    got = ehvi.known_cost_improvement(*observed.T, reference, mean_c=mean_c, std_c=std_c, cost_c=cost_c)
    before = hypervolume(observed, reference)
    for c in range(6):
        errors = rng.normal(mean_c[c], std_c[c], size=4000)
        gains = [hypervolume([*observed, [e, cost_c[c]]], reference) - before for e in errors]
        assert got[c] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / math.sqrt(4000) + 1e-9)


def test_known_cost_improvement_of_an_almost_certain_error_is_the_gain() -> None:
    got = ehvi.known_cost_improvement(
        np.array([3.0, 1.0]),
        np.array([1.0, 2.0]),
        np.array([4.0, 4.0]),
        mean_c=np.array([2.0, 0.5, 5.0]),
        std_c=np.full(3, 1e-9),
        cost_c=np.array([1.5, 3.0, 0.0]),
    )
    assert got == pytest.approx([0.5, 0.5, 0.0])


def test_prediction_equals_the_posterior_of_botorch() -> None:
    rng = np.random.default_rng(0)
    inputs, others = torch.from_numpy(rng.random((20, 3))), torch.from_numpy(rng.random((7, 3)))
    model = ehvi.fit_gp(inputs, ehvi.standardised(np.sin(4 * inputs.numpy()).sum(axis=1)), seed=0)
    mean, std = ehvi.predict(model, others)
    with torch.no_grad():
        posterior = model.posterior(others)
    assert mean.dtype == std.dtype == torch.float64
    torch.testing.assert_close(mean, posterior.mean[:, 0])
    torch.testing.assert_close(std, posterior.variance[:, 0].sqrt(), rtol=1e-4, atol=1e-6)


def test_a_failed_fit_warns_and_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise ModelFittingError("no convergence")

    monkeypatch.setattr(ehvi, "fit_gpytorch_mll", fail)
    scheduler = scheduler_of("ehvi", True)
    search(scheduler, SMALL, 3)
    with pytest.warns(UserWarning, match=r"Gaussian process not fitted.*no convergence"):
        assert scheduler.suggest() is not None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("error", [0.0, 0.1, 1e6])
def test_equal_errors_are_no_obstacle(known: bool, error: float) -> None:
    done = search(scheduler_of("ehvi", known), SMALL, 6, lambda subnet: (error, cost(subnet)))
    assert len(set(subnets(SMALL, done))) == 6


def test_equal_costs_are_no_obstacle() -> None:
    done = search(scheduler_of("ehvi", False), SMALL, 6, lambda subnet: (smooth(subnet)[0], 1.0))
    assert len(set(subnets(SMALL, done))) == 6


@pytest.mark.parametrize("known", [True, False])
def test_few_distinct_objective_values_are_no_obstacle(known: bool) -> None:
    space = LayerSpace(layers=6, heads=12, units=3072)
    done = search(scheduler_of("ehvi", known, space), space, 12, lambda s: (float(len(s.layers) < 3), cost(s)))
    assert len(set(subnets(space, done))) == 12


def test_a_known_cost_in_another_unit_is_noticed() -> None:
    scheduler = scheduler_of("ehvi", True)
    with pytest.raises(ValueError, match="is it the same unit"):
        search(scheduler, SMALL, 4, lambda subnet: (smooth(subnet)[0], 100 * cost(subnet)))


def test_spread_vectors_reach_all_sizes_where_uniform_draws_do_not() -> None:
    space, rng = MediumSpace(12, 12, 3072), np.random.default_rng(0)
    sizes = [cost(space.decode(v)) for v in candidates.spread_vectors(space, 500, rng).tolist()]
    uniform = [cost(space.sample(rng)) for _ in range(500)]
    assert (np.histogram(sizes, bins=10, range=(0, 1))[0] >= 20).all()
    assert np.histogram(uniform, bins=10, range=(0, 1))[0][:2].sum() == 0


@pytest.mark.parametrize("known", [True, False])
def test_ehvi_beats_random_search_on_a_synthetic_front(known: bool) -> None:
    """After 15 evaluations, mean of 3 seeds, hypervolume to (1, 1)."""

    def volume(name: str, seed: int) -> float:
        done = search(scheduler_of(name, known, seed=seed), SMALL, 15)
        return hypervolume([costs for _, costs in done], (1, 1))

    random, model_based = (np.mean([volume(name, seed) for seed in range(3)]) for name in ("random", "ehvi"))
    assert model_based > 0.78
    assert model_based > random + 0.01


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(scheduler_of("ehvi", True), SMALL, 6)
