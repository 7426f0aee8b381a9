"""No result is taken for one of other weights: what was replaced is noticed, what was moved is found."""

import json
import os
import re
import shutil
import signal

import pytest
from safetensors.torch import load_file, save_file

from search import loop, rows, session
from search.choice.select import select
from search.options.search import SearchConfig
from search.options.select import SelectConfig
from search.report.overlay import ReportConfig, report
from search.run import search
from search.run_folder import read_run, remarks, supernet_of
from supernet.artifact import find_supernet, load_supernet
from supernet.console.config import load_config
from supernet.console.progress import WorkProgress
from supernet.models.pretrained import read_classifier
from supernet.runtime.errors import UserError
from supernet.runtime.files import weights_digest
from supernet.runtime.state import DONE, mark_running, read_state, run_lock

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(supernet_folder, tmp_path):
    """A folder of all runs with a trained supernet in it."""
    shutil.copytree(supernet_folder, tmp_path / "runs" / "train" / "trained" / "supernet")
    return tmp_path / "runs"


def train_again(runs):
    """Puts other weights in the place of those that are there, as a training does, or as `cp` does."""
    file = runs / "train" / "trained" / "supernet" / "model.safetensors"
    weights = load_file(file)
    weights["classifier.bias"] += 1
    save_file(weights, file.with_suffix(".new"), {"format": "pt"})
    file.with_suffix(".new").rename(file)


def overwrite(runs):
    file = runs / "train" / "trained" / "supernet" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-400:] = bytes(400)
    with file.open("r+b") as opened:
        opened.write(content)


def run(runs, *more):
    given = ["searcher=random", "max_evaluations=4", f"output_dir={runs}"]
    return search(load_config("search", SearchConfig, [*given, *more]))


def interrupted(folder):
    with run_lock(folder):
        mark_running(folder)
        raise KeyboardInterrupt


def chosen(folder, capsys):
    capsys.readouterr()
    select(load_config("select", SelectConfig, [f"run={folder}", "max_params=1", "format=json"]))
    told = json.loads(capsys.readouterr().out)
    return told | {"remarks": [text for text in told["remarks"] if "the full model" not in text]}


@pytest.mark.parametrize("replace", [train_again, overwrite])
def test_a_supernet_that_is_replaced_while_rows_are_loaded(replace, runs, monkeypatch):
    load = rows.load_task
    monkeypatch.setattr(rows, "load_task", lambda *a: replace(runs) or load(*a))
    with pytest.raises(
        UserError, match=r"is not the one that was searched: the digest of its weights is \w{16}, it was \w{16}"
    ):
        run(runs)
    assert not list(runs.glob("search/*/*.json*"))


@pytest.mark.parametrize("replace", [train_again, overwrite])
def test_what_is_in_memory_is_what_the_digest_is_of(replace, runs, supernet_folder):
    supernet = load_supernet(runs / "train" / "trained" / "supernet")
    replace(runs)
    expected = load_supernet(supernet_folder)
    assert supernet.weights == expected.weights == weights_digest(supernet_folder)
    for name, tensor in supernet.model.state_dict().items():
        assert tensor.equal(expected.model.state_dict()[name])


def test_a_supernet_that_is_replaced_while_it_is_read(runs, monkeypatch):
    monkeypatch.setattr("supernet.artifact.read_classifier", lambda *a: train_again(runs) or read_classifier(*a))
    with pytest.raises(UserError, match="was replaced while it was being read; run the same command again"):
        load_supernet(runs / "train" / "trained" / "supernet")


def test_a_search_whose_supernet_is_replaced_says_so_and_so_does_select(runs, monkeypatch, capsys):
    monkeypatch.setattr(session, "mark_running", lambda folder: train_again(runs) or mark_running(folder))
    folder = run(runs)
    assert "note: the figures are right, but since this command began the supernet in" in capsys.readouterr().out
    told = chosen(folder, capsys)
    assert "is not the one that was searched" in told["remarks"][0]
    with pytest.raises(UserError, match="is not the one that was searched"):
        load_supernet(find_supernet(told["supernet"], runs), weights=told["weights"])
    select(load_config("select", SelectConfig, [f"run={folder}", "max_params=1"]))
    assert "note: the supernet in" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["baseline=layer_dropping"]])
