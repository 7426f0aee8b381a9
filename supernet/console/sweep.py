"""A sweep: one job after another, and a table of their outcomes.

A job that fails does not stop the sweep. Ctrl-C and SIGTERM end it at once.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size

from supernet.console.terminal import nobody_reads, say_error
from supernet.runtime.distributed import in_group, is_main, print_on_main
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.signals import ended_by_signals
from supernet.runtime.storage import system_errors

C = TypeVar("C")

DONE, FAILED, INTERRUPTED, NOT_RUN = "done", "failed", "interrupted", "not run"


@dataclass(frozen=True)
class Job(Generic[C]):
    """One combination of a sweep's values.

    Attributes:
        name: What differs from the other jobs, for people: "task=rte seed=0".
        config: The configuration of the job.
    """

    name: str
    config: C


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        name: Name of the job.
        state: One of done, failed, interrupted, not run.
        seconds: How long it took.
        message: The folder of the results, or the error.
    """

    name: str
    state: str = NOT_RUN
    seconds: float = 0.0
    message: str = ""


def run_jobs(jobs: Sequence[Job[C]], run: Callable[[C], object]) -> None:
    """Runs each job and prints the table.

    Args:
        jobs: At least one.
        run: Runs a job's configuration. If it returns a path, that is the run folder.

    Raises:
        UserError: at the end, if a job failed.
        KeyboardInterrupt, SystemExit: if the sweep is asked to stop.
    """
    outcomes = [Outcome(job.name) for job in jobs]
    try:
        with ended_by_signals([signal.SIGTERM]):  # a job may not handle it, and the table is still printed
            for i, job in enumerate(jobs):
                print_on_main(f"job {i + 1} of {len(jobs)}: {job.name}")
                _run(job, run, i, outcomes)
                if outcomes[i].state == FAILED and in_group():
                    break  # other processes may be in another job, so collective operations would not work
    finally:
        print_on_main(table_of(outcomes))
    if failed := sum(outcome.state != DONE for outcome in outcomes):
        raise UserError(f"{failed} of {len(jobs)} jobs are not done; the same command runs them again")


def table_of(outcomes: Sequence[Outcome]) -> str:
    """One line for each job, however wide the terminal is."""
    rows = [("job", "outcome", "seconds", "folder, or what went wrong")]
    rows += [(o.name or "-", o.state, f"{o.seconds:.0f}", o.message) for o in outcomes]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(set_cell_size(*cell) for cell in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _run(job: Job[C], run: Callable[[C], object], i: int, outcomes: list[Outcome]) -> None:
    """Runs a job and records its outcome."""
    started = time.monotonic()

    def record(state: str, message: str) -> None:
        outcomes[i] = Outcome(job.name, state, time.monotonic() - started, " ".join(message.split()))

    try:
        with system_errors():
            result = run(job.config)
    except UserError as error:
        record(FAILED, str(error))
        if is_main():
            say_error(error)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise  # nobody would read the table
        record(FAILED, f"{type(error).__name__}: {first_line(error)}")
        traceback.print_exc()
    except BaseException:
        record(INTERRUPTED, "")
        raise
    else:
        record(DONE, str(result) if isinstance(result, Path) else "")
