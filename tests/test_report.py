"""What is told of one run and of many: fronts, hypervolumes, groups, budgets; each against a slow, obvious count."""

import csv
import io
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from search.choice.select import select
from search.objectives import LATENCY
from search.options.select import SelectConfig
from search.report import chart
from search.report.aggregate import comparable, comparable_sets, series_of
from search.report.export import escaped
from search.report.front import curve_of, front_of, hypervolume_of
from search.report.one_run import print_report, write_results
from search.report.overlay import ReportConfig, find_runs, report
from search.report.results import check_front, read_results, trivial_predictor
from search.report.summary import BUDGETS, mean_curve, report_of
from search.run_folder import TRIALS_FILE, read_run
from search.trials import Evaluated, Outcome, Trial, all_evaluated
from supernet.console.config import load_config
from supernet.runtime.errors import UserError
from supernet.runtime.files import append_json_line
from supernet.space.subnetwork import SubNetwork
from tests.fake_runs import FULL, make_run, metrics_of, results_of, test_score

THREE = ("error", "params", "latency_ms")
FULL_SCORE = test_score(Evaluated(FULL, metrics_of(FULL, THREE)))


def area(evaluated):
    """Error x encoder share that is dominated, by going through the budgets from small to large."""
    best, covered, at = 1.0, 0.0, 0.0
    for e in sorted(evaluated, key=lambda e: e.metrics["params_share"]):
        covered += (e.metrics["params_share"] - at) * (1 - best)
        best, at = min(best, e.metrics["error"]), e.metrics["params_share"]
    return covered + (1.0 - at) * (1 - best)


def dominated(e, others, names):
    values = [[o.metrics[n] - e.metrics[n] for n in names] for o in others]
    return any(max(v) <= 0 and min(v) < 0 for v in values)


# --- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [("error", "params"), ("latency_ms", "error"), THREE])
def test_the_front_is_what_nothing_dominates_the_largest_cost_first(objectives, tmp_path):
    run = make_run(tmp_path / "run", objectives=objectives, tested=False)
    evaluated, front = all_evaluated(run.trials), front_of(run)
    expected = {e.subnet for e in evaluated if not dominated(e, evaluated, objectives)}
    assert {e.subnet for e in front} == expected
    cost = "latency_ms" if "latency_ms" in objectives else "params"
    assert [e.metrics[cost] for e in front] == sorted((e.metrics[cost] for e in front), reverse=True)


def test_the_hypervolume_is_that_of_error_and_encoder_share_after_every_trial(tmp_path):
    run = make_run(tmp_path / "run", failed=(3, 4), tested=False)
    expected = [area(all_evaluated(run.trials[: n + 1])) for n in range(len(run.trials))]
    assert curve_of(run).hypervolume == pytest.approx(expected)
    assert curve_of(run).seconds == [t.elapsed for t in run.trials]
    assert hypervolume_of(all_evaluated(run.trials), run.info) == pytest.approx(expected[-1])


def test_sub_networks_that_a_trial_gave_for_free_count(tmp_path):
    folder = tmp_path / "run"
    make_run(folder, evaluations=3, tested=False)
    trial, shallower = SubNetwork.uniform(range(4), 6, 700), SubNetwork.uniform(range(2), 6, 700)
    names = ("error", "params")
    outcome = Outcome(metrics_of(trial, names), byproducts=(Evaluated(shallower, metrics_of(shallower, names)),))
    append_json_line(folder / TRIALS_FILE, Trial(3, trial, outcome, 9.0).to_json())
    run = read_run(folder)
    assert {trial, shallower} <= {e.subnet for e in front_of(run)}
    assert curve_of(run).hypervolume[-1] == pytest.approx(area(all_evaluated(run.trials)))
    assert "4 evaluations, 1 further sub-networks scored by early exits," in printed(run, results_of(run))


def printed(run, results):
    console = Console(file=io.StringIO(), soft_wrap=True)
    print_report(console, run, results)
    return console.file.getvalue()


def table_in(said, mark):
    """The cells of the line of a printed table that begins with a mark."""
    return next(line for line in said.splitlines() if line.strip().startswith(mark)).split()


