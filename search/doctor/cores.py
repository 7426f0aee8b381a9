"""Checks of the cores: how many threads compute, on how many cores, and what else runs there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import psutil
import torch

from search.doctor.container import core_quota
from search.doctor.findings import OK, WARNING, Check, Finding
from supernet.runtime.processes import usable_cores

BUSY_SHARE = 0.25
"""Share of the cores that other programs may use before it matters."""
WATCHED_S = 0.5
MANY_CORES = 4


def _threads(subject: object) -> Iterator[Finding]:
    cores, quota, threads = usable_cores(), core_quota(), torch.get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS")
    said = f"OMP_NUM_THREADS={given}" if given else "OMP_NUM_THREADS is not set"
    text = f"{threads} thread(s) compute on {cores} usable core(s); {said}"
    available = cores if quota is None else min(cores, quota)
    if threads > available:
        limit = f"{cores} cores" if quota is None or quota >= cores else f"the time of {quota:g} cores"
        advice = f"set OMP_NUM_THREADS={max(1, int(available))}: more threads wait for each other"
        yield Finding(WARNING, f"{text}, and this process may use {limit} only", advice)
    elif threads == 1 and available >= MANY_CORES and not torch.cuda.is_available():
        yield Finding(WARNING, f"{text}: the others are idle", f"set OMP_NUM_THREADS={int(available)}")
    else:
        yield Finding(OK, text)


def _load(subject: object) -> Iterator[Finding]:
    cores = usable_cores()
    busy, busiest = _watch()
    text = f"other programs use {busy:.1f} of {cores} core(s)"
    if busy > BUSY_SHARE * cores:
        who = f", most of it {busiest}" if busiest else ""
        free = max(1, round(cores - busy))
        advice = (
            f"wait for them, or share the cores with OMP_NUM_THREADS={free}: steps are slower and latencies scatter"
        )
        yield Finding(WARNING, text + who, advice)
    else:
        yield Finding(OK, text)


def _watch() -> tuple[float, str]:
    """Cores that other programs use, and the one that uses most."""
    processes = [p for p in psutil.process_iter(["name"]) if p.pid != os.getpid()]
    for process in processes:
        _cores_of(process)  # the first call starts the clock
    psutil.cpu_percent(percpu=True)
    time.sleep(WATCHED_S)
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    percents = psutil.cpu_percent(percpu=True)
    busy = sum(percent for i, percent in enumerate(percents) if mine is None or i in mine) / 100
    used = [(_cores_of(process), process) for process in processes]
    most, process = max(used, key=lambda pair: pair[0], default=(0.0, None))
    shown = "" if process is None or most < BUSY_SHARE else f"{process.info['name']} (process {process.pid})"
    return busy, shown


def _cores_of(process: psutil.Process) -> float:
    try:
        return process.cpu_percent() / 100
    except psutil.Error:
        return 0.0


CORE_CHECKS: Sequence[Check[object]] = (Check("threads", _threads), Check("load", _load))
