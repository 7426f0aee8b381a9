"""A sweep goes on after a job that fails, tells what became of each, and ends at once when it is asked to."""

import os
import signal
import sys

import pytest

import supernet.cli
from supernet.console import sweep
from supernet.console.sweep import Job, run_jobs
from supernet.runtime.errors import UserError

JOBS = [Job(f"seed={seed}", seed) for seed in range(3)]


def lines(said):
    """The table's, by job: its outcome and what is told."""
    rows = said[said.index("job     outcome") :].splitlines()
    return {row.split()[0]: row.split(None, 1)[1] for row in rows if row.startswith("seed=")}


def test_a_job_that_fails_does_not_keep_the_next_from_running(capsys, tmp_path):
    def run(seed):
        if seed == 0:
            raise UserError("task 'x' is\nunknown")
        if seed == 1:
            raise ValueError("a mistake of this program")
        return tmp_path

    with pytest.raises(UserError, match="2 of 3 jobs are not done"):
        run_jobs(JOBS, run)
    said = capsys.readouterr().err
    assert "job 1 of 3: seed=0" in said
    assert "error: task 'x' is unknown" in said
    assert "Traceback" in said  # for a mistake of this program, and only then
    table = lines(said)
    assert "failed" in table["seed=0"]
    assert "task 'x' is unknown" in table["seed=0"]
    assert "ValueError: a mistake of this program" in table["seed=1"]
    assert table["seed=2"].split()[0] == "done"
    assert str(tmp_path) in table["seed=2"]


@pytest.mark.parametrize("unread", [True, False])
def test_a_sweep_that_nobody_reads_ends_without_a_word(unread, capsys, monkeypatch):
    def run(seed):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sweep, "nobody_reads", lambda: unread)
    with pytest.raises(BrokenPipeError if unread else UserError):
        run_jobs(JOBS, run)
    assert ("Traceback" in capsys.readouterr().err) != unread


def test_all_well(capsys):
    run_jobs(JOBS, lambda seed: None)
    assert [row.split()[0] for row in lines(capsys.readouterr().err).values()] == ["done"] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_with_the_table(capsys, number):
    def run(seed):
        if seed == 1:
            os.kill(os.getpid(), number)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as end:
        run_jobs(JOBS, run)
    assert number == signal.SIGINT or end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    table = lines(capsys.readouterr().err)
    assert [row.split("  ")[0] for row in table.values()] == ["done", "interrupted", "not run"]


def test_as_typed_with_m_anywhere(capsys, monkeypatch, model_folder, data_folder, tmp_path):
    """Two jobs, the first of which has no rows."""
    rest = [f"model.name_or_path={model_folder}", "data.max_train_samples=16", "train.epochs=1"]
    rest += [f"output_dir={tmp_path}", f"data.cache_dir={tmp_path}/cache"]
    monkeypatch.setattr(sys, "argv", ["train", f"data.dir={data_folder}", "task=rte,sst2", "-m", *rest])
    with pytest.raises(SystemExit) as end:
        supernet.cli.main()
    assert end.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: 1 of 2 jobs are not done")
    failed, done = said[-3:-1]
    assert failed.startswith("task=rte")
    assert "no file of task 'rte'" in failed
    assert done.split()[:2] == ["task=sst2", "done"]
    assert done.endswith("supernet")
    assert len(list(tmp_path.glob("train/*/supernet/supernet.json"))) == 1


def test_a_wrong_value_of_a_sweep_stops_it_before_it_begins(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["train", "-m", "train.epochs=1,0", f"output_dir={tmp_path}"])
    with pytest.raises(SystemExit):
        supernet.cli.main()
    assert capsys.readouterr().err == "error: train.epochs is 0; it must be 1 or more\n"
