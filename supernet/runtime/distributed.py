"""The process group of torch, if there is one, the rank of this process, and whether it prints.

Imports no torch: without it, no group.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_QUIET = ContextVar("quiet", default=False)


def in_group() -> bool:
    """Whether this process belongs to a process group."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


def end_group() -> None:
    """Destroys the process group, if there is one. For the end of a command: a group cannot be made twice."""
    if in_group():
        sys.modules["torch"].distributed.destroy_process_group()


def rank() -> str:
    """The rank that a launcher gave this process; "0" without a launcher."""
    return os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"


def is_main() -> bool:
    """Whether this is the main process, rank 0, which prints for all."""
    return rank() == "0"


def several_processes() -> bool:
    """Whether a launcher has started several processes, as its variable says; it may be no number."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def is_quiet() -> bool:
    """Whether this thread is in a block of `quietly`."""
    return _QUIET.get()


@contextmanager
def quietly() -> Iterator[None]:
    """Nothing is printed and no progress is shown while the block runs: another program does the talking."""
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def print_line(text: str) -> None:
    """Prints a line to standard error, except in a block of `quietly`."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)


def print_on_main(text: str) -> None:
    """Prints a line to standard error, in the main process only."""
    if is_main():
        print_line(text)
