"""The group of processes that know of each other, if there is one. Imports no torch: without it there is no group."""

from __future__ import annotations

import sys


def in_group() -> bool:
    """Whether this is one of several processes that know of each other."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


def end_group() -> None:
    """Ends the group, if there is one; the last thing that a command does, for it cannot be made twice."""
    if in_group():
        sys.modules["torch"].distributed.destroy_process_group()
