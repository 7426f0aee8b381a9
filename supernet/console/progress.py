"""The progress of long work: a bar on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from supernet.runtime.distributed import is_quiet

LINE_EVERY = 30.0
"""Seconds between two lines without a terminal, so that a cluster's log shows progress."""

FRESH = 5.0
"""Seconds after which the shown text is old. Reading a loss waits for the device, so not every step does it."""


def plain_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text unchanged: names of folders may look like rich's [markup] and :emoji: codes.

    It prints nothing if it is quiet, or made in a block of `runtime.distributed.quietly`.
    """
    return Console(stderr=stderr, quiet=quiet or is_quiet(), soft_wrap=True, highlight=False, markup=False, emoji=False)


_GOES_ON = ContextVar("goes_on", default=False)


@contextmanager
def going_on() -> Iterator[None]:
    """`print_next` prints nothing in the block: a command with several stages goes on by itself."""
    before = _GOES_ON.set(True)
    try:
        yield
    finally:
        _GOES_ON.reset(before)


def print_next(console: Console, command: str) -> None:
    """Prints the command that a user may want next."""
    if not _GOES_ON.get():
        console.print(f"next: {command}")


class WorkProgress:
    """The progress of a piece of work.

    Attributes:
        left: Estimated seconds left, at the pace so far; None if not known.
    """

    def __init__(
        self,
        progress: Progress,
        description: str,
        total: int | None,
        *,
        unit: str = "",
        done: int = 0,
        later: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._total, self._unit, self._later, self._clock = progress, total, unit, later, clock
        self._description, self._text, self._done, self._worked = description, "", done, 0
        self._start = self._last = clock()
        self.left: float | None = None
        self._task = progress.add_task(description, total=total, completed=done, text="")

    def advance(self, text: str | None = None, *, worked: bool = True) -> None:
        """Counts one more item as done.

        Args:
            text: New text; None keeps the old text.
            worked: Whether the item was done now, so that it counts for the pace; False if it was done before.
        """
        now = self._clock()
        self._done += 1
        if text is not None:
            self._text, self._last = text, now
        if worked:
            self._worked += 1
        elif not self._worked:
            self._start = now
        if self._worked and self._total is not None:
            self.left = (self._total - self._done + self._later) * (now - self._start) / self._worked
        self._progress.update(self._task, completed=self._done, text=self._words())

    @property
    def is_stale(self) -> bool:
        """Whether the text is old."""
        return self._clock() - self._last >= FRESH

    @property
    def line(self) -> str:
        """The whole progress in one line."""
        if self._total is None:
            return f"{self._description}: for {duration(self._clock() - self._start)} so far"
        return f"{self._description}: {self._done}/{self._total} {self._unit}  {self._words()}".rstrip()

    def _words(self) -> str:
        left = "" if self.left is None else f"about {duration(self.left)} left"
        return "  ".join(filter(None, (self._text, left)))


@contextmanager
def show_progress(
    console: Console,
    description: str,
    total: int | None = None,
    *,
    unit: str = "",
    done: int = 0,
    later: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[WorkProgress]:
    """Shows the progress of the work in the block: a bar that is removed at the end, or a line every `LINE_EVERY`.

    A thread prints the lines, so that they also come during a long single item.

    Args:
        console: Where to show it; nothing if it is quiet.
        description: Name of the work.
        total: Number of items; None if not known.
        unit: Name of the items.
        done: Number of items done before.
        later: Number of similar items after the block, for the time left.
        clock: Returns seconds.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *(() if total is None else (MofNCompleteColumn(),)),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(
        *columns, console=console, transient=True, disable=console.quiet or not console.is_terminal
    ) as progress:
        shown = WorkProgress(progress, description, total, unit=unit, done=done, later=later, clock=clock)
        if console.quiet or console.is_terminal:
            yield shown
            return
        with _lines(console, shown):
            yield shown


@contextmanager
def _lines(console: Console, shown: WorkProgress) -> Iterator[None]:
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(LINE_EVERY):
            console.print(shown.line, markup=False, highlight=False, soft_wrap=True)

    thread = threading.Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
