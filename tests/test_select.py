"""The best sub-network for a budget, against going through all of them."""

import json
import os

import pytest

from search.choice.choose import choose, standard_error
from search.choice.select import select
from search.export.finalists import decide
from search.options.select import SelectConfig
from search.report.front import front_of
from search.run_folder import TRIALS_FILE, read_run
from search.trials import all_evaluated
from supernet.console.config import load_config
from supernet.evaluation.evaluator import Scores
from supernet.runtime.errors import UserError
from tests.fake_runs import FULL, VALIDATION_ROWS, make_run, metrics_of, test_score

OBJECTIVES = ("error", "params", "latency_ms")
WHOLE = metrics_of(FULL, OBJECTIVES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("select") / "search" / "run", objectives=OBJECTIVES, evaluations=60)


def config(*overrides):
    return load_config("select", SelectConfig, list(overrides))


def chosen_of(run, *overrides):
    """What the command would choose."""
    given = config(*overrides)
    return choose(run, given.budgets, given.max_error_increase)


@pytest.mark.parametrize(
    ("overrides", "limits"),
    [
        (["max_params=0.5"], {"params": 0.5 * WHOLE["params"]}),
        (["max_params=50%"], {"params": 0.5 * WHOLE["params"]}),
        (["max_params=1"], {"params": WHOLE["params"]}),
        (["max_params=4e6"], {"params": 4e6}),
        (["max_total_params=0.8"], {"total_params": 0.8 * WHOLE["total_params"]}),
        (["max_latency_ms=9.5"], {"latency_ms": 9.5}),
        (["max_latency_ms=60%"], {"latency_ms": 0.6 * WHOLE["latency_ms"]}),
        (["max_params=0.7", "max_latency_ms=9.5"], {"params": 0.7 * WHOLE["params"], "latency_ms": 9.5}),
    ],
)
def test_the_most_accurate_within_budgets(overrides, limits, run):
    choice = chosen_of(run, *overrides)
    chosen, told = choice.chosen, choice.limits
    assert told == pytest.approx(limits)
    within = [e for e in all_evaluated(run.trials) if all(e.metrics[n] <= v for n, v in limits.items())]
    assert within
    assert chosen.metrics["error"] == min(e.metrics["error"] for e in within)


@pytest.mark.parametrize("more", [[], ["max_params=0.6"]])
def test_the_cheapest_that_loses_so_much(more, run):
    choice = chosen_of(run, "max_error_increase=0.1", *more)
    chosen, told = choice.chosen, choice.limits
    assert told["error"] == pytest.approx(WHOLE["error"] + 0.1)
    share = 0.6 if more else 1.0
    within = [
        e for e in all_evaluated(run.trials)
        if e.metrics["error"] <= WHOLE["error"] + 0.1 and e.metrics["params_share"] <= share
    ]  # fmt: skip
    assert chosen.metrics["latency_ms"] == min(e.metrics["latency_ms"] for e in within)  # the run's last objective


def test_finalists_of_a_limit_on_the_error_are_cheaper_and_lose_up_to_twice_as_much(run):
    choice = chosen_of(run, "max_error_increase=0.1")
    cost, limit = choice.chosen.metrics["latency_ms"], choice.limits["error"]
    cheaper = [e for e in all_evaluated(run.trials) if e.metrics["latency_ms"] < cost]
    nearly = [e for e in cheaper if e.metrics["error"] <= limit + 0.1]
    best = min(nearly, key=lambda e: e.metrics["error"])
    cheapest = min(nearly, key=lambda e: e.metrics["latency_ms"])
    assert best != cheapest
    assert choice.finalists == [choice.chosen, best, cheapest]


def test_the_cheapest_finalist_within_the_limit_is_taken(run):
    choice = chosen_of(run, "max_error_increase=0.1")
    limit = choice.limits["error"]
    within, beyond = Scores(limit, 1.0, 100), Scores(limit + 0.001, 0.5, 100)
    assert decide(choice, [within, within, within]) == (2, "the cheapest whose validation error is within the limit")
    assert decide(choice, [within, within, beyond])[0] == 1
    assert decide(choice, [within, beyond, beyond])[0] == 0
    assert decide(choice, [beyond, Scores(limit + 0.001, 0.4, 100), beyond]) == (1, "the best on the validation rows")


