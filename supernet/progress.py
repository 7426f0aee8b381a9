"""The progress bar of a training epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Advances the bar, with what was last seen of loss, learning rate and samples per second beside it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, seen: Mapping[str, float] | None = None) -> None:
        """One step done; `seen` holds loss_largest, learning_rate and samples_per_second."""
        if seen is not None:
            said = (
                f"loss {seen['loss_largest']:.3f}  lr {seen['learning_rate']:.1e}  "
                f"{seen['samples_per_second']:.0f} samples/s"
            )
            self._progress.update(self._task, seen=said)
        self._progress.advance(self._task)


@contextmanager
def training_progress(console: Console, description: str, steps: int) -> Iterator[TrainingProgress]:
    """A bar over the steps of an epoch, removed when the block ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seen]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield TrainingProgress(progress, progress.add_task(description, total=steps, seen=""))
