"""What a program may take of this machine: free memory and the time of cores, within the limits of a container."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows the limits of a container, or of a job on a cluster."""


def free_memory() -> int:
    """Bytes that programs may still take: of the machine, or of the container if it has a limit of its own."""
    free = psutil.virtual_memory().available
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (most := _number(limit)) is not None and (now := _number(used)) is not None:
            free = min(free, max(0, most - now + _statistic(Path(used).with_name("memory.stat"), cached)))
    return free


def free_for_tensors() -> int:
    """Bytes that tensors may still take: on the GPU if there is one, else `free_memory`."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else free_memory()


def core_quota() -> float | None:
    """Cores whose time the container may use; None without such a limit. Programs still see all cores."""
    quota, period = _number("cpu/cpu.cfs_quota_us"), _number("cpu/cpu.cfs_period_us")
    with suppress(OSError, ValueError):
        quota, period = (int(word) for word in (CGROUPS / "cpu.max").read_text(encoding="utf-8").split())
    return quota / period if quota and period and quota > 0 else None


def _number(file: str) -> int | None:
    """The number in a file of `CGROUPS`; None if there is no file, or no number ("max")."""
    try:
        return int((CGROUPS / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _statistic(file: Path, name: str) -> int:
    """A number of memory.stat; 0 if it is not there."""
    with suppress(OSError, ValueError):
        for line in (CGROUPS / file).read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