def test_without_a_limit_on_the_error_the_best_finalist_is_taken(run):
    choice = chosen_of(run, "max_params=0.5")
    scores = [Scores(0.2, 0.5, 100), Scores(0.1, 0.6, 100), Scores(0.1, 0.5, 100)]
    assert decide(choice, scores) == (2, "the best on the validation rows")


def test_the_full_net_loses_nothing(run):
    chosen = chosen_of(run, "max_error_increase=0").chosen
    assert chosen.metrics["error"] <= WHOLE["error"]


def test_what_is_printed(run, capsys):
    select(config(f"run={run.folder}", "max_params=0.5"))
    chosen = chosen_of(run, "max_params=0.5").chosen
    said = capsys.readouterr().out
    assert f"within encoder parameters {0.5 * WHOLE['params'] / 1e6:.2f} M:\n{chosen.subnet}\n" in said
    assert f"{chosen.metrics['error']:.4f}" in said
    assert f"{test_score(chosen):.4f}" in said


def table_line(said, mark):
    return next(line for line in said.splitlines() if line.startswith(f"  {mark}"))


def test_how_far_below_the_limit_and_what_to_compare_with(run, capsys):
    select(config(f"run={run.folder}", "max_params=0.5", "max_latency_ms=70%"))
    said, choice = capsys.readouterr().out, chosen_of(run, "max_params=0.5", "max_latency_ms=70%")
    chosen = choice.chosen.metrics
    for name, share in (("params", 0.5), ("latency_ms", 0.7)):
        below = 1 - chosen[name] / (share * WHOLE[name])
        assert choice.below_limit[name] == pytest.approx(below)
        assert f"({chosen[name] / WHOLE[name]:.1%} of the full model's) is {below:.1%} below the limit of " in said
        assert f"({share:.1%} of the full model's)\n" in said
    full, majority = table_line(said, "full model"), table_line(said, "majority class")
    assert {"100.0%", f"{WHOLE['error']:.4f}", f"{0.99 - WHOLE['error']:.4f}"} <= set(full.split())
    assert majority.split()[2:] == ["0.4912", "0.5000", f"{0.5 - 0.99 + WHOLE['error']:+.4f}"]
    assert f"{test_score(choice.chosen) - 0.99 + WHOLE['error']:+.4f}" in table_line(said, "chosen")


@pytest.mark.parametrize("overrides", [["max_params=0.9"], ["max_params=0.3"], ["max_error_increase=0.02"]])
def test_the_largest_that_is_as_good(overrides, run, capsys):
    choice = chosen_of(run, *overrides)
    error = choice.chosen.metrics["error"]
    noise = (error * (1 - error) / VALIDATION_ROWS) ** 0.5
    within = [
        e for e in all_evaluated(run.trials)
        if all(e.metrics[n] <= limit for n, limit in choice.limits.items()) and e.metrics["error"] <= error + noise
    ]  # fmt: skip
    assert choice.as_good == min(error + noise, choice.limits.get("error", 1))
    assert choice.largest.metrics["params"] == max(e.metrics["params"] for e in within)
    select(config(f"run={run.folder}", *overrides))
    said = capsys.readouterr().out
    above = f"one standard error ({noise:.4f}) above the chosen" if choice.as_good == error + noise else "the limit"
    assert f"at most {choice.as_good:.4f}, {above}" in said
    larger = choice.largest.subnet != choice.chosen.subnet
    assert ("no larger sub-network within the limits is as good" in said) != larger
    assert (
        (f"{choice.largest.metrics['params'] / 1e6:.2f} M" in table_line(said, "largest as good")) if larger else True
    )


