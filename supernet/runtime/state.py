"""Whether a run is running, was stopped or is done: `state.json` in its folder, for other commands and for people.

A killed process cannot write that it was killed. But a running process holds a lock on the folder, so a run whose lock
is free has ended.
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
    """The content of state.json.

    Attributes:
        state: running, stopped (before its end) or done.
        host: Name of the machine that wrote the file.
        pid: The run's main process on that machine.
        since: Time of writing, UTC, ISO 8601.
        why: What stopped the run; empty otherwise.
    """

    state: Annotated[str, OneOf(STATES)]
    host: str
    pid: Annotated[int, Within(1, 2**31 - 1)]
    since: str
    why: str

    @classmethod
    def now(cls, state: str, why: str = "") -> RunState:
        """A state that this process enters now."""
        return cls(
            state, socket.gethostname(), os.getpid(), datetime.now(timezone.utc).isoformat(timespec="seconds"), why
        )

    def __str__(self) -> str:
        """A verb phrase: "was stopped at ..."."""
        if self.state == RUNNING:
            return f"has been running since {self.since} (process {self.pid} on {self.host})"
        return f"was stopped at {self.since} ({self.why})" if self.state == STOPPED else f"ended at {self.since}"


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder; None if there is none. A killed run counts as stopped.

    A run on another machine counts as running until its file says otherwise: its lock cannot be seen from here.

    Raises:
        UserError: if the file cannot be used.
    """
    path = folder / STATE_FILE
    if not os.path.lexists(path):
        return None
    state = read_record(path, RunState, "remove it")
    if state.state == RUNNING and state.host == socket.gethostname() and not _is_locked(folder, state.pid):
        return replace(state, state=STOPPED, why="its process was killed")
    return state


def unfinished(folder: Path) -> str | None:
    """A verb phrase for a run that is running or was stopped; None if it is done or has no state."""
    state = read_state(folder)
    return None if state is None or state.state == DONE else str(state)


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds the lock on a run folder while the block runs. If the block calls `mark_running`, its end is recorded too.

    Raises:
        UserError: if another process holds the lock; says where that process runs.
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
            with suppress(UserError):  # on a full disk, for example; then only the lock shows the end
                _write_end(folder, RunState.now(STOPPED, _reason(error)))
            raise
        mark_done(folder)


def mark_running(folder: Path) -> None:
    """Records that a run starts, once its checks have passed. For use inside `run_lock`."""
    write_json(folder / STATE_FILE, asdict(RunState.now(RUNNING)))


def mark_done(folder: Path) -> None:
    """Records that a run's result is complete. For use inside `run_lock`, which also does this at its end."""
    _write_end(folder, RunState.now(DONE))


def mark_done_for_killed(folder: Path) -> None:
    """Records it for a process that was killed before it could. For use inside `folder_lock`."""
    if read_state(folder) is not None:
        write_json(folder / STATE_FILE, asdict(RunState.now(DONE)))


def _write_end(folder: Path, state: RunState) -> None:
    """Records how this process's run ended, if it had started."""
    before = read_state(folder)
    if before is not None and (before.state, before.pid) == (RUNNING, os.getpid()):
        write_json(folder / STATE_FILE, asdict(state))


def _reason(error: BaseException) -> str:
    """What stopped a run, in one line."""
    if isinstance(error, KeyboardInterrupt):
        return "Ctrl-C"
    code = error.code if isinstance(error, SystemExit) else None
    if isinstance(code, int) and code - 128 in [*signal.Signals]:
        return signal.Signals(code - 128).name
    return first_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"


def _is_locked(folder: Path, pid: int) -> bool:
    """Whether a process of this machine holds a folder's lock; without lock support, whether `pid` is alive."""
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
        return True  # another user's process
    except OSError:
        return False
    return True
