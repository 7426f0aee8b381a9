"""The doctor: checks the machine, then the planned trainings, and shows what it finds."""

from __future__ import annotations

from supernet.console.routing import Overrides
from supernet.console.sweep import Job


def doctor(jobs: list[Job[Overrides]]) -> None:
    """Checks."""
