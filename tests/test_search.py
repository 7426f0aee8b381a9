"""Stage two on a tiny supernet: trials as they end, resuming, the front, and the test set read once."""

import csv
import json
import shutil

import numpy as np
import pytest

from search.choice.choose import choose
from search.evaluation.measure import WeightSharedEvaluator
from search.objectives import LATENCY, OBJECTIVES
from search.options.search import SearchConfig
from search.report.front import front_of
from search.report.results import read_results
from search.run import search
from search.run_folder import read_run
from search.session import open_session
from search.trials import all_evaluated, predictions_file, read_trials
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.evaluation.predictions import Predictions, read_labels, read_predictions
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.files import folder_lock
from supernet.runtime.processes import accelerate_session
from supernet.space.cost import Workload, encoder_params, total_flops, total_params
from supernet.training.train import train
from tests.fake_runs import trials_in

pytestmark = pytest.mark.slow

EVALUATIONS = 14


def costs_of(evaluated):
    return np.array([(e.metrics["error"], e.metrics["params"]) for e in evaluated])


def run(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", f"max_evaluations={EVALUATIONS}"]
    return search(load_config("search", SearchConfig, [*fixed, *overrides]))


@pytest.mark.pictures
@pytest.mark.parametrize("searcher", ["searcher=random", "searcher=ehvi", "searcher.known_cost=false"])
def test_a_search_from_start_to_report(searcher, supernet_folder, tmp_path, capsys):
    folder = run(supernet_folder, tmp_path, searcher)
    supernet, trials = load_supernet(supernet_folder), read_trials(folder / "trials.jsonl")
    space, a = supernet.space, architecture_of(supernet.model.config)
    assert trials[0].subnet == space.largest
    assert space.smallest in [e.subnet for e in trials[0].evaluated]  # no layers: known on the way
    assert trials[1].subnet == (space.smallest if searcher == "searcher=random" else space.middle)
    assert len({t.subnet for t in trials}) == EVALUATIONS
    for t in trials:
        assert t.outcome.metrics["params"] == encoder_params(a, t.subnet)
        assert t.outcome.metrics["total_params"] == total_params(a, t.subnet)

    front = json.loads((folder / "front.json").read_text())
    costs, members = costs_of(all_evaluated(trials)), costs_of(front_of(read_run(folder)))
    dominated = [(((costs <= row).all(axis=1)) & ((costs < row).any(axis=1))).any() for row in costs]
    assert {tuple(row) for row in members} == {tuple(r) for r, d in zip(costs, dominated, strict=True) if not d}
    on_front = [m for m in front["front"] if m["on_front"]]
    assert [(m["error"], m["params"]) for m in on_front] == [tuple(row) for row in members]
    assert 0 < front["hypervolume"] < 1
    assert all(0 <= m["test_accuracy"] <= 1 for m in front["front"])
    with (folder / "front.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [*(m["text"] for m in front["front"]), "majority class"]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert str(supernet_folder) in said
    assert f"{EVALUATIONS} evaluations" in said
    assert f"{len(on_front)} on the front" in said


def test_the_full_model_and_the_trivial_predictor_are_measured_on_the_test_rows(supernet_folder, tmp_path, monkeypatch):
    evaluate = WeightSharedEvaluator.__call__

    def fails_once(self, subnet, bound):
        if subnet == self._space.largest:
            raise RuntimeError("no memory")
        return evaluate(self, subnet, bound)

    whole = run(supernet_folder, tmp_path, "searcher=random")
    monkeypatch.setattr(WeightSharedEvaluator, "__call__", fails_once)
    failed = run(supernet_folder, tmp_path, "searcher=random", "name=failed")
    results = [read_results(read_run(folder)) for folder in (whole, failed)]
    config = load_config("search", SearchConfig, [f"supernet={supernet_folder}", f"output_dir={tmp_path}"])
    with accelerate_session("fp32") as accelerator:
        session = open_session(config, accelerator)
        test, validation = (session.evaluator(split) for split in (session.data.test, session.data.validation))
    full = extract(session.supernet.model, session.supernet.space.largest)
    for found, own in zip(results, (True, False), strict=True):
        assert (found.full.test_score, found.full_is_supernets) == (test.score(full), not own)
        assert found.full.evaluated.metrics["error"] == validation.error(full)
        commonest = np.bincount(session.data.validation.labels).argmax()
        assert found.majority_score == np.mean(session.data.test.labels == commonest)
        assert found.validation_rows == len(session.data.validation) == 60


def test_a_full_net_that_cannot_be_measured_is_told(supernet_folder, tmp_path, monkeypatch, capsys):
    logits = Evaluator.logits

    def fails(self, model):
        if len(model.base_model.encoder.layer) == 4 and len(self.labels) == 60:  # on the validation rows
            raise RuntimeError("no memory")
        return logits(self, model)

    monkeypatch.setattr(Evaluator, "logits", fails)
    run(supernet_folder, tmp_path, "baseline=layer_dropping", "baseline.budgets=[0.5,0.25]")
    assert "the full model could not be evaluated: RuntimeError: no memory\n" in capsys.readouterr().out


@pytest.mark.parametrize("searcher", ["random", "ehvi"])
def test_resumed_equals_uninterrupted(searcher, supernet_folder, tmp_path):
    whole = run(supernet_folder, tmp_path / "whole", f"searcher={searcher}")
    part = run(supernet_folder, tmp_path / "part", f"searcher={searcher}", "max_evaluations=6")
    with (part / "trials.jsonl").open("a") as file:
        file.write('{"trial": 6, "subnet": [[0, 1')  # what a killed process may leave
    assert run(supernet_folder, tmp_path / "part", f"searcher={searcher}") == part
    assert trials_in(part) == trials_in(whole)
    fronts = [json.loads((folder / "front.json").read_text())["front"] for folder in (part, whole)]
    assert fronts[0] == fronts[1]


def kept_by(folder):
    """The labels, and for each trial what its file says of each row; there are no other files."""
    labels, trials = read_labels(folder / "predictions"), read_run(folder).trials
    files = [predictions_file(folder, t.number) for t in trials]
    assert sorted(folder.glob("predictions/*")) == sorted([folder / "predictions" / "labels.npy", *files])
    models = [
        read_predictions(path, models=len(t.evaluated), rows=len(labels)) for path, t in zip(files, trials, strict=True)
    ]
    return labels, list(zip(trials, models, strict=True))


def test_the_answers_of_each_row_are_kept(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    labels, kept = kept_by(folder)
    for trial, models in kept:
        for e, said in zip(trial.evaluated, models, strict=True):
            assert np.mean(said.answers_n != labels) == pytest.approx(e.metrics["error"])
            assert said.losses_n.mean() == pytest.approx(e.metrics["loss"], rel=1e-5)
    assert any(len(models) > 1 for _, models in kept)  # early exits
    assert choose(read_run(folder), {"params": "1"}).known.sure is not None

    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(lines[:4]))
    predictions_file(folder, 9).unlink()
    run(supernet_folder, tmp_path, "searcher=random")
    for (_, old), (_, new) in zip(kept, kept_by(folder)[1], strict=True):
        for one, two in zip(old, new, strict=True):
            np.testing.assert_array_equal(one.answers_n, two.answers_n)


def test_a_search_of_an_older_version_goes_on_and_one_that_starts_again_forgets(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=4")
    shutil.rmtree(folder / "predictions")
    run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=6")
    assert sorted(path.name for path in folder.glob("predictions/*")) == ["4.npz", "5.npz", "labels.npy"]
    assert choose(read_run(folder), {"params": "1"}).known.sure is None
    run(supernet_folder, tmp_path, "searcher=random", "overwrite=true", "max_evaluations=3")
    assert len(kept_by(folder)[1]) == 3


def test_an_evaluation_that_may_stop_keeps_no_answers(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random", "evaluator.stop_confidence=0.9", "max_evaluations=3")
    assert not (folder / "predictions").exists()


def test_another_seed_searches_elsewhere(supernet_folder, tmp_path):
    first, second = (run(supernet_folder, tmp_path, "searcher=random", f"seed={seed}") for seed in (0, 1))
    assert first != second
    assert trials_in(first)[:3] == trials_in(second)[:3]
    assert trials_in(first)[3:] != trials_in(second)[3:]


def test_a_space_may_be_exhausted(model_folder, data_folder, tmp_path, capsys):
    overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"output_dir={tmp_path}"]
    overrides += [f"data.cache_dir={tmp_path}/cache", "train.epochs=1", "space=layer"]
    train(load_config("train", TrainConfig, overrides))
    folder = search(load_config("search", SearchConfig, [f"output_dir={tmp_path}", "searcher=random"]))
    assert len(trials_in(folder)) == 16
    assert "random has nothing more to propose: all 16 sub-networks are evaluated" in capsys.readouterr().out


def test_what_is_evaluated_is_what_is_extracted(supernet_folder):
    supernet, models = load_supernet(supernet_folder), []

    class Keeping:
        def early_exit_logits(self, model):
            models.append(model)
            return np.arange(10)

        def scores(self, logits):
            return Scores(0.6, 0.8, 60) if logits else Scores(0.5, 0.7, 60)

        def predictions(self, logits):
            return Predictions(np.full(60, logits), np.zeros(60))

    names = [name for name in OBJECTIVES if name != "latency_ms"]
    objectives = WeightSharedEvaluator(supernet, Keeping(), Workload(), names)
    subnet, a = supernet.space.middle, architecture_of(supernet.model.config)
    outcome = objectives(subnet)
    metrics = outcome.metrics
    assert [e.subnet for e in outcome.byproducts] == list(subnet.prefixes())
    assert {e.metrics["error"] for e in outcome.byproducts} == {0.6}
    assert [outcome.predictions[s].answers_n[0] for s in (subnet, *subnet.prefixes())] == [
        *range(len(subnet.layers) + 1)
    ]
    counted = sum(p.numel() for p in models[0].parameters())
    assert counted == metrics["total_params"] == sum(p.numel() for p in extract(supernet.model, subnet).parameters())
    assert metrics["error"] == 0.5
    assert metrics["flops"] == total_flops(a, subnet, tokens=128)
    assert set(metrics) == {*names, "params_share"}


def test_objectives_other_than_error_and_parameters(supernet_folder, tmp_path):
    chosen = "objectives=[loss,latency_ms,memory_mb]"
    folder = run(supernet_folder, tmp_path, "searcher=random", chosen, "workload.length=16")
    record = read_run(folder)
    assert set(record.info.reference) == {"loss", "memory_mb", *LATENCY}
    assert all(t.outcome.metrics[name] > 0 for t in record.trials for name in record.info.objectives)
    front = json.loads((folder / "front.json").read_text())
    assert front["objectives"] == ["loss", "latency_ms", "memory_mb"]
    assert 0 < front["hypervolume"] < 1


def test_evaluations_that_stop_early_change_no_front_and_resume(supernet_folder, tmp_path):
    stopping = ["searcher=random", "evaluator.stop_confidence=0.9"]
    whole = run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=30")
    stopped = run(supernet_folder, tmp_path, *stopping, "max_evaluations=30")
    trials = read_run(stopped).trials
    assert all(not t.outcome.byproducts for t in trials)
    short = [t for t in trials if t.outcome.metrics["rows"] < 60]
    assert 0 < len(short) < 29
    for t in short:
        own = t.outcome.metrics
        others = [o.outcome.metrics for o in trials[: t.number]]
        assert any(o["error"] < own["error"] and o["params"] <= own["params"] for o in others)
    own = {t.subnet: t.outcome.metrics for t in read_run(whole).trials}
    for t in trials:
        if t not in short:
            assert t.outcome.metrics["error"] == own[t.subnet]["error"]
    front = {e.subnet for e in front_of(read_run(stopped))}
    assert front <= {t.subnet for t in trials if t not in short}
    assert {e.subnet for e in front_of(read_run(whole)) if e.subnet in own} <= front
    run(supernet_folder, tmp_path, *stopping, "max_evaluations=9", "name=parts")
    parts = run(supernet_folder, tmp_path, *stopping, "max_evaluations=30", "name=parts")
    assert trials_in(parts) == trials_in(stopped)


def test_a_run_is_not_given_up_for_one_that_cannot_begin(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random", "name=mine", "max_evaluations=3")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    impossible = ["evaluator=finetune", "searcher=moasha", "searcher.grace=99"]
    with pytest.raises(UserError, match=r"searcher\.grace is 99, but a trial has only 4 report"):
        run(supernet_folder, tmp_path, *impossible, "name=mine", "overwrite=true")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_evaluations_stop_early_for_accuracy_alone(supernet_folder, tmp_path):
    supernet = shutil.copytree(supernet_folder, tmp_path / "supernet")
    info = json.loads((supernet / "supernet.json").read_text())
    (supernet / "supernet.json").write_text(json.dumps(info | {"task": info["task"] | {"metric": "matthews"}}))
    with pytest.raises(UserError, match=r"mean over rows \(accuracy\), but the metric of task 'sst2' is matthews"):
        run(supernet, tmp_path, "evaluator.stop_confidence=0.9")
    for more, message in (
        ("objectives=[error,loss,params]", "leave loss out"),
        ("objectives=[error,latency_ms]", "give latency_table=FILE"),
        ("baseline=layer_dropping", "baseline=layer_dropping evaluates on all rows"),
        ("evaluator=finetune", "stop_confidence is for evaluator=supernet, and this is evaluator=finetune"),
    ):
        with pytest.raises(UserError, match=message):
            run(supernet_folder, tmp_path, "evaluator.stop_confidence=0.9", more)


def test_some_of_the_validation_rows(supernet_folder, tmp_path):
    folders = [run(supernet_folder, tmp_path, "searcher=random", f"data.validation_rows={n}") for n in (20, 60, 10**6)]
    errors = [[row["metrics"]["error"] * n for row in trials_in(f)] for f, n in zip(folders, (20, 60, 60), strict=True)]
    assert all(error == pytest.approx(round(error)) for error in errors[0])
    losses = [[row["metrics"]["loss"] for row in trials_in(folder)] for folder in folders]
    assert losses[0] != losses[1] == losses[2]


def test_the_data_may_have_moved(supernet_folder, data_folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    (data_folder / "sst2").rename(moved / "sst2")
    try:
        with pytest.raises(UserError, match=r"no file of task 'sst2'"):
            run(supernet_folder, tmp_path, "searcher=random")
        here = run(supernet_folder, tmp_path, "searcher=random", f"data.dir={moved}")
    finally:
        (moved / "sst2").rename(data_folder / "sst2")
    assert trials_in(here) == trials_in(run(supernet_folder, tmp_path / "again", "searcher=random"))


def test_other_rows_than_those_of_the_training_are_refused(supernet_folder, data_folder, tmp_path):
    shutil.copytree(data_folder, tmp_path / "changed")
    file = tmp_path / "changed" / "sst2" / "validation.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"are not those that the supernet was trained with \(other files\): test;"):
        run(supernet_folder, tmp_path, f"data.dir={tmp_path / 'changed'}")


def test_two_searches_do_not_write_the_same_trials(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    with folder_lock(folder), pytest.raises(UserError, match="another process is writing in"):
        run(supernet_folder, tmp_path, "searcher=random")


def test_fewer_evaluations_report_all_there_are(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    before = (folder / "front.json").read_text()
    assert run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=3") == folder
    assert (folder / "front.json").read_text() == before


def test_a_broken_line_of_trials_is_named(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join([lines[0], "{nonsense\n", *lines[2:]]))
    with pytest.raises(
        UserError, match=r"trials.jsonl:2 cannot be used \(it is no JSON: .*; remove the file to start again"
    ):
        run(supernet_folder, tmp_path, "searcher=random")
    (folder / "trials.jsonl").write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=r"trials.jsonl:2 cannot be used \(trial is 2; it must be 1"):
        run(supernet_folder, tmp_path, "searcher=random")


def test_a_search_whose_trials_all_fail_says_so(supernet_folder, tmp_path, monkeypatch):
    def fails(self, subnet, bound):
        raise RuntimeError("no memory")

    monkeypatch.setattr(WeightSharedEvaluator, "__call__", fails)
    with pytest.raises(UserError, match="all 3 trials failed, the last one with: RuntimeError: no memory"):
        run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=3")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("searcher.name=evhi", r"searcher 'evhi' is unknown; allowed: ehvi, .*did you mean ehvi"),
        ("baseline.name=kwon", r"baseline 'kwon' is unknown; allowed: .*did you mean kwon2022"),
    ],
)
def test_a_name_that_no_table_has_is_told_before_anything_begins(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        search(load_config("search", SearchConfig, [override, f"output_dir={tmp_path}"]))
    assert not list(tmp_path.iterdir())
