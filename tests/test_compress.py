"""`plm-supernet compress`: each stage is skipped where it is done, and resumed where it was stopped."""

import os
import signal
import sys
from pathlib import Path

import pytest

import search.compress
import search.run
import supernet.training.train
from search import trials
from search.compress import Plan, with_defaults
from search.export import export as exporting
from search.run_folder import read_run
from supernet.console.routing import route
from supernet.export import formats, verify
from supernet.export.report import read_report
from supernet.runtime.errors import UserError
from supernet.training.run import TrainingRun
from tests import launched
from tests.test_exporting import forked
from tests.user_data import write


def plan(*typed):
    return Plan.of(route("compress", ["task=custom", "data.dir=reviews.csv", *typed]))


@pytest.mark.parametrize(
    ("limits", "objectives"),
    [
        (["max_params=0.5"], ["error", "params"]),
        (["max_error_increase=0.01"], ["error", "params"]),
        (["max_flops=50%", "max_error_increase=0.01"], ["error", "flops"]),
        (["max_memory_mb=20"], ["error", "memory_mb"]),
        (["max_latency_ms=50%"], ["error", "latency_ms"]),
        (["max_params=0.5", "max_latency_ms=50%"], ["error", "params", "latency_ms"]),
        (["max_params=0.5", "objectives=[loss,flops]"], ["loss", "flops"]),
    ],
)
def test_the_search_minimises_what_the_budget_limits(limits, objectives):
    assert plan(*limits).search.objectives == objectives


def test_a_latency_alone_is_searched_without_an_extra():
    assert plan("max_latency_ms=50%").search.searcher.name == "nsga2"
    assert plan("max_latency_ms=50%", "searcher=random").search.searcher.name == "random"
    assert plan("max_params=0.5", "max_latency_ms=50%").search.searcher.name == "ehvi"


def test_options_reach_their_stages_and_win_over_the_defaults():
    ours = plan("max_params=0.5", "task.max_length=64", "name=small")
    assert (ours.train.strategy.k, ours.search.max_evaluations, ours.export.finetune.epochs) == (4, 60, 2)
    assert (ours.search.workload.length, ours.search.name, ours.export.name) == (64, None, "small")
    theirs = plan(
        "max_params=0.5", "experiment=paper", "max_evaluations=7", "finetune.epochs=0", "formats=[]", "seed=3"
    )
    assert (theirs.train.strategy.k, theirs.search.max_evaluations, theirs.export.finetune.epochs) == (2, 7, 0)
    assert (theirs.train.seed, theirs.search.seed, theirs.export.seed, [*theirs.export.formats]) == (3, 3, 3, [])


def test_a_test_run_has_few_evaluations_of_the_same_objectives():
    fast = plan("max_flops=50%", "debug=fast").search
    assert (fast.max_evaluations, fast.objectives) == (5, ["error", "flops"])
    assert with_defaults(["a=1"], ["a=2", "b=3"]) == ["b=3", "a=1"]


def test_formats_are_those_whose_libraries_are_here(monkeypatch):
    monkeypatch.setattr(search.compress, "find_spec", lambda name: True)
    assert [*plan("max_params=0.5").export.formats] == ["onnx", "int8"]
    monkeypatch.setattr(search.compress, "find_spec", lambda name: None)
    assert [*plan("max_params=0.5").export.formats] == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "no budget is given"),
        (["max_params=0.5", "supernet=runs/train/mine"], "compress sets supernet itself"),
        (["max_params=0.5", "baseline=kwon2022"], "compress sets baseline itself"),
        (["max_parms=0.5"], "did you mean max_params"),
        (["max_params=half"], "max_params is 'half'"),
    ],
)
def test_mistakes_are_found_before_anything_starts(typed, message):
    with pytest.raises(UserError, match=message):
        plan(*typed)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="compress runs in one process"):
        search.compress.compress(route("compress", ["max_params=0.5"]))


@pytest.mark.parametrize(
    ("option", "message"),
    [("formats=[openvino]", r"needs .*nncf, which this Python does not have"), ("push=small", "push=small is no name")],
)
def test_what_would_refuse_the_export_is_said_before_the_training(option, message, monkeypatch):
    for module in (formats, search.compress):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr("supernet.training.train.train", None)
    with pytest.raises(UserError, match=message):
        search.compress.compress(route("compress", ["task=stdlib", "max_params=0.5", option]))