def test_an_error_that_is_no_mean_over_rows_has_no_standard_error():
    assert standard_error(0.2, "accuracy", 400) == pytest.approx(0.02)
    assert standard_error(0.2, "accuracy", None) == standard_error(0.2, "f1", 400) == 0.0


def test_latencies_that_the_end_of_a_run_measured_anew_are_those_that_count(tmp_path, capsys):
    where = {"settings": {"conditions": {"latency": "a processor, 2 threads, batch x length 8x128"}}}
    run = make_run(tmp_path / "run", objectives=OBJECTIVES, evaluations=30, **where)
    told = json.loads((run.folder / "front.json").read_text())
    for row in told["front"]:
        ms = 0.9 * row["latency_ms"]
        row |= {"latency_ms": ms, "latency_low_ms": ms - 1, "latency_high_ms": ms + 1, "latency_share": 0.5}
    (run.folder / "front.json").write_text(json.dumps(told))
    select(config(f"run={run.folder}", "max_latency_ms=9"))
    chosen = chosen_of(run, "max_latency_ms=9").chosen
    members = {json.dumps(row["subnet"]): row for row in told["front"]}
    said, ms = capsys.readouterr().out, members[json.dumps(chosen.subnet.to_json())]["latency_ms"]
    assert ms <= 9
    assert f"{ms:.2f} ms (quartiles {ms - 1:.2f}-{ms + 1:.2f}, share 50.0%)" in said
    assert f"{ms - 1:.2f}-{ms + 1:.2f}" in table_line(said, "chosen")
    assert "latency on a processor, 2 threads, batch x length 8x128" in said


def test_as_json_with_the_test_metric_only_of_the_front(run, capsys):
    select(config(f"run={run.folder}", "max_params=0.5", "format=json"))
    told = json.loads(capsys.readouterr().out)
    chosen = chosen_of(run, "max_params=0.5").chosen
    assert told["subnet"] == chosen.subnet.to_json()
    assert told["metrics"] == chosen.metrics
    assert told["test_accuracy"] == test_score(chosen)
    assert told["run"] == str(run.folder)
    assert told["below_limit"] == {"params": pytest.approx(1 - chosen.metrics["params_share"] / 0.5)}
    assert (told["full_net"]["metrics"], told["full_net"]["test_accuracy"]) == (WHOLE, 0.99 - WHOLE["error"])
    assert told["largest_as_good"]["metrics"]["error"] <= told["as_good_error"]
    assert told["majority"]["error"] == 0.4912
    assert told["majority"]["test_accuracy"] == 0.5
    assert told["conditions"] == run.info.conditions

    (run.folder / "front.json").rename(run.folder / "away.json")
    try:
        select(config(f"run={run.folder}", "max_params=0.5", "format=json"))
        assert "test_accuracy" not in json.loads(capsys.readouterr().out)
        select(config(f"run={run.folder}", "max_params=0.5"))
        assert "not known, since it is not on the run's front" in capsys.readouterr().out
    finally:
        (run.folder / "away.json").rename(run.folder / "front.json")


@pytest.mark.parametrize(
    ("kind", "extra", "told"),
    [
        ("search", {"rows": 60.0}, None),
        ("finetune", {"reports": 3.0, "epochs": 3.0, "stopped": 0.0}, "this run trained each sub-network alone"),
        ("baseline", {}, "may also change weights"),
    ],
)
def test_every_kind_of_run(kind, extra, told, tmp_path, capsys):
    run = make_run(tmp_path / "run", kind=kind, evaluations=20)
    rows = [json.loads(line) for line in (run.folder / TRIALS_FILE).read_text().splitlines()]
    lines = [json.dumps(row | {"metrics": row["metrics"] | extra}) + "\n" for row in rows]
    (run.folder / TRIALS_FILE).write_text("".join(lines))
    select(config(f"run={run.folder}", "max_params=0.5"))
    said = capsys.readouterr().out
    assert "encoder share" in said
    assert "weights" not in said if told is None else told in said
    select(config(f"run={run.folder}", "max_params=0.5", "format=json"))
    about = json.loads(capsys.readouterr().out)
    assert about["kind"] == kind
    assert about["note"] is None if told is None else told in about["note"]