def test_runs_that_were_moved(more, runs, tmp_path, capsys):
    folder = run(runs, *more)
    trials = (folder / "trials.jsonl").read_text()
    assert supernet_of(read_run(folder)) == runs / "train" / "trained" / "supernet"
    moved = runs.rename(tmp_path / "moved")
    here, folder = moved / "train" / "trained" / "supernet", moved / "search" / folder.name
    told = chosen(folder, capsys)
    assert (told["supernet"], told["remarks"]) == (str(here), [])
    assert load_supernet(here, weights=told["weights"]).model is not None
    shutil.copytree(moved / "train", runs / "train")  # another one where the first had been
    train_again(runs)
    assert supernet_of(read_run(folder)) == here
    assert run(moved, *more) == folder  # goes on, and knows the place
    assert read_run(folder).info.supernet == str(here)
    assert (folder / "trials.jsonl").read_text() == trials
    shutil.rmtree(moved / "train")
    shutil.rmtree(runs)
    assert f"is gone: it is not in {here}; export with supernet=FOLDER" in chosen(folder, capsys)["remarks"][0]


def test_a_training_that_is_not_at_its_end_is_told(runs, capsys):
    folder = runs / "train" / "trained"
    with run_lock(folder):
        mark_running(folder)
        run(runs)
        assert f"note: a training in {folder} has been running since" in capsys.readouterr().out
        (runs / "train" / "trained" / "supernet").rename(runs / "away")
        for given in (folder, None):
            with pytest.raises(
                UserError, match=r"has been running since .*wait for it, or repeat the training's command"
            ):
                find_supernet(given and str(given), runs)
        (runs / "away").rename(runs / "train" / "trained" / "supernet")
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    run(runs)
    assert f"note: a training in {folder} was stopped at" in capsys.readouterr().out


def test_a_run_that_is_not_at_its_end_is_told(runs, capsys):
    folder = run(runs)
    assert remarks(read_run(folder)) == []
    with run_lock(folder):
        mark_running(folder)
        assert "this run has not finished: it has been running since" in chosen(folder, capsys)["remarks"][0]
        report(load_config("report", ReportConfig, [f"output_dir={runs}"]))
        assert f"note: {folder}: this run has not finished: it has been running" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    assert "it was stopped at" in chosen(folder, capsys)["remarks"][0]


def test_a_test_run_is_marked_until_it_goes_on_as_a_real_one(runs, capsys):
    folder = run(runs, "debug=fast")
    assert "note: this is a test run (debug=fast)" in capsys.readouterr().out
    assert read_run(folder).info.test_run
    assert "test run" in chosen(folder, capsys)["remarks"][0]
    assert run(runs, "max_evaluations=6") == folder
    assert not read_run(folder).info.test_run
    assert chosen(folder, capsys)["remarks"] == []
    run(runs, "debug=fast")
    assert "test run" not in capsys.readouterr().out
    assert not read_run(folder).info.test_run  # nothing was evaluated any more
    info = runs / "train" / "trained" / "supernet" / "supernet.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"test_run": True}))
    folder = run(runs, "overwrite=true")
    said = capsys.readouterr().out
    assert "note: it was trained in a test run (debug=fast)" in said
    assert read_run(folder).info.test_run


def test_trials_that_are_forgotten_are_told(runs, capsys):
    folder = run(runs)
    run(runs, "overwrite=true")
    assert f"overwrite=true: 4 earlier trials in {folder} were removed" in capsys.readouterr().out


@pytest.mark.parametrize(("overwrite", "how"), [(False, "the same command"), (True, "the same command without over")])
def test_a_search_that_is_stopped_says_what_is_kept_and_where_it_is(overwrite, how, runs, monkeypatch, capsys):
    def second(*_):
        if len(told) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        told.append(1)
        return attempt(*_)

    told, attempt, before = [], loop.attempt, signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "attempt", second)
        with pytest.raises(SystemExit) as ended:
            run(runs, f"overwrite={overwrite}")
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    (folder,) = (runs / "search").iterdir()
    assert f"stopped: 2 finished trials are kept in {folder}; {how}" in capsys.readouterr().out
    assert read_state(folder).why == "SIGTERM"
    assert len(read_run(run(runs)).trials) == 4
    assert read_state(folder).state == DONE


def test_a_search_without_a_terminal_says_what_it_is_doing(runs, monkeypatch, capsys):
    lines, courses = [], WorkProgress.__init__

    def listening(self, *arguments, **options):
        courses(self, *arguments, **options)
        lines.append(self)

    monkeypatch.setattr(WorkProgress, "__init__", listening)
    run(runs)
    loading, trials, tests = (course.line for course in lines)
    assert loading.startswith("loading the rows of task sst2: for 0:00:0")
    assert re.fullmatch(r"random: 4/4 trials  last: error 0\.\d+ at \d+% of the encoder  about 0:00:00 left", trials)
    assert re.match(r"evaluating the front on the test rows: (\d)/\1 sub-networks", tests)
