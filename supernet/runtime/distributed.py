"""The group of processes that know of each other, if there is one. Imports no torch: without it there is no group."""

from __future__ import annotations

import os
import sys


def in_group() -> bool:
    """Whether this is one of several processes that know of each other."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


def end_group() -> None:
    """Ends the group, if there is one; the last thing that a command does, for it cannot be made twice."""
    if in_group():
        sys.modules["torch"].distributed.destroy_process_group()


def rank() -> str:
    """The number that a launcher has given this process; "0" without one."""
    return os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"


def is_main() -> bool:
    """Whether this is the process that speaks for all; see `rank`."""
    return rank() == "0"


def print_on_main(text: str) -> None:
    """Prints a line to standard error, in the main process only."""
    if is_main():
        print(text, file=sys.stderr, flush=True)