@pytest.fixture
def arguments(model_folder, tmp_path, monkeypatch):
    """A command that takes seconds, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "TURNS", 2)
    monkeypatch.setattr(verify, "run_fresh", forked)
    rows = [{"review": f"{'nice ' * (i % 2)}tree {i}", "topic": ("land", "sea")[i % 2]} for i in range(120)]
    write(tmp_path / "reviews.csv", rows)
    values = ["task=custom", "data.dir=reviews.csv", "data.text=review", "data.label=topic", "max_params=0.8"]
    values += [
        "debug=fast",
        "space=small",
        f"model.name_or_path={model_folder}",
        "data.cache_dir=cache",
        "train.epochs=2",
    ]
    return [*values, "finetune.epochs=1", "formats=[]", "threads=1", "workload.length=8", "searcher=random"]


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["plm-supernet compress", *arguments])
    search.compress.main()


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.slow
def test_one_command_from_rows_to_a_model_and_nothing_is_done_twice(arguments, tmp_path, monkeypatch, capfd):
    run(arguments, monkeypatch)
    said = capfd.readouterr()
    assert [f"== {n}/3" in said.err for n in (1, 2, 3)] == [True] * 3
    (folder,) = tmp_path.glob("runs/export/*")
    report = read_report(folder)
    assert report.params_share <= 0.8
    assert report.task.classes == ("land", "sea")
    end = said.out.partition("== the model")[2]
    assert f"{report.full.parameters / 1e6:.2f} -> {report.files[0].parameters / 1e6:.2f} million" in end
    assert f'name = "{folder.relative_to(tmp_path)}"' in end
    assert max(map(len, end.replace(folder.name, "NAME").splitlines())) <= 100
    assert [line.partition(" model")[0] for line in said.out.splitlines() if "next: " in line] == [
        "next: plm-supernet predict"
    ]
    before = contents(tmp_path / "runs")
    run(arguments, monkeypatch)
    said = capfd.readouterr()
    assert contents(tmp_path / "runs") == before
    assert all(words in said.err + said.out for words in ("already trained", "already searched", "is there already"))
    assert said.out.partition("== the model")[2] == end


def killed():
    """In a fork: a compression that ends itself with SIGKILL in a stage."""
    stage, arguments = sys.argv[1], sys.argv[2:]
    verify.TURNS, verify.run_fresh = 2, forked
    owner, name, after = {
        "train": (TrainingRun, "end_epoch", 1),
        "search": (trials.TrialFile, "append", 3),
        "export": (exporting, "export_model", 0),
    }[stage]
    original, calls = getattr(owner, name), []

    def kill(*values, **more):
        if len(calls) >= after:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(1)
        return original(*values, **more)

    setattr(owner, name, kill)
    sys.argv = ["plm-supernet compress", *arguments]
    search.compress.main()


def killed_and_resumed(stages, arguments, folder, monkeypatch):
    """Kills a compression in some stages, resumes it, and returns its run and its export folder."""
    output = folder / "stopped"
    for stage in stages:
        done = launched.run(killed, stage, *arguments, f"output_dir={output}", cwd=folder)
        assert done.returncode == -signal.SIGKILL, (stage, done.stderr)
    trained = {path: path.stat().st_mtime_ns for path in output.glob("train/*/supernet/supernet.json")}
    assert len(trained) == 1
    run([*arguments, f"output_dir={output}"], monkeypatch)
    assert all(path.stat().st_mtime_ns == written for path, written in trained.items())
    return read_run(next(output.glob("search/*"))), next(output.glob("export/*"))


@pytest.mark.slow
def test_killed_in_the_middle_it_resumes(arguments, tmp_path, monkeypatch):
    search_run, folder = killed_and_resumed(["search"], arguments, tmp_path, monkeypatch)
    assert len(search_run.trials) == 5
    assert read_report(folder).params_share <= 0.8


@pytest.mark.nightly
def test_killed_in_each_stage_it_ends_the_same(arguments, tmp_path, monkeypatch):
    search_run, folder = killed_and_resumed(["train", "search", "export"], arguments, tmp_path, monkeypatch)
    run(arguments, monkeypatch)
    whole = read_run(next(tmp_path.glob("runs/search/*")))
    assert [trial.subnet for trial in search_run.trials] == [trial.subnet for trial in whole.trials]
    weights = [path / "model.safetensors" for path in (folder, next(tmp_path.glob("runs/export/*")))]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_ctrl_c_says_how_to_resume(arguments, monkeypatch, capfd):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(supernet.training.train, "train", lambda config: Path("supernet"))
    monkeypatch.setattr(search.compress, "_searched", lambda config, folder: None)
    monkeypatch.setattr(search.run, "search", interrupted)
    with pytest.raises(SystemExit) as end:
        run(arguments, monkeypatch)
    assert end.value.code == 128 + signal.SIGINT
    assert "stopped in stage 2 of 3; the same command resumes there" in capfd.readouterr().err


def test_an_error_of_a_stage_is_one_line(arguments, monkeypatch, capfd):
    Path("reviews.csv").unlink()
    with pytest.raises(SystemExit) as end:
        run(arguments, monkeypatch)
    assert end.value.code == 1
    assert [line for line in capfd.readouterr().err.splitlines() if line][-1].startswith("error: ")
