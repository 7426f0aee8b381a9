"""How the threads of torch wait for each other on a CPU: asleep, after a short look."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPIN_COUNT = "1000"
"""How often a waiting thread looks before it sleeps: some 10 microseconds, instead of 3 ms."""

_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""With either of these a user has chosen. KMP_* says nothing: accelerate and scikit-learn set some themselves."""

_OTHER_OPENMP = ("libiomp", "libomp")
"""Libraries that take libgomp's place where LD_PRELOAD names them."""


def sleep_while_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets GOMP_SPINCOUNT, unless the user has chosen how threads wait or another OpenMP is in use.

    A thread that spins holds a core. If other processes need the cores too, it holds the very one that the thread it
    waits for is to run on, and a step of two threads takes several times as long. libgomp, which torch brings along,
    reads the variable when it is loaded: this has to be called before torch is imported. Child processes inherit it.
    """
    preloaded = environment.get("LD_PRELOAD", "")
    if not any(name in environment for name in _CHOSEN) and not any(name in preloaded for name in _OTHER_OPENMP):
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
