"""The loop: what fails is recorded and skipped, byproducts are told, and the file of trials is the truth."""

import json
import math

import pytest
from accelerate import Accelerator

from search.loop import MAX_FAILURES, Dialogue, run_search
from search.run_folder import RunInfo, begin_run, read_run
from search.searchers.schedulers import AskTell, make_scheduler
from search.trials import Evaluated, Outcome, TrialFile, all_evaluated, read_trials
from supernet.runtime.errors import UserError
from supernet.space.spaces import LayerSpace

SPACE = LayerSpace(layers=6, heads=2, units=4)
SUBNETS = [SPACE.decode([int(bit) for bit in f"{i:06b}"]) for i in range(64)]


class Scripted:
    """Proposes `SUBNETS` in order, and remembers what it is told."""

    def __init__(self):
        self.known = {}

    def ask(self):
        return next((s for s in SUBNETS if s not in self.known), None)

    def tell(self, subnet, metrics):
        self.known[subnet] = dict(metrics)

    observe = tell

    def mark_pending(self, subnet):
        self.known[subnet] = None

    def fail(self, subnet):
        self.known[subnet] = None


def metrics(subnet):
    return {"error": 1 / (1 + len(subnet.layers)), "params": float(len(subnet.layers)), "params_share": 0.5}


def outcome(subnet):
    return Outcome(metrics(subnet))


class Measured:
    """Evaluates by a function of the sub-network, and remembers its bounds: the least error so far."""

    def __init__(self, function):
        self.function, self.bounds = function, []

    def bound(self, subnet, trials):
        return min((e.metrics["error"] for e in all_evaluated(trials)), default=None)

    def __call__(self, subnet, bound):
        self.bounds.append(bound)
        return self.function(subnet)


def run(path, evaluate=outcome, *, searcher=None, max_evaluations=20):
    searcher = searcher or Scripted()
    evaluate = evaluate if isinstance(evaluate, Measured) else Measured(evaluate)
    seen = []
    trials = run_search(
        lambda: Dialogue(searcher, ["error", "params"], TrialFile(path), seen.append),
        evaluate,
        max_evaluations=max_evaluations,
        accelerator=Accelerator(cpu=True),
    )
    assert seen == trials
    return trials, searcher


def test_the_searcher_is_told_its_objectives_and_nothing_else(tmp_path):
    _, searcher = run(tmp_path / "trials.jsonl", max_evaluations=3)
    assert searcher.known == {s: {k: metrics(s)[k] for k in ("error", "params")} for s in SUBNETS[:3]}


def test_bounds_come_from_the_trials_that_have_ended(tmp_path):
    path, first, second = tmp_path / "trials.jsonl", Measured(outcome), Measured(outcome)
    run(path, first, max_evaluations=5)
    assert first.bounds == [None, 1.0, 1 / 2, 1 / 2, 1 / 3]
    run(path, second, max_evaluations=7)
    assert second.bounds == [1 / 3, 1 / 3]


def test_a_trial_is_on_the_disk_before_the_next_begins(tmp_path):
    path, written = tmp_path / "trials.jsonl", []

    def evaluate(subnet):
        written.append(len(read_trials(path)))
        if len(written) == 3:
            raise KeyboardInterrupt
        return outcome(subnet)

    with pytest.raises(KeyboardInterrupt):
        run(path, evaluate)
    assert written == [0, 1, 2]


@pytest.mark.parametrize("bad", ["raises", "nan", "infinite"])
def test_a_failed_trial_is_recorded_and_the_search_goes_on(bad, tmp_path):
    def evaluate(subnet):
        if subnet != SUBNETS[4]:
            return outcome(subnet)
        if bad == "raises":
            raise RuntimeError("out of memory\nand more")
        return Outcome(metrics(subnet) | {"error": math.nan if bad == "nan" else math.inf})

    trials, searcher = run(tmp_path / "trials.jsonl", evaluate, max_evaluations=8)
    assert [t.subnet for t in trials] == SUBNETS[:8]
    assert searcher.known[SUBNETS[4]] is None
    reasons = {"raises": "RuntimeError: out of memory", "nan": "error is nan", "infinite": "error is inf"}
    assert [t.outcome.failure for t in trials if t.outcome.metrics is None] == [reasons[bad]]
    assert read_trials(tmp_path / "trials.jsonl") == [*trials]
    assert SUBNETS[4] not in [e.subnet for e in all_evaluated(trials)]
    again, resumed = run(tmp_path / "trials.jsonl", evaluate, max_evaluations=9)
    assert [t.subnet for t in again] == SUBNETS[:9]
    assert resumed.known[SUBNETS[4]] is None


def test_failures_in_a_row_end_the_search_and_others_do_not(tmp_path):
    def evaluate(subnet):
        number = SUBNETS.index(subnet)
        if number < MAX_FAILURES - 1 or number >= MAX_FAILURES + 2:
            raise RuntimeError(f"number {number}")
        return outcome(subnet)

    with pytest.raises(
        UserError, match=rf"10 trials in a row failed, .* number {2 * MAX_FAILURES + 1}; all trials are kept"
    ):
        run(tmp_path / "trials.jsonl", evaluate, max_evaluations=64)
    assert len(read_trials(tmp_path / "trials.jsonl")) == 2 * MAX_FAILURES + 2


def test_a_users_mistake_is_no_failed_trial(tmp_path):
    def evaluate(subnet):
        raise UserError("wrong table")

    with pytest.raises(UserError, match="wrong table"):
        run(tmp_path / "trials.jsonl", evaluate)
    assert read_trials(tmp_path / "trials.jsonl") == []


