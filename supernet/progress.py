"""What a training shows: a bar on a terminal, a line now and then elsewhere, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal, so that a cluster's log shows life."""


class TrainingProgress:
    """Advances the bar, with what was last seen of loss, learning rate and samples per second beside it."""

    def __init__(
        self, console: Console, progress: Progress, task: TaskID, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._progress, self._task, self._clock = console, progress, task, clock
        self._said, self._last_line = "", clock()

    def advance(self, seen: Mapping[str, float] | None = None) -> None:
        """One step done; `seen` holds loss_KIND, learning_rate and samples_per_second."""
        if seen is not None:
            losses = [f"{key.removeprefix('loss_')} {value:.3f}" for key, value in seen.items() if key[:5] == "loss_"]
            self._said = (
                f"loss: {', '.join(losses)}  lr {seen['learning_rate']:.1e}  {seen['samples_per_second']:.0f} samples/s"
            )
            self._progress.update(self._task, seen=self._said)
        self._progress.advance(self._task)
        if not self._console.is_terminal and self._clock() - self._last_line >= LINE_EVERY:
            self._last_line = self._clock()
            task = self._progress.tasks[0]
            self._console.print(f"{task.description}: {int(task.completed)}/{task.total} steps  {self._said}".rstrip())


@contextmanager
def training_progress(
    console: Console, description: str, steps: int, *, done: int = 0, clock: Callable[[], float] = time.monotonic
) -> Iterator[TrainingProgress]:
    """A bar over the steps of an epoch, of which some may be done already; it is removed when the block ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seen]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=steps, completed=done, seen="")
        yield TrainingProgress(console, progress, task, clock=clock)


def print_summary(
    console: Console,
    *,
    title: str,
    facts: Mapping[str, str],
    errors: Mapping[str, float],
    shares: Mapping[str, float],
    folder: Path,
) -> None:
    """The table at the end of a training.

    Args:
        title: What was trained.
        facts: One row each.
        errors: Validation error of each sub-network that was validated.
        shares: Its share of the encoder's parameters.
        folder: Where the supernet is; a line of its own below the table, which is never cut.
    """
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    for kind, error in errors.items():
        table.add_row(f"validation error, {kind} net", f"{error:.4f} with {shares[kind]:.1%} of the encoder")
    console.print(table)
    console.print(f"supernet saved in {folder}")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
