"""Bayesian searchers: the Gaussian process, the expected improvements, and what they do with awkward results."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.optimize import approx_fprime

from search.options.searchers import searcher_options
from search.pareto import hypervolume
from search.searchers import candidates, ehvi, ehvi_botorch, gp, scalarization, surrogate
from search.searchers.cells import cells_of
from search.searchers.history import History
from search.searchers.schedulers import make_scheduler
from supernet.runtime.errors import UserError
from supernet.space.spaces import LargeSpace, MediumSpace
from tests.synthetic import LAYER, MEDIUM, METRICS, SMALL, cost_of, search, searcher, smooth, volume

pytestmark = pytest.mark.filterwarnings("error")

BAYESIAN = [("ehvi", {}), ("ehvi", {"known_cost": False}), ("random_scalarization", {})]
bayesian = pytest.mark.parametrize(("name", "settings"), BAYESIAN, ids=["ehvi", "ehvi_plain", "random_scalarization"])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def wavy(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.random.default_rng(seed).random((rows, 3))
    return inputs, surrogate.standardised(np.sin(4 * inputs).sum(axis=1))


# --- the Gaussian process ---------------------------------------------------------------------------------------------


def test_the_gradient_of_the_fit_is_that_of_its_loss() -> None:
    inputs, targets = wavy(12)
    for theta in np.random.default_rng(1).normal(scale=0.5, size=(4, 4)):
        numeric = approx_fprime(theta, lambda t: gp._loss(t, inputs, targets)[0], 1e-6)
        assert gp._loss(theta, inputs, targets)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_the_fit_is_botorch_s() -> None:
    inputs, targets = wavy(20)
    targets /= targets.std(ddof=1)  # or BoTorch warns
    ours = gp.fit(inputs, targets)
    model = SingleTaskGP(torch.from_numpy(inputs), torch.from_numpy(targets)[:, None], outcome_transform=None)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    lengths = model.covar_module.lengthscale.detach().numpy()[0]
    assert ours.lengths_d == pytest.approx(lengths, rel=0.02)
    assert ours.noise == pytest.approx(model.likelihood.noise.item(), rel=0.1)


def test_the_prediction_is_botorch_s() -> None:
    inputs, targets = wavy(20)
    process, others = gp.fit(inputs, targets), wavy(7, seed=1)[0]
    mean, std = process.predict(others)
    with torch.no_grad():
        posterior = ehvi_botorch.negated_botorch_model(process).posterior(torch.from_numpy(others))
    assert mean == pytest.approx(-posterior.mean[:, 0].numpy(), abs=1e-4)
    assert std == pytest.approx(posterior.variance[:, 0].sqrt().numpy(), rel=0.05, abs=1e-3)


def test_many_observations_are_fitted_on_few_and_predicted_from_all() -> None:
    inputs, targets = wavy(3 * gp.FITTED)
    rows = gp.subset_of_data(targets < np.sort(targets)[10], targets)
    process = gp.fit(inputs, targets, rows=rows)
    assert len(process.targets_n) == 3 * gp.FITTED
    assert process.predict(inputs)[0] == pytest.approx(targets, abs=0.15)


@pytest.mark.parametrize("front", [5, 80, 300])
def test_representative_rows_are_the_front_s_and_spread(front: int) -> None:
    order = np.random.default_rng(0).random(300)
    on_front = np.arange(300) < front
    rows = gp.subset_of_data(on_front, order)
    assert len(rows) == len(set(rows.tolist())) == gp.FITTED
    assert on_front[rows].sum() >= min(front, gp.FITTED // 2)
    assert (np.histogram(order[rows], bins=5, range=(0, 1))[0] >= gp.FITTED / 10).all()


def test_believing_does_not_move_the_mean_and_narrows() -> None:
    process = gp.fit(*wavy(10))
    others = wavy(4, seed=1)[0]
    mean, std = process.predict(others)
    mean_after, std_after = process.with_pending(others).predict(others)
    assert mean_after == pytest.approx(mean, abs=0.02)
    assert (std_after < std).all()


def test_a_failed_fit_warns_and_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    found = type("Found", (), {"fun": float("nan"), "x": np.full(4, np.nan), "message": "no convergence"})
    monkeypatch.setattr(gp, "minimize", lambda *args, **kwargs: found)
    with pytest.warns(UserWarning, match=r"Gaussian process not fitted.*no convergence"):
        process = gp.fit(*wavy(6))
    assert np.isfinite(process.predict(wavy(3)[0])).all()


def test_warping_is_undone() -> None:
    vectors = candidates.spread_vectors(MEDIUM, 50, np.random.default_rng(0))
    inputs = surrogate.warped(MEDIUM, vectors)
    assert inputs.min() >= 0
    assert inputs.max() <= 1
    assert (surrogate.unwarped(MEDIUM, inputs) == vectors).all()


# --- expected improvements --------------------------------------------------------------------------------------------


def test_expected_improvement_equals_monte_carlo() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.2, size=400_000)
    expected = np.maximum(0.4 - draws, 0).mean()
    assert ehvi.expected_improvement(np.array(0.4), np.array(0.3), np.array(0.2)) == pytest.approx(expected, rel=0.01)


def test_expected_improvement_on_what_is_certain_is_the_gap() -> None:
    got = ehvi.expected_improvement(np.array([-np.inf, 0.2, 0.5]), np.array(0.3), np.zeros(1))
    assert got == pytest.approx([0.0, 0.0, 0.2])
    mixed = ehvi.expected_improvement(np.array([0.5]), np.array([0.3, 0.3]), np.array([0.0, 1e-9]))
    assert mixed == pytest.approx([0.2, 0.2])


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("known", [True, False])
def test_hypervolume_improvement_equals_monte_carlo(objectives: int, known: bool) -> None:
    rng = np.random.default_rng(1)
    observed, reference = rng.random((9, objectives)), np.linspace(1.1, 1.2, objectives)
    mean, std = rng.random((4, objectives)), rng.uniform(0.05, 0.4, (4, objectives))
    std[:, -1] = 0 if known else std[:, -1]
    cells = cells_of(observed, reference)
    got = ehvi.hypervolume_improvement(cells, mean_cm=mean, std_cm=std)
    before = hypervolume(observed, reference)
    for c in range(4):
        draws = rng.normal(mean[c], std[c], size=(1000, objectives))
        gains = [hypervolume([*observed, draw], reference) - before for draw in draws]
        assert got[c] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / math.sqrt(1000) + 2e-4)


def test_hypervolume_improvement_of_what_is_certain_is_the_gain() -> None:
    observed, reference = np.array([[3.0, 1.0], [1.0, 2.0]]), np.array([4.0, 4.0])
    points = np.array([[2.0, 1.5], [0.5, 3.0], [5.0, 0.0]])
    cells = cells_of(observed, reference)
    got = ehvi.hypervolume_improvement(cells, mean_cm=points, std_cm=np.zeros_like(points))
    gains = [hypervolume([*observed, p], reference) - hypervolume(observed, reference) for p in points]
    assert got == pytest.approx(gains)
    assert gains == pytest.approx([0.5, 0.5, 0.0])


def test_chunks_do_not_change_the_improvement(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    cells = cells_of(rng.random((9, 2)), np.ones(2))
    mean, std = rng.random((50, 2)), rng.random((50, 2))
    whole = ehvi.hypervolume_improvement(cells, mean_cm=mean, std_cm=std)
    monkeypatch.setattr(ehvi, "CHUNK", 30)
    assert ehvi.hypervolume_improvement(cells, mean_cm=mean, std_cm=std) == pytest.approx(whole)


@pytest.mark.parametrize("objectives", [3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_cells_of_more_than_two_objectives_are_botorch_s(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((12, objectives))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.concatenate([points.round(1), points[:4], rng.random((4, objectives)) + 0.5])  # equal and dominated
    reference = np.full(objectives, 1.1 if seed % 2 else 0.8)
    inside = torch.from_numpy(-points[(points < reference).all(axis=1)])
    wanted = FastNondominatedPartitioning(torch.from_numpy(-reference), inside).get_hypercell_bounds()
    assert np.array_equal(cells_of(points, reference), -wanted.flip(0).numpy())


def test_the_scalarisation_ranks_by_the_worst_weighted_objective() -> None:
    costs = np.array([[0.2, 0.2], [0.0, 0.9], [0.2, 0.1]])
    got = scalarization.augmented_chebyshev(costs, np.array([0.5, 0.5]))
    assert got == pytest.approx([0.1 + 0.05 * 0.2, 0.45 + 0.05 * 0.45, 0.1 + 0.05 * 0.15])


# --- searches ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@bayesian
@pytest.mark.parametrize("error", [0.0, 0.1, 1e6])
def test_equal_errors_are_no_obstacle(name: str, settings: dict, error: float) -> None:
    asked = searcher(name, SMALL, **settings)
    for _ in range(6):
        subnet = asked.ask()
        asked.tell(subnet, {"error": error, "cost": cost_of(SMALL, subnet)})
    assert asked.ask() is not None


def test_equal_costs_are_no_obstacle() -> None:
    asked = searcher("ehvi", SMALL, known_cost=False)
    for _ in range(6):
        subnet = asked.ask()
        asked.tell(subnet, smooth(SMALL, subnet) | {"cost": 1.0})
    assert asked.ask() is not None


@bayesian
def test_few_distinct_objective_values_are_no_obstacle(name: str, settings: dict) -> None:
    asked, seen = searcher(name, LAYER, **settings), set()
    for _ in range(12):
        seen.add(subnet := asked.ask())
        asked.tell(subnet, {"error": float(len(subnet.layers) < 3), "cost": cost_of(LAYER, subnet)})
    assert len(seen) == 12


@pytest.mark.parametrize("name", ["ehvi", "random_scalarization"])
def test_a_known_cost_in_another_unit_is_noticed(name: str) -> None:
    asked = searcher(name, SMALL)
    asked.tell(SMALL.largest, {"error": 0.2, "cost": 100.0})
    for subnet in (SMALL.smallest, SMALL.middle):
        asked.tell(subnet, smooth(SMALL, subnet))
    with pytest.raises(ValueError, match="are the units the same"):
        asked.ask()


def test_beliefs_hold_what_is_known_exactly_and_what_is_pending_as_believed() -> None:
    told = {s: tuple(smooth(MEDIUM, s).values()) for s in (MEDIUM.sample(np.random.default_rng(i)) for i in range(12))}
    asked = MEDIUM.sample(np.random.default_rng(99))
    got = surrogate.Surrogate.of(History(MEDIUM, told, pending={asked}), {1: lambda s: cost_of(MEDIUM, s)})
    mean, std = got.predict(np.array([MEDIUM.encode(asked)]), [asked])
    assert std[0, 1] == 0
    assert mean[0, 1] * got.extent_m[1] + got.lowest_m[1] == pytest.approx(cost_of(MEDIUM, asked))
    assert got.objectives_fm[-1] == pytest.approx(mean[0], abs=0.05)
    assert got.objectives_fm[:-1].min(axis=0) == pytest.approx([0, 0])
    assert got.objectives_fm[:-1].max(axis=0) == pytest.approx([1, 1])


def test_objectives_that_are_all_known_need_no_model() -> None:
    asked = searcher("ehvi", MEDIUM, metrics=("cost", "error"))
    assert len({s for s, _ in search(asked, MEDIUM, 8)}) == 8  # the cost comes first
    got = surrogate.Surrogate.of(
        History(MEDIUM, {MEDIUM.largest: (1.0, -1.0)}),
        {0: lambda s: cost_of(MEDIUM, s), 1: lambda s: -cost_of(MEDIUM, s)},
    )
    assert got.models == {}


def test_spread_vectors_reach_all_sizes_where_uniform_draws_do_not() -> None:
    space, rng = MediumSpace(12, 12, 3072), np.random.default_rng(0)
    sizes = [cost_of(space, space.decode(v)) for v in candidates.spread_vectors(space, 500, rng).tolist()]
    uniform = [cost_of(space, space.sample(rng)) for _ in range(500)]
    assert (np.histogram(sizes, bins=10, range=(0, 1))[0] >= 20).all()
    assert np.histogram(uniform, bins=10, range=(0, 1))[0][:2].sum() == 0


@pytest.mark.slow
@bayesian
def test_beats_random_search_on_a_synthetic_small_space(name: str, settings: dict) -> None:
    """After 20 evaluations, mean of 3 seeds."""
    volumes = [volume(search(searcher(name, SMALL, seed=s, **settings), SMALL, 20)) for s in range(3)]
    random = [volume(search(searcher("random", SMALL, seed=s), SMALL, 20)) for s in range(3)]
    assert np.mean(volumes) > np.mean(random) + 0.005


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(searcher("ehvi"), SMALL, 6)


@pytest.mark.parametrize(("options", "known"), [({"known_cost": False}, True), ({}, False)])
def test_plain_ehvi_without_botorch_says_how_to_install_it(options, known, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "botorch.acquisition.multi_objective.analytic", None)
    monkeypatch.delitem(sys.modules, "search.searchers.ehvi_botorch")
    formulas = {"cost": lambda subnet: cost_of(SMALL, subnet)} if known else {}
    with pytest.raises(UserError, match=r"pip install 'plm-supernet\[botorch\]'.*searcher=nsga2"):
        make_scheduler(
            "ehvi", SMALL, metrics=METRICS, seed=0, known=formulas, options=searcher_options("ehvi", **options)
        )


@pytest.mark.slow
def test_a_search_with_formulas_needs_no_botorch() -> None:
    """Two objectives or three; in a new interpreter, as BoTorch has long been loaded here."""
    code = """
