"""The first moments of a command, while its libraries are loaded: an interrupt ends it at once, with one line.

This module is the first that a command imports, and imports next to nothing itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def leave_at_interrupt() -> None:
    """Ends the process at an interrupt, without a traceback, until `loaded`: nothing needs cleaning up yet."""
    ours = threading.current_thread() is threading.main_thread()  # only the main thread may set handlers
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it may be ignored
        signal.signal(signal.SIGINT, _leave)


def run_as_module() -> bool:
    """Whether Python is running a module of the calling package (`python -m`)."""
    return sys.argv[:1] == ["-m"]


def loaded() -> None:
    """Lets an interrupt raise KeyboardInterrupt, as it does in Python."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def loading() -> Iterator[None]:
    """For a block that loads large libraries, since some of them catch or report a KeyboardInterrupt."""
    leave_at_interrupt()
    try:
        yield
    finally:
        loaded()


def _leave(number: int, frame: FrameType | None) -> None:
    if os.environ.get("RANK", "0") == "0":
        os.write(2, b"interrupted\n")
    os._exit(128 + number)