def test_free_observations_are_told_and_written_but_are_no_trials(tmp_path):
    def evaluate(subnet):
        byproducts = (Evaluated(SUBNETS[1], metrics(SUBNETS[1])),) if subnet == SUBNETS[0] else ()
        return Outcome(metrics(subnet), byproducts=byproducts)

    trials, searcher = run(tmp_path / "trials.jsonl", evaluate, max_evaluations=4)
    assert [t.subnet for t in trials] == [SUBNETS[0], *SUBNETS[2:5]]
    assert searcher.known[SUBNETS[1]] == {k: metrics(SUBNETS[1])[k] for k in ("error", "params")}
    assert [e.subnet for e in all_evaluated(read_trials(tmp_path / "trials.jsonl"))] == SUBNETS[:5]
    again, _ = run(tmp_path / "trials.jsonl", evaluate, max_evaluations=5)
    assert [t.subnet for t in again] == [SUBNETS[0], *SUBNETS[2:6]]


def test_a_half_written_line_is_dropped(tmp_path):
    path = tmp_path / "trials.jsonl"
    run(path, max_evaluations=3)
    with path.open("a") as file:
        file.write('{"trial": 3, "subnet": [[0, 1')
    trials, _ = run(path, max_evaluations=4)
    assert [t.subnet for t in trials] == SUBNETS[:4]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_elapsed_goes_on_where_it_was(tmp_path):
    path = tmp_path / "trials.jsonl"
    run(path, max_evaluations=3)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["elapsed"] = 1000.0
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trials, _ = run(path, max_evaluations=5)
    assert 1000 <= trials[3].elapsed <= trials[4].elapsed < 1100


def info(**changed):
    values = {"kind": "search", "label": "random", "seed": 0, "task": "sst2", "metric": "accuracy", "model": "tiny"}
    values |= {"space": "small", "strategy": "full", "objectives": ["error", "params"], "majority_error": 0.5}
    values |= {"reference": {"error": 1.0, "params": 10.0}, "supernet": "/somewhere", "weights": "0123", "data": "89"}
    return RunInfo(**values | {"settings": {"workload": {"length": 128}}} | changed)


def test_a_changed_run_is_refused_with_what_differs(tmp_path):
    begin_run(tmp_path, info(label="ehvi"), overwrite=False)
    begin_run(tmp_path, info(), overwrite=False)  # there is nothing yet that the other one could claim
    run(tmp_path / "trials.jsonl", max_evaluations=3)
    moved = info(supernet="/elsewhere", reference={"error": 1.0, "params": 11.0})
    begin_run(tmp_path, moved, overwrite=False)
    assert read_run(tmp_path).info == info(supernet="/elsewhere")  # the first reference, and the new place
    changed = info(weights="4567", settings={"workload": {"length": 64}})
    with pytest.raises(UserError, match=r"weights is 4567, was 0123; settings\.workload\.length is 64, was 128; start"):
        begin_run(tmp_path, changed, overwrite=False)
    assert len(read_run(tmp_path).trials) == 3
    (tmp_path / "weights").mkdir()
    begin_run(tmp_path, changed, overwrite=True)
    assert read_run(tmp_path).info == changed
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert read_run(tmp_path).trials == []


def test_what_is_no_run_is_not_overwritten(tmp_path):
    (tmp_path / "supernet").mkdir()
    with pytest.raises(UserError, match="is not a search's run folder, so it is not overwritten"):
        begin_run(tmp_path, info(), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["supernet"]


@pytest.mark.parametrize("searcher", ["random", "morea", "nsga2", "ehvi"])
def test_a_round_that_was_interrupted_goes_on(searcher, tmp_path):
    def search_until(path, evaluations):
        scheduler = make_scheduler(searcher, SPACE, metrics=["error", "params"], seed=0)
        file = TrialFile(path)
        dialogue = Dialogue(AskTell(scheduler, SPACE), ["error", "params"], file, lambda trial: None, at_once=3)
        while asked := dialogue.ask(evaluations - len(file.trials)):
            dialogue.add(asked, [outcome(subnet) for subnet in asked])
        return [trial.subnet for trial in file.trials]

    whole = search_until(tmp_path / "whole.jsonl", 14)
    assert len(set(whole)) == 14
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    for count in (1, 6, 8, 10, 13):  # rounds are of trials 0 to 2, 3 to 5, ...
        path = tmp_path / f"killed-{count}.jsonl"
        path.write_text("".join(lines[:count]))
        assert search_until(path, 14) == whole
    path = tmp_path / "enlarged.jsonl"
    for evaluations in (4, 11, 14):
        assert search_until(path, evaluations) == whole[:evaluations]


def test_a_free_result_that_is_no_number_is_left_out(tmp_path):
    def evaluate(subnet):
        byproducts = [
            Evaluated(SUBNETS[60], metrics(SUBNETS[60]) | {"loss": math.nan}),
            Evaluated(SUBNETS[61], metrics(subnet)),
        ]
        return Outcome(metrics(subnet), byproducts=tuple(byproducts))

    trials, searcher = run(tmp_path / "trials.jsonl", evaluate, max_evaluations=1)
    assert [e.subnet for e in trials[0].outcome.byproducts] == [SUBNETS[61]]
    assert SUBNETS[60] not in searcher.known


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is not a search's run folder: it has no run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "search"}')
    with pytest.raises(UserError, match=r"run\.json cannot be used"):
        read_run(tmp_path)