import sys
sys.modules["botorch"] = sys.modules["gpytorch"] = None
import tests.synthetic as s
s.search(s.searcher("ehvi", s.LAYER), s.LAYER, 6)
two = s.searcher("ehvi", s.LAYER, metrics=("error", "cost", "depth"))
for _ in range(6):
    subnet = two.ask()
    two.tell(subnet, s.smooth(s.LAYER, subnet) | {"depth": len(subnet.layers)})
assert "search.searchers.ehvi_botorch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.parametrize("space", [MEDIUM, LargeSpace(layers=3, heads=4, units=512, multiple_of=64)])
def test_moves_keep_the_number_of_heads_and_of_units(space):
    rng = np.random.default_rng(0)
    parents = candidates.spread_vectors(space, 40, rng)
    moved = candidates._moved(space, parents, rng)
    assert ((space.lower <= moved) & (moved <= space.upper)).all()
    is_head = np.array([name.startswith("head") for name in space.bounds])
    for kind in (is_head, ~is_head):
        assert (moved[:, kind].sum(axis=1) == parents[:, kind].sum(axis=1)).all()
    assert (moved != parents).any(axis=1).mean() > 0.5


@pytest.mark.slow
def test_a_large_space_is_searched_from_regular_sub_networks_on():
    space = LargeSpace(layers=3, heads=4, units=256, multiple_of=64)
    drawn = candidates.pool_of(space, np.array([space.upper]), np.random.default_rng(0))
    regular = [space.decode(vector) in space.regular for vector in drawn.tolist()]
    assert all(regular[: 2 * candidates.POOL])
    assert not all(regular[2 * candidates.POOL :])
    found = [subnet for subnet, _ in search(searcher("ehvi", space), space, 16)]
    assert len(set(found)) == 16
    assert any(subnet not in space.regular for subnet in found)
