"""Where a search looks: in two phases, in a named space, and first at the fronts of other runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.options.search import SearchConfig
from search.report.front import front_of
from search.run import search
from search.run_folder import read_run
from search.searchers.history import History
from search.searchers.phases import FirstPhase, in_phases, within
from search.searchers.schedulers import AskTell, make_scheduler
from search.trials import read_trials
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.runtime.errors import UserError
from supernet.space.ranked import RankedSpace, read_ranking
from supernet.space.spaces import LargeSpace, LayerSpace, MediumSpace, SmallSpace
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.synthetic import METRICS, cost_of, smooth
from tests.synthetic import search as ask_and_tell

SMALL = SmallSpace(
    layers=4, heads=4, units=512, multiple_of=64, kept_layers=((), (0,), (0, 3), (0, 2, 3), (0, 1, 2, 3))
)
MEDIUM = MediumSpace(layers=4, heads=4, units=512, multiple_of=64)
LEARNING = ("ehvi", "random_scalarization", "nsga2", "morea", "local_search")


def phased(name, *, trials=8, seed=0, starts=()):
    known = {"cost": lambda subnet: cost_of(MEDIUM, subnet)}
    first = FirstPhase(SMALL, trials)
    scheduler = make_scheduler(name, MEDIUM, metrics=METRICS, seed=seed, known=known, first=first, starts=starts)
    return AskTell(scheduler, MEDIUM)


@pytest.mark.parametrize("name", LEARNING)
def test_the_first_trials_are_in_the_small_space_and_later_ones_leave_it(name):
    done = [subnet for subnet, _ in ask_and_tell(phased(name), MEDIUM, 24)]
    assert done[:3] == [SMALL.largest, SMALL.smallest, SMALL.middle]
    assert all(subnet in SMALL for subnet in done[:8])
    assert all(subnet in MEDIUM for subnet in done)
    assert any(subnet not in SMALL for subnet in done[8:])
    assert len(set(done)) == 24


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("ended", [5, 8, 14])
def test_a_resumed_search_proposes_the_same_in_either_phase(name, ended):
    whole, resumed = ask_and_tell(phased(name), MEDIUM, 16), phased(name)
    for subnet, values in whole[:ended]:
        resumed.tell(subnet, values)
    assert ask_and_tell(resumed, MEDIUM, 16 - ended) == whole[ended:]


def test_the_first_phase_gives_way_when_its_space_is_exhausted():
    tiny = SmallSpace(layers=1, heads=1, units=64, multiple_of=64)
    larger = MediumSpace(layers=1, heads=1, units=64, multiple_of=64)
    scheduler = make_scheduler("ehvi", larger, metrics=METRICS, seed=0, first=FirstPhase(tiny, 100))
    done = [subnet for subnet, _ in ask_and_tell(AskTell(scheduler, larger), larger, 100)]
    assert set(done) == {larger.decode(vector) for vector in ((0, 0), (0, 1), (1, 0), (1, 1))}


def test_the_first_phase_sees_only_results_of_its_space():
    seen = []

    def propose(history, rng):
        seen.append(history)
        return history.first_unseen([SMALL.largest])

    outside = MEDIUM.decode([1, 2, 3, 4, 0, 1, 2, 3])
    asked = phased("ehvi", starts=[outside])
    subnets = [asked.ask()]
    while subnets[-1] != outside:
        asked.tell(subnets[-1], smooth(MEDIUM, subnets[-1]))
        subnets.append(asked.ask())
    assert subnets == [SMALL.largest, SMALL.smallest, SMALL.middle, outside]
    asked.tell(outside, smooth(MEDIUM, outside))
    assert asked.ask() in SMALL
    history = History(MEDIUM, {outside: (0.1, 0.2), SMALL.middle: (0.3, 0.4)}, failed={outside})
    assert within(history, SMALL) == History(SMALL, {SMALL.middle: (0.3, 0.4)}, set(), set(), set())
    in_phases(FirstPhase(SMALL, 5), propose, propose)(history, None)
    assert seen[0].space is SMALL


def test_spaces_that_contain_each_other():
    layer, large = LayerSpace(layers=4, heads=4, units=512), LargeSpace(layers=4, heads=4, units=512, multiple_of=64)
    assert MEDIUM.includes(SMALL)
    assert large.includes(MEDIUM)
    assert not SMALL.includes(MEDIUM)
    assert not layer.includes(SMALL)
    assert not MEDIUM.includes(SmallSpace(layers=4, heads=4, units=512))  # its units are no multiples of 64
    assert not MEDIUM.includes(SmallSpace(layers=3, heads=4, units=512, multiple_of=64))
    assert RANKED.includes(MEDIUM)


RANKED = RankedSpace(
    layers=4,
    heads=4,
    units=512,
    multiple_of=64,
    best_heads=tuple((3, 1, 0, 2) for _ in range(4)),
    best_units=tuple(tuple(np.random.default_rng(i).permutation(512).tolist()) for i in range(4)),
)


@given(seed=st.integers(0, 2**32))
def test_a_ranked_space_keeps_the_first_or_the_best(seed):
    rng = np.random.default_rng(seed)
    subnet = RANKED.sample(rng)
    vector = RANKED.encode(subnet)
    assert RANKED.decode(vector) == subnet
    assert SubNetwork.from_json(subnet.to_json()) == subnet
    _, *numbers = vector
    assert RANKED.decode([0, *numbers]) == MEDIUM.decode(numbers)
    for s in RANKED.decode([1, *numbers]).layers:
        assert set(s.heads) == set((3, 1, 0, 2)[: numbers[s.index]])
        assert set(s.units) == set(RANKED.best_units[s.index][: 64 * numbers[4 + s.index]])


def test_what_is_neither_the_first_nor_the_best_is_not_in_a_ranked_space():
    assert SubNetwork((LayerSlice(0, (1, 3), range(64)),)) not in RANKED
    assert SubNetwork((LayerSlice(0, (1, 3), ()),)) in RANKED
    assert SubNetwork((LayerSlice(0, (0, 2), ()),)) not in RANKED


def run(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", "data.validation_rows=20"]
    return search(load_config("search", SearchConfig, [*fixed, *overrides]))


@pytest.mark.slow
def test_a_search_in_two_phases_and_one_that_starts_from_its_front(supernet_folder, tmp_path, capsys):
    supernet = load_supernet(supernet_folder)
    folder = run(supernet_folder, tmp_path, "searcher.first_phase=5", "max_evaluations=20")
    trials, own = read_trials(folder / "trials.jsonl"), supernet.space
    assert read_run(folder).info.space == "small, then ranked"
    ranking = read_ranking(folder, own.sizes)
    space, starts = ranking.space(own.sizes), ranking.subnets(own.sizes)
    tried = [trial.subnet for trial in trials]
    assert set(starts) <= {e.subnet for trial in trials[: 3 + len(starts)] for e in trial.evaluated}
    assert not all(subnet in own for subnet in tried)
    assert all(subnet in space for subnet in tried)

    (folder / "trials.jsonl").write_text("".join((folder / "trials.jsonl").read_text().splitlines(True)[:15]))
    resumed = run(supernet_folder, tmp_path, "searcher.first_phase=5", "max_evaluations=20")
    assert [trial.subnet for trial in read_trials(resumed / "trials.jsonl")] == tried

    front = [e.subnet for e in front_of(read_run(folder))]
    started = run(supernet_folder, tmp_path, "space=large", f"starts={folder}", "searcher=random", "max_evaluations=20")
    tried = [trial.subnet for trial in read_trials(started / "trials.jsonl")]
    assert set(front) <= set(tried[: 3 + len(front)])
    assert read_run(started).info.space == "large"
    pruned = run(supernet_folder, tmp_path, "baseline=head_pruning", "baseline.budgets=[0.8]")
    with pytest.raises(UserError, match=r"starts: .* is not in space small; give a larger one"):
        run(supernet_folder, tmp_path, "space=small", f"starts={pruned}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space=smal"], "space 'smal' is unknown"),
        (["space=layer"], "space=layer neither contains the space that the supernet was trained in (small)"),
        (["baseline=uniform_width", "space=medium"], "space is for a search with the supernet's weights"),
        (["evaluator=finetune", "starts=[a]"], "starts is for a search with the supernet's weights"),
        (["starts=[nowhere]"], "nowhere is not a search's run folder"),
    ],
)
def test_wrong_spaces_and_starts_are_refused(overrides, message, supernet_folder, tmp_path):
    with pytest.raises(UserError) as error:
        run(supernet_folder, tmp_path, *overrides)
    assert message in str(error.value)
    assert not (tmp_path / "search").exists()