@pytest.mark.slow
@pytest.mark.pictures
@pytest.mark.parametrize("objectives", [("error", "params"), THREE])
def test_the_files_of_a_run(objectives, tmp_path):
    run = make_run(tmp_path / "run", objectives=objectives, failed=(2,))
    told = json.loads((run.folder / "front.json").read_text())
    front = front_of(run)
    members = [row for row in told["front"] if row["on_front"]]
    assert [SubNetwork.from_json(row["subnet"]) for row in members] == [e.subnet for e in front]
    assert [row["error"] for row in members] == [e.metrics["error"] for e in front]
    assert [row["test_accuracy"] for row in members] == list(map(test_score, front))
    assert (told["evaluations"], told["failed"]) == (40, 1)
    assert told["objectives"] == list(objectives)
    assert told["reference"] == {"error": 1.0} | {n: metrics_of(FULL, objectives)[n] for n in objectives[1:]}
    assert told["hypervolume"] == told["curve"]["hypervolume"][-1] == pytest.approx(curve_of(run).hypervolume[-1])
    assert "divided by its reference" in told["normalisation"]
    with (run.folder / "front.csv").open(newline="") as file:
        *rows, majority = csv.DictReader(file)
    assert [row["text"] for row in rows] == [row["text"] for row in told["front"]]
    assert [float(row["params [1]"]) for row in rows] == [row["params"] for row in told["front"]]
    assert (majority["text"], majority["error [1]"], majority["params [1]"]) == ("majority class", "0.4912", "")
    assert ("latency_ms [ms]" in rows[0]) == ("latency_ms" in objectives)
    for picture in ("front.png", "hypervolume.png"):
        assert (run.folder / picture).read_bytes().startswith(b"\x89PNG")
    assert read_results(run) == results_of(run)
    assert read_results(run).test_scores == {e.subnet: test_score(e) for e in front} | {FULL: FULL_SCORE}