def test_nothing_is_relative_to_a_full_net_whose_training_was_stopped(tmp_path):
    run = make_run(tmp_path / "run", kind="finetune", evaluations=20)
    rows = [json.loads(line) for line in (run.folder / TRIALS_FILE).read_text().splitlines()]
    for row in rows:
        row["metrics"] |= {"reports": 1.0, "stopped": float(row["metrics"]["params_share"] == 1)}
    (run.folder / TRIALS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"the training of the full model, .* was stopped early"):
        chosen_of(read_run(run.folder), "max_error_increase=0.01")
    assert chosen_of(read_run(run.folder), "max_params=0.5")


def test_an_evaluation_that_stopped_early_is_not_chosen(tmp_path):
    run = make_run(tmp_path / "run", evaluations=20)
    rows = [json.loads(line) for line in (run.folder / TRIALS_FILE).read_text().splitlines()]
    best = chosen_of(run, "max_params=0.5").chosen
    for row in rows:
        row["metrics"]["rows"] = 10.0 if row["text"] == str(best.subnet) else 60.0
    (run.folder / TRIALS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = chosen_of(read_run(run.folder), "max_params=0.5").chosen
    assert chosen.subnet != best.subnet
    assert chosen.metrics["error"] >= best.metrics["error"]


def test_the_newest_run_is_taken(tmp_path, capsys):
    for number, name in enumerate("bca"):
        make_run(tmp_path / "search" / name, evaluations=5, seed=number, tested=False)
        os.utime(tmp_path / "search" / name / TRIALS_FILE, (number, number))
    select(config(f"output_dir={tmp_path}", "max_params=1", "format=json"))
    assert json.loads(capsys.readouterr().out)["run"] == str(tmp_path / "search" / "a")


def test_a_budget_that_nothing_keeps_names_the_nearest(run):
    fast = min(all_evaluated(run.trials), key=lambda e: e.metrics["latency_ms"])
    with pytest.raises(
        UserError, match=rf"none of the \d+ sub-networks .* within latency 0.10 ms; .*\({fast.subnet}\)"
    ):
        chosen_of(run, "max_latency_ms=0.1")
    assert fast in front_of(run)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "no budget is given; for example max_params=0.5"),
        (["max_params=many"], "max_params is 'many'; it must be a positive number .* such as 50%"),
        (["max_params=0"], "max_params is '0'; it must be a positive number"),
        (["max_latency_ms=-1"], "max_latency_ms is '-1'"),
        (["max_error_increase=-0.1"], "max_error_increase is -0.1; it must be 0 or more"),
        (["max_params=0.5", "format=yaml"], "format 'yaml' is unknown; allowed: json, text"),
        (["max_parms=0.5"], "key 'max_parms' is unknown; did you mean max_params"),
    ],
)
def test_mistakes(overrides, message):
    with pytest.raises(UserError, match=message):
        config(*overrides)


def test_what_a_run_does_not_know(run, tmp_path):
    with pytest.raises(
        UserError, match=r"max_flops: .* does not know flops, only error, latency_ms, params, total_params"
    ):
        chosen_of(run, "max_flops=0.5")
    with pytest.raises(UserError, match=r"there is no run in .*search"):
        select(config(f"output_dir={tmp_path}", "max_params=0.5"))
    without_full = make_run(tmp_path / "run", failed=(0,), evaluations=6, tested=False)
    with pytest.raises(UserError, match="has not evaluated the full model, which max_error_increase refers to"):
        chosen_of(without_full, "max_error_increase=0.1")
    with pytest.raises(UserError, match="does not know the full model's total_params; give a number above 1"):
        chosen_of(without_full, "max_total_params=0.5")
    begun = make_run(tmp_path / "begun", evaluations=0, tested=False)
    with pytest.raises(UserError, match="holds no result yet"):
        chosen_of(begun, "max_params=0.5")
