"""Whether a run is at work, was stopped or has ended: `state.json` in its folder, for other commands and for people.

A process that is killed cannot write that it was. But it holds a lock on the folder as long as it lives, which tells.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import LOCK_FILE, folder_lock, write_json
from supernet.runtime.reading import read_record
from supernet.runtime.shapes import OneOf, Within

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

STATE_FILE = "state.json"
RUNNING, STOPPED, DONE = STATES = ("running", "stopped", "done")


@dataclass(frozen=True)
class RunState:
    """What state.json says.

    Attributes:
        state: running, stopped (before its end) or done.
        host: Name of the machine on which that was written.
        pid: Of the run's main process there.
        since: When, UTC, ISO 8601.
        why: What stopped it.
    """

    state: Annotated[str, OneOf(STATES)]
    host: str
    pid: Annotated[int, Within(1, 2**31 - 1)]
    since: str
    why: str

    @classmethod
    def now(cls, state: str, why: str = "") -> RunState:
        """This process's."""
        return cls(
            state, socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat(timespec="seconds"), why
        )

    def __str__(self) -> str:
        """With the verb: "was stopped at ..."."""
        if self.state == RUNNING:
            return f"has been running since {self.since} (process {self.pid} on {self.host})"
        return f"was stopped at {self.since} ({self.why})" if self.state == STOPPED else f"ended at {self.since}"


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder, None if it has written none. One that was killed is told as stopped.

    Whether a process on another machine is still alive cannot be seen from here.

    Raises:
        UserError: if the file cannot be used.
    """
    path = folder / STATE_FILE
    if not os.path.lexists(path):
        return None
    state = read_record(path, RunState, "remove it")
    if state.state == RUNNING and state.host == socket.gethostname() and not _is_locked(folder, state.pid):
        return replace(state, state=STOPPED, why="its process has ended without a word: killed")
    return state


def unfinished(folder: Path) -> str | None:
    """What is to be said of a run that is still running or was stopped; None of one that is done, or says nothing."""
    state = read_state(folder)
    return None if state is None or state.state == DONE else str(state)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Holds the lock on a run folder while the block runs. Once that has called `begin`, writes down how it ends.

    Raises:
        UserError: if another process is at work there; says where it runs.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder))
        except UserError as error:
            state = read_state(folder)
            who = f": it {state}" if state is not None and state.state == RUNNING else ""
            raise UserError(f"{error}{who}") from error
        try:
            yield
        except BaseException as error:
            with suppress(UserError):  # of a full disk, say, which has stopped the run: then the lock tells
                _end(folder, RunState.now(STOPPED, _reason(error)))
            raise
        end(folder)


def begin(folder: Path) -> None:
    """Writes down that a run begins its work, when it is clear that it can; inside `at_work`."""
    write_json(folder / STATE_FILE, asdict(RunState.now(RUNNING)))


def end(folder: Path) -> None:
    """Writes down that a run's result is whole; inside `at_work`, whose end does so too."""
    _end(folder, RunState.now(DONE))


def mark_done_for_killed(folder: Path) -> None:
    """Does so for a process that was killed before it could; inside `folder_lock`."""
    if read_state(folder) is not None:
        write_json(folder / STATE_FILE, asdict(RunState.now(DONE)))


def _end(folder: Path, state: RunState) -> None:
    """Writes down how a run has ended, if it had begun."""
    before = read_state(folder)
    if before is not None and (before.state, before.pid) == (RUNNING, os.getpid()):
        write_json(folder / STATE_FILE, asdict(state))


def _reason(error: BaseException) -> str:
    """What stopped a run, in a word or a line."""
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    code = error.code if isinstance(error, SystemExit) else None
    if isinstance(code, int) and code - 128 in [*signal.Signals]:
        return signal.Signals(code - 128).name
    return first_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"


def _is_locked(folder: Path, pid: int) -> bool:
    """Whether a process of this machine holds the lock of a folder; where locks cannot be seen, whether it lives."""
    if fcntl is None:
        return _is_alive(pid)
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return _is_alive(pid)
    return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's
    except OSError:
        return False
    return True
