"""Searchers without a model: survival against its definition, ages, neighbours, strata, grids."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.core.problem import Problem

from search.searchers import evolution, exploration
from search.searchers.history import History
from supernet.space.base import SearchSpace
from supernet.space.spaces import LayerSpace, MediumSpace, NativeSpace, SmallSpace
from tests.synthetic import LAYER, MEDIUM, NATIVE, SMALL, cost_of, search, searcher, smooth

pytestmark = pytest.mark.filterwarnings("error")


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def ranks_by_definition(costs: np.ndarray) -> list[int]:
    """0 for what nothing dominates, 1 for what nothing else but these dominates, and so on."""
    ranks, left, rank = [-1] * len(costs), set(range(len(costs))), 0
    while left:
        front = {i for i in left if not any(dominates(costs[j], costs[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left, rank = left - front, rank + 1
    return ranks


def crowding_by_definition(front: np.ndarray, i: int) -> float:
    """The mean over objectives of the gap between the neighbours of a point, as a share of the front's extent."""
    total = 0.0
    for values in front.T:
        below, above = values[values < values[i]], values[values > values[i]]
        if not len(below) or not len(above):
            return np.inf
        total += (above.min() - below.max()) / np.ptp(values)
    return total / front.shape[1]


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_survivors_are_the_best_by_rank_then_by_crowding(objectives: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random((30, objectives))
    survivors = evolution.survivors_of(costs, 10, np.random.default_rng(0))
    rows, ranks = survivors.get("row"), np.array(ranks_by_definition(costs))
    assert len(set(rows.tolist())) == 10
    assert survivors.get("rank").tolist() == ranks[rows].tolist()
    last = ranks[rows].max()
    assert {i for i in range(30) if ranks[i] < last} <= set(rows.tolist())
    front = np.flatnonzero(ranks == last)
    crowding = {i: crowding_by_definition(costs[front], place) for place, i in enumerate(front.tolist())}
    kept = [crowding[i] for i in front.tolist() if i in rows]
    gone = [crowding[i] for i in front.tolist() if i not in rows]
    assert min(kept) >= max(gone, default=0)


def test_crowding_is_as_defined() -> None:
    costs = np.array([[0.0, 1.0], [0.1, 0.7], [0.5, 0.4], [1.0, 0.0]])
    survivors = evolution.survivors_of(costs, 4, np.random.default_rng(0))
    expected = [crowding_by_definition(costs, i) for i in survivors.get("row")]
    assert survivors.get("crowding") == pytest.approx(expected)


@pytest.mark.parametrize("space", [SMALL, MEDIUM, LAYER, NATIVE], ids=lambda s: s.name)
def test_one_entry_changes_to_any_other_value(space: SearchSpace) -> None:
    rng, vector = np.random.default_rng(0), np.array(space.encode(space.middle))
    seen = set()
    for _ in range(300):
        changed = evolution.one_changed(space, vector, rng)
        assert (changed != vector).sum() == 1
        assert ((space.lower <= changed) & (changed <= space.upper)).all()
        seen.add(int(np.flatnonzero(changed != vector)[0]))
    assert seen == set(range(len(vector)))


def test_a_mutation_flips_bits_and_moves_numbers_within_bounds() -> None:
    problem = Problem(n_var=len(NATIVE.bounds), n_obj=2, xl=NATIVE.lower, xu=NATIVE.upper)
    vector, rng = np.array(NATIVE.encode(NATIVE.middle)), np.random.default_rng(0)
    mutants = np.array([evolution.mutated(problem, vector, rng) for _ in range(300)])
    assert (mutants >= NATIVE.lower).all()
    assert (mutants <= NATIVE.upper).all()
    changed = (mutants != vector).mean(axis=0)
    assert (np.abs(changed - 1 / len(vector)) < 0.08).all()


def test_local_search_proposes_neighbours_of_the_front() -> None:
    asked = searcher("local_search", MEDIUM)
    done = search(asked, MEDIUM, 20)
    costs = np.array([list(values.values()) for _, values in done])
    front = [MEDIUM.encode(s) for (s, _), rank in zip(done, ranks_by_definition(costs), strict=True) if rank == 0]
    child = np.array(MEDIUM.encode(asked.ask()))
    assert min((child != np.array(parent)).sum() for parent in front) == 1


def test_members_of_regularised_evolution_die_of_age() -> None:
    """The best of all, told first, is no parent any more; told last, it is one when all members compete."""
    rng = np.random.default_rng(0)
    poor = {MEDIUM.sample(rng): (0.9 + i / 1000, 0.9 - i / 1000) for i in range(10)}
    best = MEDIUM.middle
    old, young = {best: (0.1, 0.1)} | poor, poor | {best: (0.1, 0.1)}

    def distance(told: dict) -> int:
        propose = evolution.morea(History(MEDIUM, told), np.random.default_rng(1), population=10, sample_size=10)
        return int((np.array(MEDIUM.encode(propose)) != np.array(MEDIUM.encode(best))).sum())

    assert distance(young) == 1
    assert distance(old) > 1


def test_free_observations_are_no_members_of_regularised_evolution() -> None:
    done = search(searcher("morea", MEDIUM), MEDIUM, 12)
    plain, with_byproducts = searcher("morea", MEDIUM), searcher("morea", MEDIUM)
    for i, trial in enumerate(done):
        plain.tell(*trial)
        with_byproducts.tell(*trial)
        byproduct = MEDIUM.decode([0, 0, 0, i + 1, 1, 1])
        with_byproducts.observe(byproduct, smooth(MEDIUM, byproduct))
    assert plain.ask() == with_byproducts.ask()


def test_evolution_starts_at_random_until_there_is_a_population() -> None:
    random = [s for s, _ in search(searcher("random", MEDIUM), MEDIUM, 9)]
    for name, options in (("morea", {"sample_size": 2}), ("nsga2", {})):
        found = [s for s, _ in search(searcher(name, MEDIUM, population=6, **options), MEDIUM, 9)]
        assert found[:6] == random[:6]
        assert found != random


# --- strata and grids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [MediumSpace(12, 12, 3072), SMALL], ids=lambda s: s.name)
def test_stratified_draws_are_even_over_parameters_in_any_stretch(space: SearchSpace) -> None:
    done = search(searcher("stratified_random", space), space, 43)
    sizes = [cost_of(space, subnet) for subnet, _ in done[3:]]
    for stretch in (sizes[:20], sizes[20:]):
        assert (np.histogram(stretch, bins=5, range=(0, 1))[0] >= 3).all()


def test_strata_are_of_the_formula_for_params_where_there_is_one() -> None:
    told = History(MEDIUM, {}, pending={MEDIUM.largest, MEDIUM.smallest, MEDIUM.middle})
    rng = np.random.default_rng

    def draw(size: object) -> float:
        subnet = exploration.stratified_random(told, rng(0), seed=0, size=size)
        return sum(len(s.heads) for s in subnet.layers) / 36

    turn = (rng(0).random() + 3 * exploration.GOLDEN) % 1
    assert draw(lambda s: sum(len(layer.heads) for layer in s.layers)) == pytest.approx(turn, abs=0.05)


def test_sizes_without_a_formula_have_bert_s_proportions() -> None:
    assert exploration.relative_size(MEDIUM, MEDIUM.largest) == pytest.approx(1)
    assert exploration.relative_size(MEDIUM, MEDIUM.decode([12, 12, 12, 0, 0, 0])) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("space", "points"),
    [
        (SMALL, 13 * 12 * 52),
        (MediumSpace(6, 12, 1536), 2**12),
        (LayerSpace(12, 12, 3072), 2**12),
        (NativeSpace(12, 12, 3072), 2**13),
        (SmallSpace(2, 2, 3), 3 * 2 * 3),
    ],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_grid_levels(space: SearchSpace, points: int) -> None:
    levels = exploration.grid_levels(space)
    assert np.prod([len(level) for level in levels]) == points <= exploration.GRID_POINTS
    for level, low, high in zip(levels, space.lower, space.upper, strict=True):
        assert (level[0], level[-1]) == (low, high)
        assert (np.diff(level) > 0).all()
        assert np.ptp(np.diff(level)) <= 1


def test_any_prefix_of_the_grid_fills_the_space() -> None:
    done = search(searcher("grid", SMALL), SMALL, 35)
    vectors = np.array([SMALL.encode(subnet) for subnet, _ in done[3:]])
    for entry in range(3):
        edges = np.linspace(SMALL.lower[entry], SMALL.upper[entry] + 1, 5)
        counts = np.histogram(vectors[:, entry], bins=edges)[0]
        assert (counts >= 4).all()
        assert (counts <= 13).all()


def test_the_grid_ends() -> None:
    space = MediumSpace(1, 3, 9000)
    levels = exploration.grid_levels(space)
    assert [len(level) for level in levels] == [4, 2048]
    told = {space.decode([int(a), int(b)]): (0.0, 0.0) for a in levels[0] for b in levels[1]}
    assert exploration.grid(History(space, told), np.random.default_rng(0), seed=0) is None
