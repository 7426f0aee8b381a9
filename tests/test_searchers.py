"""What holds for every searcher: how it starts, that it never repeats, that it resumes, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from search.searchers.history import all_subnets
from search.searchers.schedulers import AskTell, make_scheduler
from search.searchers.table import CANDIDATE_ENTRIES, MODEL_DIMENSIONS, SEARCHERS
from supernet.runtime.errors import UserError
from supernet.space.base import SearchSpace
from supernet.space.spaces import LargeSpace, LayerSpace, MediumSpace, NativeSpace, SmallSpace
from tests.synthetic import COLLIDING, LAYER, MEDIUM, NATIVE, SMALL, cost_of, search, searcher, smooth, volume

REGULAR = [(name, {}) for name in SEARCHERS]
PLAIN = ("ehvi", {"known_cost": False})
"""EHVI by BoTorch, which takes seconds for some proposals."""
AT_NIGHT = [pytest.mark.slow, pytest.mark.nightly]
IDS = [*SEARCHERS, "ehvi_plain"]
versions = pytest.mark.parametrize(("name", "settings"), [*REGULAR, PLAIN], ids=IDS)
versions_plain_at_night = pytest.mark.parametrize(
    ("name", "settings"), [*REGULAR, pytest.param(*PLAIN, marks=AT_NIGHT)], ids=IDS
)
"""With `PLAIN` at night."""

FEW_SPACES = [SMALL, SmallSpace(4, 4, 1000, multiple_of=64), LargeSpace(2, 2, 200, multiple_of=64)]
SPACES = [
    *FEW_SPACES,
    MEDIUM,
    LAYER,
    NATIVE,
    LargeSpace(layers=2, heads=2, units=4),
    MediumSpace(2, 4, 1000, multiple_of=64),
]

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def only_subnets(done: list) -> list:
    return [subnet for subnet, _ in done]


# Every searcher in three spaces; what the spaces themselves decide, in all of them.
@pytest.mark.parametrize(
    ("name", "settings", "space"),
    [
        *((*row, space) for row in REGULAR for space in (SPACES if row[0] == "random" else FEW_SPACES)),
        *(pytest.param(*PLAIN, space, marks=AT_NIGHT) for space in FEW_SPACES),
    ],
)
def test_starts_with_largest_smallest_middle_and_repeats_none(name: str, settings: dict, space: SearchSpace) -> None:
    found = only_subnets(search(searcher(name, space, **settings), space, 14))
    assert found[:3] == [space.largest, space.smallest, space.middle]
    assert len(found) == len(set(found)) == 14


@versions
@pytest.mark.parametrize("space", [SmallSpace(4, 4, 10), MEDIUM], ids=lambda s: s.name)
def test_whether_the_seed_counts_is_known(name: str, settings: dict, space: SearchSpace) -> None:
    found = [only_subnets(search(searcher(name, space, seed=seed, **settings), space, 9)) for seed in (0, 1)]
    assert (found[0] != found[1]) == SEARCHERS[name].draws(space)


def test_a_duplicate_among_the_first_is_skipped() -> None:
    space = LayerSpace(layers=1, heads=12, units=3072)  # the middle is the largest
    assert only_subnets(search(searcher("random", space), space, 5)) == [space.largest, space.smallest]


@versions
@pytest.mark.parametrize("space", [COLLIDING, LayerSpace(3, 12, 3072), MediumSpace(1, 1, 2)], ids=lambda s: s.name)
def test_every_subnetwork_once_and_then_none(name: str, settings: dict, space: SearchSpace) -> None:
    asked = searcher(name, space, **settings)
    found = only_subnets(search(asked, space, space.size + 1))
    assert len(found) == len(set(found))
    assert set(found) == set(all_subnets(space))
    assert asked.ask() is None


@versions
def test_a_space_of_one_subnetwork(name: str, settings: dict) -> None:
    space = SmallSpace(1, 1, 1, min_layers=1)
    asked = searcher(name, space, **settings)
    assert only_subnets(search(asked, space, 5)) == [space.largest]


@pytest.mark.slow
@versions_plain_at_night
def test_same_seed_same_trials_other_seed_other_trials(name: str, settings: dict) -> None:
    first, again, other = (search(searcher(name, SMALL, seed=s, **settings), SMALL, 12) for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.slow
@versions
def test_global_generators_are_neither_read_nor_moved(name: str, settings: dict) -> None:
    np.random.seed(3)
    torch.manual_seed(3)
    first = search(searcher(name, **settings), SMALL, 13)
    assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(3)).item()
    assert np.random.random() == np.random.RandomState(3).random()
    assert search(searcher(name, **settings), SMALL, 13) == first


@versions
def test_resumed_by_telling_equals_uninterrupted(name: str, settings: dict) -> None:
    """With a failure and byproducts on the way, at any trial."""

    def replay(asked: AskTell, events: list, until: int) -> None:
        for what, subnet in events:
            if until == 0:
                break
            until -= what != "observe"
            if what == "fail":
                asked.fail(subnet)
            else:
                getattr(asked, what)(subnet, smooth(MEDIUM, subnet))

    asked, events = searcher(name, MEDIUM, **settings), []
    for number in range(15):
        subnet = asked.ask()
        events.append(("fail" if number in (4, 11) else "tell", subnet))
        events += [("observe", MEDIUM.decode([number] * 6))] if number in (3, 12) else []
        replay(asked, events[-1:] if events[-1][0] != "observe" else events[-2:], 2)
    trials = [subnet for what, subnet in events if what != "observe"]
    for stop in (1, 4, 5, 11, 13, 14):
        resumed = searcher(name, MEDIUM, **settings)
        last = [i for i, (what, _) in enumerate(events) if what != "observe"][stop]
        replay(resumed, events[:last], len(events))
        assert resumed.ask() == trials[stop]


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name != "morea"])
def test_the_order_told_only_matters_where_age_does(name: str) -> None:
    done = search(searcher(name, MEDIUM), MEDIUM, 14)
    forward, backward = searcher(name, MEDIUM), searcher(name, MEDIUM)
    for trial in done:
        forward.tell(*trial)
    for trial in reversed(done):
        backward.tell(*trial)
    assert forward.ask() == backward.ask()


@pytest.mark.slow
@versions_plain_at_night
def test_asking_several_before_telling_repeats_none(name: str, settings: dict) -> None:
    asked = searcher(name, MEDIUM, **settings)
    done = search(asked, MEDIUM, 12)
    pending = [asked.ask() for _ in range(4)]
    assert len({*pending, *only_subnets(done)}) == 16


@versions
def test_asking_several_before_the_first_result(name: str, settings: dict) -> None:
    asked = searcher(name, MEDIUM, **settings)
    assert len({asked.ask() for _ in range(14)}) == 14


def test_random_search_is_the_same_whether_results_come_at_once_or_late() -> None:
    asked = searcher("random", MEDIUM)
    late = [asked.ask() for _ in range(12)]
    assert late == only_subnets(search(searcher("random", MEDIUM), MEDIUM, 12))


@versions
def test_a_failed_subnetwork_is_not_suggested_again_after_resuming(name: str, settings: dict) -> None:
    done = search(searcher(name, COLLIDING, **settings), COLLIDING, 6)
    resumed = searcher(name, COLLIDING, **settings)
    for trial in done[:5]:
        resumed.tell(*trial)
    resumed.fail(done[5][0])
    rest = only_subnets(search(resumed, COLLIDING, 10))
    assert len(rest) == 1
    assert not set(rest) & set(only_subnets(done))


@versions
def test_all_may_fail(name: str, settings: dict) -> None:
    asked = searcher(name, COLLIDING, **settings)
    for _ in range(7):
        asked.fail(asked.ask())
    assert asked.ask() is None


@versions
def test_a_free_observation_is_not_suggested_and_is_no_trial(name: str, settings: dict) -> None:
    """But for searchers that do not learn from results: they would propose others if it came at another moment."""
    asked, byproduct = searcher(name, COLLIDING, **settings), COLLIDING.middle
    asked.observe(byproduct, smooth(COLLIDING, byproduct))
    found = only_subnets(search(asked, COLLIDING, 10))
    assert (byproduct in found) == (not SEARCHERS[name].learns)
    assert len(found) == len(set(all_subnets(COLLIDING))) - SEARCHERS[name].learns


def test_free_observations_do_not_move_random_search() -> None:
    asked, plain = searcher("random", MEDIUM), searcher("random", MEDIUM)
    for number in range(6):
        byproduct = MEDIUM.decode([number + 1] * 6)
        asked.observe(byproduct, smooth(MEDIUM, byproduct))
        assert asked.ask() == plain.ask()


def test_a_free_observation_of_what_was_told_or_asked_changes_nothing() -> None:
    asked = searcher("ehvi", MEDIUM)
    done = search(asked, MEDIUM, 5)
    pending = asked.ask()
    for subnet in (done[0][0], pending):
        asked.observe(subnet, {"error": 0.9, "cost": cost_of(MEDIUM, subnet)})
    other = searcher("ehvi", MEDIUM)
    for trial in done:
        other.tell(*trial)
    assert other.ask() == pending
    assert other.ask() == asked.ask()


def test_configurations_are_plain_integers_within_the_bounds() -> None:
    scheduler = make_scheduler("random", SMALL, metrics=["error", "cost"], seed=0)
    for _ in range(10):
        config = scheduler.suggest().config
        assert list(config) == list(SMALL.bounds)
        assert all(type(v) is int and SMALL.bounds[name][0] <= v <= SMALL.bounds[name][1] for name, v in config.items())


@pytest.mark.parametrize("report", ["tell", "observe"])
def test_a_metric_that_is_not_finite_is_refused(report: str) -> None:
    with pytest.raises(ValueError, match="must be finite, got"):
        getattr(searcher("random"), report)(SMALL.largest, {"error": float("nan"), "cost": 1.0})


def test_mistakes_are_told_in_one_line() -> None:
    with pytest.raises(UserError, match=r"searcher 'evhi' is unknown; .*did you mean ehvi\?"):
        searcher("evhi")
    with pytest.raises(UserError, match="two or more objectives"):
        searcher("random", metrics=("error",))
    many, wide = LayerSpace(MODEL_DIMENSIONS + 1, 4, 8), LargeSpace(layers=2, heads=4, units=CANDIDATE_ENTRIES)
    for name, space, advice in [
        ("ehvi", many, "models at most 256 dimensions, space layer has 257; use searcher=nsga2, morea or strat"),
        (
            "random_scalarization",
            wide,
            "vectors of at most 4096 entries, space large has 8200; use searcher=",
        ),
        ("grid", MediumSpace(12, 12, 3072), "24 dimensions of space medium are more than 8192 points; use searcher="),
    ]:
        with pytest.raises(UserError, match=advice) as caught:
            searcher(name, space)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", "stratified_random", "local_search", "morea", "nsga2"])
def test_the_paper_s_large_space_with_its_37008_bits(name: str) -> None:
    space = LargeSpace(layers=12, heads=12, units=3072)
    assert len(space.bounds) == 37_008
    few = {"morea": {"population": 4, "sample_size": 2}, "nsga2": {"population": 4}}
    found = only_subnets(search(searcher(name, space, **few.get(name, {})), space, 6))
    assert len(set(found)) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [*((*row, 4) for row in REGULAR), ("ehvi", {}, 3), pytest.param(*PLAIN, 4, marks=AT_NIGHT)],
)
def test_more_than_two_objectives(name: str, settings: dict, count: int) -> None:
    metrics = ("error", "cost", "latency_ms", "memory_mb")[:count]
    asked, seen = searcher(name, MEDIUM, metrics=metrics, **settings), set()
    for _ in range(13):
        subnet = asked.ask()
        seen.add(subnet)
        depth = len(subnet.layers)
        asked.tell(subnet, smooth(MEDIUM, subnet) | {"latency_ms": 1.0 + depth, "memory_mb": 90.0 - depth % 2})
    assert len(seen) == 13


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n for n in SEARCHERS if n not in ("random", "grid")] + [pytest.param("ehvi_plain", marks=pytest.mark.nightly)],
)
def test_beats_random_search_on_a_synthetic_medium_space(name: str) -> None:
    """After 20 evaluations, mean of 2 seeds: uniform draws are all of about the same size."""
    settings = {"known_cost": False} if name == "ehvi_plain" else {}
    space = MediumSpace(layers=6, heads=12, units=1536)

    def mean_volume(name: str, settings: dict) -> float:
        searches = [searcher(name, space, seed=seed, **settings) for seed in range(2)]
        return float(np.mean([volume(search(each, space, 20)) for each in searches]))

    assert mean_volume(name.removesuffix("_plain"), settings) > mean_volume("random", {}) + 0.005


def test_no_searcher_refuses_a_space_that_it_can_search() -> None:
    native = NativeSpace(layers=12, heads=12, units=3072)
    assert all(row.refuses(native) is None for row in SEARCHERS.values())