def test_the_full_model_and_the_trivial_predictor_are_always_there(tmp_path):
    on, off = (make_run(tmp_path / str(count), evaluations=count, tested=False) for count in (2, 40))
    untried = make_run(tmp_path / "untried", evaluations=40, failed=(0,), tested=False)
    for run, on_front, own in ((on, True, True), (off, False, True), (untried, False, False)):
        write_results(run, results_of(run, majority_score=0.5))
        told = json.loads((run.folder / "front.json").read_text())
        (full,) = (row for row in told["front"] if row["full_net"])
        assert (full["on_front"], told["full_is_supernets"]) == (on_front, not own)
        assert full["test_accuracy"] == FULL_SCORE
        for row in told["front"]:
            assert row["test_accuracy_against_full"] == pytest.approx(row["test_accuracy"] - FULL_SCORE)
        assert told["majority"]["error"] == 0.4912
        assert told["majority"]["test_accuracy"] == 0.5
        with (run.folder / "front.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["text"] for row in rows if row["full_net"] == "True"] == [str(FULL)]
        said = printed(run, results_of(run, majority_score=0.5))
        assert f"{FULL_SCORE:.4f}" in table_in(said, "full model")
        assert table_in(said, "majority class")[2:] == ["0.4912", "0.5000", f"{0.5 - FULL_SCORE:+.4f}"]
        assert ("full model is not on the front" in said) == (own and not on_front)
        assert ("this run did not evaluate the full model, so the supernet's is shown" in said) == (not own)


def test_an_older_front_has_neither_full_model_nor_trivial_predictor(tmp_path):
    run = make_run(tmp_path / "run")
    told = json.loads((run.folder / "front.json").read_text())
    own = ("on_front", "full_net", "test_accuracy_against_full")
    rows = [{k: v for k, v in row.items() if k not in own} for row in told["front"] if row["on_front"]]
    (run.folder / "front.json").write_text(json.dumps({"front": rows}))
    results = read_results(run)
    assert (results.full, results.majority_score) == (None, None)
    assert [t.test_score for t in results.front] == list(map(test_score, front_of(run)))


def test_what_is_printed_of_a_run(tmp_path):
    run = make_run(tmp_path / "run", failed=(2, 5))
    results = results_of(run)
    said = printed(run, results)
    assert f"40 evaluations, 2 failed, {len(results.front)} on the front, hypervolume " in said
    assert "(of error x encoder parameters, each divided by its reference)" in said
    assert f"results in {run.folder}: " in said
    assert f"next: plm-supernet select run={run.folder} max_params=50%" in said
    for member in results.shown:
        share, score = member.evaluated.metrics["params_share"], member.test_score
        assert f"{member.evaluated.metrics['params'] / 1e6:.2f} M" in said
        against = [f"{score - FULL_SCORE:+.4f}"] * (member.evaluated.subnet != FULL)
        assert [f"{score:.4f}", *against] in [line.split()[-1 - len(against) :] for line in said.splitlines()]
        assert f"{share:.1%}" in said


def test_a_tie_with_the_full_net_is_told_and_the_full_net_has_no_difference(tmp_path):
    run = make_run(tmp_path / "run")
    results = results_of(run)
    said = printed(run, replace(results, majority_score=results.full.test_score))
    assert table_in(said, "majority class")[-2:] == [f"{FULL_SCORE:.4f}", "+0.0000"]
    assert table_in(said, "full model")[-1] == f"{FULL_SCORE:.4f}"


@pytest.mark.parametrize(
    ("objectives", "evaluations", "limit"),
    [
        (("error", "params"), 40, "max_params=50%"),
        (("error", "total_params"), 40, "max_params=50%"),  # more than half are embeddings
        (("error", "latency_ms"), 40, "max_latency_ms=50%"),
        (("error", "params"), 1, "max_params=100%"),
    ],
)
def test_the_next_command_finds_a_sub_network(objectives, evaluations, limit, tmp_path, capsys):
    run = make_run(tmp_path / "run", objectives=objectives, evaluations=evaluations)
    said = printed(run, results_of(run))
    command = said.splitlines()[-1].partition(f"next: plm-supernet select run={run.folder} ")[2]
    assert command == limit
    select(load_config("select", SelectConfig, [f"run={run.folder}", command]))
    assert f"run {run.folder}" in capsys.readouterr().out


def test_a_table_in_a_file_loses_nothing_to_its_width(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    run = make_run(tmp_path / "run", objectives=THREE)
    said = printed(run, results_of(run))
    cells = table_in(said, "full model")
    assert {"10.65", "M", "100.0%", f"{FULL_SCORE:.4f}"} <= set(cells)
    assert "…" not in said


def test_a_run_of_failures_only_is_no_report(tmp_path):
    run = make_run(tmp_path / "run", evaluations=3, failed=(0, 1, 2), tested=False)
    with pytest.raises(UserError, match="all 3 trials failed, the last one with: RuntimeError: out of memory"):
        check_front(run, front_of(run))


# --- which runs belong together ---------------------------------------------------------------------------------------


def runs_of(tmp_path, *values):
    return [make_run(tmp_path / str(i), evaluations=3, tested=False, **v) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([{"seed": 0}, {"seed": 1}], {"random": 2}),
        ([{"label": "drop", "kind": "baseline"}, {"label": "ehvi"}, {}], {"ehvi": 1, "random": 1, "drop": 1}),
        ([{"strategy": "kd"}, {"label": "ehvi"}], {"random, strategy kd": 1, "ehvi, strategy full": 1}),
        (
            [{"space": "small"}, {"space": "medium", "weights": "b"}],
            {"random, space small": 1, "random, space medium": 1},
        ),
        (
            [{"settings": {"searcher": {"known_cost": k}}, "label": "ehvi", "seed": s} for k in (0, 1) for s in (0, 1)]
            + [{}],
            {"ehvi, known_cost 0": 2, "ehvi, known_cost 1": 2, "random": 1},
        ),
        (
            [{}, {"kind": "finetune", "settings": {"workers": 2}}],
            {"random, kind search": 1, "random, kind finetune": 1},
        ),
        (
            [{"weights": "a", "supernet": "/x/A/supernet"}, {"weights": "b", "supernet": "/x/B/supernet"}],
            {"random, supernet A": 1, "random, supernet B": 1},
        ),
        ([{"weights": "a"}, {"weights": "b"}], {"random, weights a": 1, "random, weights b": 1}),
        (
            [{}, {"seed": 1}, {"seed": 2, "test_run": True}],
            {"random, test_run False": 2, "random, test_run True": 1},
        ),
        ([{"metric": "accuracy"}, {"metric": "f1"}], {"random, metric accuracy": 1, "random, metric f1": 1}),
    ],
)
def test_groups_are_named_by_what_they_differ_in(values, names, tmp_path):
    groups = series_of(runs_of(tmp_path, *values), pool_supernets=False)
    assert {name: len(members) for name, members in groups.items()} == names
    assert list(groups) == sorted(groups, key=lambda name: groups[name][0].info.kind == "baseline")


def test_runs_of_one_supernet_belong_together_whatever_their_space_was_called(tmp_path):
    runs = runs_of(tmp_path, {"space": "small"}, {"space": "small64", "seed": 1})
    assert [len(members) for members in series_of(runs, pool_supernets=False).values()] == [2]
    assert len(series_of(runs, pool_supernets=True)) == 2


def test_latencies_of_all_runs_are_stated_for_one_full_net(tmp_path):
    """One run was made on a busy day, when everything took twice as long."""
    quiet, busy = (
        make_run(tmp_path / str(factor), objectives=("error", "params", "latency_ms"), evaluations=5, tested=False)
        for factor in (1, 2)
    )

    def measured(run, factor):
        def renewed(metrics, whole):
            ms = factor * metrics["latency_ms"]
            return {**metrics, **dict(zip(LATENCY, (ms, ms, ms, metrics["latency_ms"] / whole), strict=True))}

        whole = run.info.reference["latency_ms"]
        trials = [replace(t, outcome=replace(t.outcome, metrics=renewed(t.outcome.metrics, whole))) for t in run.trials]
        return replace(run, info=replace(run.info, reference=renewed(run.info.reference, whole)), trials=trials)

    runs = [measured(quiet, 1), measured(busy, 2)]
    values = report_of({"one": runs[:1], "other": runs[1:]})
    one, other = (group["runs"][0] for group in values["groups"])
    whole = quiet.info.reference["latency_ms"]
    assert one["reference"]["latency_ms"] == pytest.approx(1.5 * whole)
    assert other["reference"] == pytest.approx(one["reference"])
    tried = [[p["metrics"]["latency_ms"] for p in run["points"]] for run in (one, other)]
    assert tried[0] == pytest.approx(tried[1])
    assert f"the full model took {whole:.2f} to {2 * whole:.2f} ms when these runs began" in " ".join(values["notes"])


def test_supernets_are_repetitions_if_the_user_says_so(tmp_path):
    runs = runs_of(tmp_path, {"weights": "a"}, {"weights": "b"}, {"strategy": "kd"})
    names = {name: len(members) for name, members in series_of(runs, pool_supernets=True).items()}
    assert names == {"random, strategy full": 2, "random, strategy kd": 1}


def test_only_like_is_compared_with_like(tmp_path):
    latency, batch = {"objectives": ("error", "latency_ms")}, {"workload": {"batch_size": 8, "length": 128}}
    values = [{}, {"task": "rte"}, {"model": "/models/My Bert"}, latency, latency | {"settings": batch}]
    names = [comparable(run.info) for run in runs_of(tmp_path, *values, {"settings": batch})]
    assert len(set(names)) == 5
    assert names[0] == names[5] == "sst2-minilm-error-params"
    assert names[4] == "sst2-minilm-error-latency_ms-8x128"


def test_rows_of_other_data_sets_are_not_compared(tmp_path):
    runs = runs_of(tmp_path, {"task": "custom"}, {"task": "custom", "data": "2b3c4d5e"}, {"task": "custom"}, {})
    named = {name: [runs.index(run) for run in members] for name, members in comparable_sets(runs).items()}
    one, other = "custom-minilm-error-params-1a2b3c4d", "custom-minilm-error-params-2b3c4d5e"
    assert named == {one: [0, 2], other: [1], "sst2-minilm-error-params": [3]}


def test_latencies_of_other_machines_are_not_compared(tmp_path):
    clocks = [{"conditions": {"device": "cpu", "latency": f"{n} threads"}} for n in (1, 4)] + [
        {"latency_table": "ab12"}
    ]
    latency, params = ({"objectives": ("error", name)} for name in ("latency_ms", "params"))
    runs = runs_of(tmp_path, *(latency | {"settings": c} for c in (*clocks, clocks[0])))
    sets = list(comparable_sets(runs).values())
    assert [[runs.index(run) for run in members] for members in sets] == [[0, 3], [1], [2]]
    assert len(comparable_sets(runs_of(tmp_path / "params", *(params | {"settings": c} for c in clocks)))) == 1


@pytest.mark.pictures
def test_a_picture_may_have_dollars_in_its_title(tmp_path):
    runs = [make_run(tmp_path / "run", label="5$ and 50%_$", evaluations=5)]
    told = report_of(series_of(runs, pool_supernets=False), title="below 5$ and 50%_$")
    chart.draw_overlay(tmp_path / "report.png", told, runs[0].info)
    assert (tmp_path / "report.png").stat().st_size > 0


def test_the_picture_shows_the_whole_spread(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(chart, "save_figure", lambda figure, path: figures.append(figure))
    greeds = (0.0, 0.5, 0.95)
    runs = [make_run(tmp_path / str(g), seed=i, evaluations=30, greed=g) for i, g in enumerate(greeds)]
    told = report_of(series_of(runs, pool_supernets=False))
    curves = [curve for group in told["groups"] for curve in group["curves"].values()]
    chart.draw_overlay(tmp_path / "report.png", told, runs[0].info)
    low, high = figures[-1].axes[-1].get_ylim()
    assert high > max(curve["high"][-1] for curve in curves)
    assert low < min(curve["low"][-1] for curve in curves)


# --- many runs --------------------------------------------------------------------------------------------------------


def test_the_mean_of_step_functions_by_hand():
    curve = mean_curve([[1, 3], [2, 3, 5]], [[0.2, 0.4], [0.4, 0.6, 0.9]])
    assert curve["x"] == [1, 2, 3]  # the first ends there
    assert curve["mean"] == pytest.approx([0.1, 0.3, 0.5])
    assert curve["low"] == [0, 0.2, 0.4]
    assert curve["high"] == [0.2, 0.4, 0.6]


def test_the_numbers_of_groups(tmp_path):
    runs = [make_run(tmp_path / str(s), seed=s, evaluations=30 + s, tested=s < 2) for s in range(3)]
    drop = make_run(tmp_path / "drop", label="drop", kind="baseline", evaluations=5)
    values = report_of(series_of([*runs[:2], drop], pool_supernets=False))
    search, baseline = values["groups"]
    volumes = [area(all_evaluated(run.trials)) for run in runs[:2]]
    expected = {"mean": np.mean(volumes), "low": min(volumes), "high": max(volumes), "std": np.std(volumes, ddof=1)}
    assert search["hypervolume"] == pytest.approx(expected)
    assert baseline["curves"] == {}
    assert search["curves"]["evaluations"]["x"] == list(range(1, 31))
    curves = [curve_of(run).hypervolume[:30] for run in runs[:2]]
    assert search["curves"]["evaluations"]["mean"] == pytest.approx(np.mean(curves, axis=0))
    assert [p["metrics"] for p in search["runs"][1]["points"]] == [
        dict(e.metrics) for e in all_evaluated(runs[1].trials)
    ]
    for budget, share in zip(search["budgets"], BUDGETS, strict=True):
        within = [[e for e in all_evaluated(r.trials) if e.metrics["params_share"] <= share] for r in runs[:2]]
        best = [min(evaluated, key=lambda e: e.metrics["error"]) for evaluated in within]
        assert budget["error"]["mean"] == pytest.approx(np.mean([e.metrics["error"] for e in best]))
        assert budget["test"]["mean"] == pytest.approx(np.mean([test_score(e) for e in best]))
    # Without a test score of each run there is no mean of them.
    (untested,) = report_of(series_of(runs, pool_supernets=False))["groups"]
    assert all(budget["error"] is not None and budget["test"] is None for budget in untested["budgets"])


@pytest.mark.slow
def test_deviations_are_those_of_samples_and_a_single_run_has_none(tmp_path):
    runs = [make_run(tmp_path / str(s), seed=s) for s in range(3)]
    (group,) = report_of(series_of(runs, pool_supernets=False), budgets=[0.6])["groups"]
    within = [[e for e in all_evaluated(run.trials) if e.metrics["params_share"] <= 0.6] for run in runs]
    errors = [min(e.metrics["error"] for e in evaluated) for evaluated in within]
    (budget,) = group["budgets"]
    assert (budget["share"], budget["error"]["std"]) == (0.6, pytest.approx(np.std(errors, ddof=1)))
    assert budget["test"]["std"] == pytest.approx(np.std(errors, ddof=1))  # here 0.99 less the error
    assert (group["full"]["error"]["mean"], group["full"]["test"]["std"]) == (pytest.approx(1 - FULL_SCORE - 0.01), 0.0)
    (single,) = report_of(series_of(runs[:1], pool_supernets=False))["groups"]
    assert single["hypervolume"]["std"] is None


def test_a_full_net_that_was_never_tried_is_shown_but_counts_for_nothing(tmp_path):
    run = make_run(tmp_path / "run", failed=(0,))
    (group,) = report_of(series_of([run], pool_supernets=False))["groups"]
    points = group["runs"][0]["points"]
    assert [p["text"] for p in points if p["full"]] == [str(FULL)]
    assert [p["tried"] for p in points] == [True] * 39 + [False]
    assert group["runs"][0]["full_is_supernets"]
    assert group["hypervolume"]["mean"] == pytest.approx(area(all_evaluated(run.trials)))


def test_seeds_without_influence_are_named(tmp_path):
    runs = [make_run(tmp_path / f"run{seed}", seed=seed, label="ehvi", evaluations=9) for seed in (0, 1)]
    same = shutil.copytree(runs[0].folder, tmp_path / "same")
    info = json.loads((same / "run.json").read_text())
    (same / "run.json").write_text(json.dumps(info | {"seed": 2, "settings": info["settings"] | {"seed": 2}}))
    values = report_of(series_of([*runs, read_run(same)], pool_supernets=False))
    (note,) = values["notes"]
    assert "the seed had no influence on 2 runs of series 'ehvi', whose 9 trials are the same: " in note
    assert "run0 (seed 0), same (seed 2)" in note
    assert report_of(series_of(runs, pool_supernets=False))["notes"] == []
    # All searches begin with the same three.
    short = [make_run(tmp_path / f"short{seed}", seed=seed, evaluations=2) for seed in (0, 1)]
    assert report_of(series_of(short, pool_supernets=False))["notes"] == []


@pytest.mark.slow
@pytest.mark.pictures
@pytest.mark.parametrize("given", ["csv", "[csv,latex,pdf,svg]"])
def test_other_formats(given, tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / "search" / f"random{seed}", seed=seed, evaluations=20)
    make_run(tmp_path / "search" / "drop", label="drop_50%_&$more", kind="baseline", evaluations=5)
    (folder,) = report(load_config("report", ReportConfig, [f"output_dir={tmp_path}", f"format={given}"]))
    names = {path.name for path in folder.iterdir()}
    more = {"report.tex", "report.pdf", "report.svg"} if "latex" in given else set()
    assert names == {"report.html", "report.png", "report.json", "report.csv", "fronts.csv"} | more
    assert names <= set(capsys.readouterr().out.splitlines()[-1].split())
    values = json.loads((folder / "report.json").read_text())
    with (folder / "report.csv").open(newline="") as file:
        random, drop, majority = csv.DictReader(file)
    assert (random["group"], random["seeds"], random["trials [1]"]) == ("random", "0 1", "40")
    half = values["groups"][0]["budgets"][1]
    assert float(random["params_50%_error_std [1]"]) == half["error"]["std"]
    assert float(random["params_50%_test_accuracy_mean [1]"]) == half["test"]["mean"]
    assert float(random["full_net_test_accuracy_mean [1]"]) == pytest.approx(FULL_SCORE)
    assert drop["params_50%_error_std [1]"] == ""
    assert (majority["group"], majority["params_25%_error_mean [1]"]) == ("majority class", "0.4912")
    with (folder / "fronts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    points = [p for group in values["groups"] for run in group["runs"] for p in run["points"] if p["front"]]
    assert len([row for row in rows if row["on_front"] == "True"]) == len(points)
    assert len([row for row in rows if row["full_net"] == "True"]) == 3
    assert (rows[-1]["text"], rows[-1]["error [1]"], rows[-1]["test_accuracy [1]"]) == (
        "majority class",
        "0.4912",
        "0.5",
    )
    if more:
        tex = (folder / "report.tex").read_text().splitlines()
        assert r"drop\_50\%\_\&\$more & 1 & " in "".join(tex)
        rows = [line for line in tex if line.endswith(r"\\")][1:]
        assert {line.count(" & ") for line in rows} == {tex[1].rpartition("{")[2].count("r")}
        assert f"{half['error']['mean']:.4f} $\\pm$ {half['error']['std']:.4f}" in "".join(tex)
        assert (folder / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_what_costs_hold_for_stands_beside_the_tables(tmp_path, capsys):
    make_run(tmp_path / "search" / "run", objectives=("error", "flops"), evaluations=3)
    (folder,) = report(load_config("report", ReportConfig, [f"output_dir={tmp_path}", "format=latex"]))
    line = "costs for batch x length 1x128"
    assert line in capsys.readouterr().out.splitlines()
    assert f"% {line}" in (folder / "report.tex").read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50%_&$#{}", r"50\%\_\&\$\#\{\}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("<e>|\n", r"\textless{}e\textgreater{}\textbar{} "),
    ],
)
def test_text_for_latex_is_shown_as_it_is(text, shown):
    assert escaped(text) == shown


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("format=xlsx", "format 'xlsx' is unknown; allowed: csv, latex, pdf, svg"),
        ("format={a:1}", "format '{a:1}' is unknown; allowed: csv, latex, pdf, svg"),
        ("format=[csv,tex]", "format 'tex' is unknown; .*"),
        ("budgets=[0.5,2]", r"budgets is \[0.5, 2.0\]; give different shares"),
        ("budgets=[]", r"budgets is \[\]; give different shares"),
    ],
)
def test_what_a_report_cannot_be_told(override, message):
    with pytest.raises(UserError, match=message):
        load_config("report", ReportConfig, [override])


