"""state.json says whether a run is at work, was stopped or is done; a lock tells of one that was killed."""

import json
import os
import signal

import pytest

from supernet.runtime.errors import UserError
from supernet.runtime.files import folder_lock
from supernet.runtime.state import DONE, RUNNING, STATE_FILE, STOPPED, mark_running, read_state, run_lock, unfinished


def test_a_run_writes_what_becomes_of_it(tmp_path):
    assert read_state(tmp_path) is None
    assert unfinished(tmp_path) is None
    with run_lock(tmp_path):
        mark_running(tmp_path)
        state = read_state(tmp_path)
        assert (state.state, state.pid) == (RUNNING, os.getpid())
        assert unfinished(tmp_path) == f"has been running since {state.since} (process {state.pid} on {state.host})"
        with pytest.raises(
            UserError, match=rf"another process .*{tmp_path}.*: it has been running .*process {os.getpid()} on"
        ):
            run_lock(tmp_path).__enter__()
    assert read_state(tmp_path).state == DONE
    assert unfinished(tmp_path) is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (KeyboardInterrupt(), "Ctrl-C"),
        (SystemExit(128 + signal.SIGTERM), "SIGTERM"),
        (SystemExit(300), "SystemExit: 300"),
        (UserError("the disk is full"), "the disk is full"),
        (ValueError("no\nmore"), "ValueError: no"),
    ],
)
def test_what_stopped_a_run(error, why, tmp_path):
    def work():
        with run_lock(tmp_path):
            mark_running(tmp_path)
            raise error

    with pytest.raises(type(error)):
        work()
    state = read_state(tmp_path)
    assert (state.state, state.why) == (STOPPED, why)
    assert unfinished(tmp_path) == f"was stopped at {state.since} ({why})"


def test_a_killed_run_is_told_as_stopped_whatever_process_has_its_number_now(tmp_path):
    child = os.fork()
    if child == 0:
        with run_lock(tmp_path):
            mark_running(tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    values = json.loads((tmp_path / STATE_FILE).read_text())
    assert values["state"] == RUNNING
    assert "killed" in unfinished(tmp_path)
    (tmp_path / STATE_FILE).write_text(json.dumps(values | {"pid": os.getpid()}))
    assert read_state(tmp_path).state == STOPPED
    (tmp_path / STATE_FILE).write_text(json.dumps(values | {"host": "another"}))
    assert "on another" in unfinished(tmp_path)
    with folder_lock(tmp_path):
        (tmp_path / STATE_FILE).write_text(json.dumps(values))
        assert read_state(tmp_path).state == RUNNING


@pytest.mark.parametrize("content", ["{", "[]", '{"state": "sleeping"}', '{"state": "done"}', "[" * 100_000])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / STATE_FILE).write_text(content)
    with pytest.raises(UserError, match=rf"{STATE_FILE} cannot be used .*remove it"):
        read_state(tmp_path)
    with run_lock(tmp_path):
        mark_running(tmp_path)
        assert read_state(tmp_path).state == RUNNING


@pytest.mark.parametrize(
    "pid", ["1e400", "Infinity", "NaN", "-1", "0", "2147483648", "9" * 30, "9" * 5000, '"7"', "true"]
)
def test_an_impossible_process_number_is_refused(pid, tmp_path):
    with run_lock(tmp_path):
        mark_running(tmp_path)
        values = json.loads((tmp_path / STATE_FILE).read_text())
        text = json.dumps(values | {"pid": "PID"}).replace('"PID"', pid)
        (tmp_path / STATE_FILE).write_text(text)
        with pytest.raises(UserError, match=rf"{STATE_FILE} cannot be used .*(pid is|thousands of digits).*remove it"):
            read_state(tmp_path)
        mark_running(tmp_path)


def test_a_run_that_cannot_begin_leaves_the_state_as_it_was(tmp_path):
    with run_lock(tmp_path):
        mark_running(tmp_path)
    before = (tmp_path / STATE_FILE).read_text()
    with pytest.raises(UserError, match="no"), run_lock(tmp_path):
        raise UserError("no")
    assert (tmp_path / STATE_FILE).read_text() == before
