"""Signals that ask a process to stop: SIGTERM, SIGUSR1 and SIGUSR2.

With `--signal=USR1@SECONDS` (or USR2) Slurm sends this signal before a job's time is up. It sends SIGTERM to a job that
is cancelled or preempted, as a cloud does to a machine that it takes back.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class StopRequest:
    """Whether a signal has asked this process to stop.

    Attributes:
        signal: Number of the last such signal; None if there was none.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals."""
        self.signal = number

    def asked(self) -> bool:
        """Whether a signal has arrived."""
        return self.signal is not None

    @property
    def name(self) -> str:
        """Name of the signal. If only another process has received it, it is taken to be SIGTERM."""
        return signal.Signals(self.signal or signal.SIGTERM).name

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as a shell reports a program that the signal has ended: 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)


@contextmanager
def handling(signals: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handles signals while the block runs, then restores the handlers from before.

    Does nothing outside the main thread, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Remembers the signals of `SIGNALS` while the block runs; the block decides when to stop."""
    request = StopRequest()
    with handling(SIGNALS, request.remember):
        yield request


@contextmanager
def ended_by_signals(signals: Sequence[int] = SIGNALS) -> Iterator[None]:
    """Turns the first of these signals into SystemExit while the block runs, so that `finally` clauses still run."""

    def end(number: int, frame: FrameType | None) -> None:
        for other in signals:
            signal.signal(other, signal.SIG_IGN)  # a second signal must not interrupt the cleaning up
        raise SystemExit(128 + number)

    with handling(signals, end):
        yield