@pytest.mark.slow
@pytest.mark.pictures
def test_a_report_from_start_to_end(tmp_path, capsys):
    search = tmp_path / "search"
    for seed in (0, 1):
        make_run(search / f"a-sst2-{seed}", seed=seed, evaluations=20)
    make_run(search / "b-rte", task="rte", evaluations=10, objectives=THREE)
    make_run(search / "c-begun", evaluations=0, tested=False)
    folders = report(load_config("report", ReportConfig, [f"output_dir={tmp_path}"]))
    names = ["sst2-minilm-error-params", "rte-minilm-error-params-latency_ms-1x128"]
    assert folders == [tmp_path / "report" / name for name in names]
    for folder in folders:
        assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
        told = json.loads((folder / "report.json").read_text())
        assert [group["name"] for group in told["groups"]] == ["random"]
        assert told["title"] in (folder / "report.html").read_text()
    said = capsys.readouterr().out
    assert f"{search / 'c-begun'} is left out: none of its 0 trials gave a result" in said
    assert "2 sets that cannot be compared" in said
    assert f"{told['groups'][0]['hypervolume']['mean']:.4f}" in said  # of the last one

    overrides = [f"output_dir={tmp_path}", f"runs=[{search}/a-*,{search}/a-sst2-1]", "name=mine", "title='A & B'"]
    assert report(load_config("report", ReportConfig, overrides)) == [tmp_path / "report" / "mine"]
    assert json.loads((tmp_path / "report" / "mine" / "report.json").read_text())["title"] == "A & B"


