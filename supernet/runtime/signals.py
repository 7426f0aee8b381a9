"""Being asked to stop: SIGTERM, SIGUSR1 and SIGUSR2 are remembered until the backward pass in hand has ended.

Slurm sends the signal of `--signal=USR1@SECONDS` (or USR2) before a job's time is up, and SIGTERM when it is cancelled
or must make place; a cloud machine that is taken back gets SIGTERM.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class StopRequest:
    """Whether this process has been asked to stop."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def remember(self, number: int, frame: FrameType | None) -> None:
        """Handler of the signals."""
        self.signal = number

    def asked(self) -> bool:
        """Whether there was one of them."""
        return self.signal is not None

    @property
    def name(self) -> str:
        """Of the signal; where only another process got the signal, its like is taken to be SIGTERM."""
        return signal.Signals(self.signal or signal.SIGTERM).name

    @property
    def exit_status(self) -> int:
        """128 and the signal's number, as of a program that the signal has ended: 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Remembers the signals while the block runs; the handlers that were there before come back."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    before = {number: signal.signal(number, request.remember) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While the block runs, the signals of `SIGNALS` end this process by an exception, so that it can clean up."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # one is enough
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = {number: signal.signal(number, end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
