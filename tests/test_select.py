"""The best sub-network for a budget, against going through all of them."""

import json
import os

import pytest

from search.folder import TRIALS_FILE, read_run
from search.report.front import front_of
from search.select import SelectConfig, choose, select
from search.trials import all_evaluated
from supernet.config import load_config
from supernet.errors import UserError
from tests.fake_runs import FULL, make_run, metrics_of, test_score

OBJECTIVES = ("error", "params", "latency_ms")
WHOLE = metrics_of(FULL, OBJECTIVES)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("select") / "search" / "run", objectives=OBJECTIVES, evaluations=60)


def config(*overrides):
    return load_config("select", SelectConfig, list(overrides))


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
    chosen, told = choose(run, config(*overrides))
    assert told == pytest.approx(limits)
    within = [e for e in all_evaluated(run.trials) if all(e.metrics[n] <= v for n, v in limits.items())]
    assert within
    assert chosen.metrics["error"] == min(e.metrics["error"] for e in within)


@pytest.mark.parametrize("more", [[], ["max_params=0.6"]])
def test_the_cheapest_that_loses_so_much(more, run):
    chosen, told = choose(run, config("max_error_increase=0.1", *more))
    assert told["error"] == pytest.approx(WHOLE["error"] + 0.1)
    share = 0.6 if more else 1.0
    within = [
        e for e in all_evaluated(run.trials)
        if e.metrics["error"] <= WHOLE["error"] + 0.1 and e.metrics["params_share"] <= share
    ]  # fmt: skip
    assert chosen.metrics["latency_ms"] == min(e.metrics["latency_ms"] for e in within)  # the run's last objective


def test_the_full_net_loses_nothing(run):
    chosen, _ = choose(run, config("max_error_increase=0"))
    assert chosen.metrics["error"] <= WHOLE["error"]


def test_what_is_printed(run, capsys):
    select(config(f"run={run.folder}", "max_params=0.5"))
    chosen, _ = choose(run, config("max_params=0.5"))
    said = capsys.readouterr().out
    assert f"within encoder parameters {0.5 * WHOLE['params'] / 1e6:.2f} M:\n{chosen.subnet}\n" in said
    assert f"{chosen.metrics['error']:.4f}" in said
    assert f"{test_score(chosen):.4f}" in said


def test_as_json_with_the_test_metric_only_of_the_front(run, capsys):
    select(config(f"run={run.folder}", "max_params=0.5", "format=json"))
    told = json.loads(capsys.readouterr().out)
    chosen, _ = choose(run, config("max_params=0.5"))
    assert told["subnet"] == chosen.subnet.to_json()
    assert told["metrics"] == chosen.metrics
    assert told["test_accuracy"] == test_score(chosen)
    assert told["run"] == str(run.folder)

    (run.folder / "front.json").rename(run.folder / "away.json")
    try:
        select(config(f"run={run.folder}", "max_params=0.5", "format=json"))
        assert "test_accuracy" not in json.loads(capsys.readouterr().out)
        select(config(f"run={run.folder}", "max_params=0.5"))
        assert "not known: it is not on the run's front" in capsys.readouterr().out
    finally:
        (run.folder / "away.json").rename(run.folder / "front.json")


@pytest.mark.parametrize(
    ("kind", "extra", "told"),
    [
        ("search", {"rows": 60.0}, None),
        ("finetune", {"reports": 3.0, "epochs": 3.0, "stopped": 0.0}, "each sub-network of this run was trained alone"),
        ("baseline", {}, "besides leaving some out is not kept"),
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
    with pytest.raises(UserError, match=r"the training of the full net, .* was stopped early"):
        choose(read_run(run.folder), config("max_error_increase=0.01"))
    assert choose(read_run(run.folder), config("max_params=0.5"))


def test_an_evaluation_that_stopped_early_is_not_chosen(tmp_path):
    run = make_run(tmp_path / "run", evaluations=20)
    rows = [json.loads(line) for line in (run.folder / TRIALS_FILE).read_text().splitlines()]
    best, _ = choose(run, config("max_params=0.5"))
    for row in rows:
        row["metrics"]["rows"] = 10.0 if row["text"] == str(best.subnet) else 60.0
    (run.folder / TRIALS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen, _ = choose(read_run(run.folder), config("max_params=0.5"))
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
        choose(run, config("max_latency_ms=0.1"))
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
    with pytest.raises(UserError, match=r"max_flops: .* knows no flops, only error, latency_ms, params, total_params"):
        choose(run, config("max_flops=0.5"))
    with pytest.raises(UserError, match=r"there is no run in .*search"):
        select(config(f"output_dir={tmp_path}", "max_params=0.5"))
    without_full = make_run(tmp_path / "run", failed=(0,), evaluations=6, tested=False)
    with pytest.raises(UserError, match="has not evaluated the full net, which max_error_increase is relative to"):
        choose(without_full, config("max_error_increase=0.1"))
    with pytest.raises(UserError, match="does not know the full net's total_params; give a number above 1"):
        choose(without_full, config("max_total_params=0.5"))
    begun = make_run(tmp_path / "begun", evaluations=0, tested=False)
    with pytest.raises(UserError, match="holds no result yet"):
        choose(begun, config("max_params=0.5"))