def test_runs_that_are_not_there_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"there is no run in .*; run 'plm-supernet search' first"):
        find_runs([], tmp_path)
    with pytest.raises(UserError, match=r"there is no run in .*nothing-"):
        find_runs([f"{tmp_path}/nothing-*"], tmp_path)
    with pytest.raises(UserError, match="is not a search's run folder"):
        report(ReportConfig(runs=[str(tmp_path / "empty")]))
    make_run(tmp_path / "begun", evaluations=0, tested=False)
    with pytest.raises(UserError, match="no run has a result yet"):
        report(ReportConfig(runs=[str(tmp_path / "begun")]))


def test_a_damaged_front_is_named(tmp_path):
    run = make_run(tmp_path / "run", evaluations=3)
    (run.folder / "front.json").write_text('{"front": [{}]}')
    with pytest.raises(UserError, match=r"front.json cannot be used .* remove it"):
        read_results(run)
    assert math.isfinite(hypervolume_of(all_evaluated(run.trials), run.info))


@pytest.mark.parametrize(("metric", "name"), [("f1", "majority class"), ("spearman", "constant prediction")])
def test_the_trivial_predictor_is_called_after_the_kind_of_task(metric, name, tmp_path):
    (run,) = runs_of(tmp_path, {})
    assert trivial_predictor(replace(run.info, metric=metric)) == name
