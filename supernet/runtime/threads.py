"""How the threads of torch wait for each other on a CPU: they sleep, after a short spin."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPIN_COUNT = "1000"
"""Spins of a waiting thread before it sleeps: about 10 microseconds instead of 3 ms."""

_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables of a user's own choice. KMP_* are not among them: accelerate and scikit-learn set some."""

_OTHER_OPENMP = ("libiomp", "libomp")
"""Libraries that replace libgomp if LD_PRELOAD names them."""


def sleep_while_waiting(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets GOMP_SPINCOUNT, unless the user has chosen how threads wait or another OpenMP is in use.

    A spinning thread occupies a core. On a busy machine this may be the core that the awaited thread needs, and a step
    of two threads takes several times as long. libgomp, which comes with torch, reads the variable when it is loaded,
    so call this before torch is imported. Child processes inherit the variable.
    """
    preloaded = environment.get("LD_PRELOAD", "")
    if not any(name in environment for name in _CHOSEN) and not any(name in preloaded for name in _OTHER_OPENMP):
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
