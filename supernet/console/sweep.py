"""A sweep: one job after another, and a table of what became of them.

A job that fails does not keep the next from running. Ctrl-C and SIGTERM end the sweep at once.
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
        name: What sets it apart from the others, for people: "task=rte seed=0".
        config: What to run it with.
    """

    name: str
    config: C


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        name: The job's.
        state: One of done, failed, interrupted, not run.
        seconds: That it took.
        told: The folder of what is done, or what went wrong.
    """

    name: str
    state: str = NOT_RUN
    seconds: float = 0.0
    told: str = ""


def run_jobs(jobs: Sequence[Job[C]], run: Callable[[C], object]) -> None:
    """Runs each job, and prints the table.

    Args:
        jobs: At least one.
        run: What to do with a job's configuration; the run folder if it returns a path.

    Raises:
        UserError: at the end, if a job failed.
        KeyboardInterrupt, SystemExit: if it was asked to stop.
    """
    outcomes = [Outcome(job.name) for job in jobs]
    try:
        with ended_by_signals([signal.SIGTERM]):  # a job may not handle it, and the table is still printed
            for i, job in enumerate(jobs):
                print_on_main(f"job {i + 1} of {len(jobs)}: {job.name}")
                _run(job, run, i, outcomes)
                if outcomes[i].state == FAILED and in_group():
                    break  # the other processes may be elsewhere: nothing that is done together would work any more
    finally:
        print_on_main(table_of(outcomes))
    if failed := sum(outcome.state != DONE for outcome in outcomes):
        raise UserError(f"{failed} of {len(jobs)} jobs are not done; the same command does them again")


def table_of(outcomes: Sequence[Outcome]) -> str:
    """What became of each job, a line each, however wide the terminal is."""
    rows = [("job", "outcome", "seconds", "folder, or what went wrong")]
    rows += [(o.name or "-", o.state, f"{o.seconds:.0f}", o.told) for o in outcomes]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(set_cell_size(*cell) for cell in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _run(job: Job[C], run: Callable[[C], object], i: int, outcomes: list[Outcome]) -> None:
    """Runs a job and puts down what became of it."""
    started = time.monotonic()

    def put_down(state: str, told: str) -> None:
        outcomes[i] = Outcome(job.name, state, time.monotonic() - started, " ".join(told.split()))

    try:
        with system_errors():
            result = run(job.config)
    except UserError as error:
        put_down(FAILED, str(error))
        if is_main():
            say_error(error)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise  # nor would they the table
        put_down(FAILED, f"{type(error).__name__}: {first_line(error)}")
        traceback.print_exc()
    except BaseException:
        put_down(INTERRUPTED, "")
        raise
    else:
        put_down(DONE, str(result) if isinstance(result, Path) else "")
