"""What a command would start: the run folders, and the time of all of them together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.doctor.findings import OK, PROBLEM, UNKNOWN, Finding
from search.doctor.plan import Plan
from supernet.artifact import INFO_FILE
from supernet.console.progress import duration
from supernet.options.training import TrainConfig
from supernet.runtime.fields import identity
from supernet.runtime.files import digest

_NO_TIME = {
    "train": ("learning_rate", "weight_decay", "warmup", "max_grad_norm"),
    "distillation": ("divergence", "temperature", "weight"),
}
"""Options that do not change the time of a training, by section."""


@dataclass(frozen=True)
class PlannedRun:
    """A run that would be started.

    Attributes:
        name: What differs from the others; empty without a sweep.
        folder: Its run folder.
        there: Whether its supernet is there already, so that nothing is trained.
        seconds: How long it takes; None if that is not known.
    """

    name: str
    folder: Path
    there: bool
    seconds: float | None


def planned_run(plan: Plan, seconds: float | None) -> PlannedRun:
    """The run of a plan.

    Raises:
        UserError: if the options are not allowed.
    """
    folder = plan.config.folder
    there = os.path.isfile(folder / "supernet" / INFO_FILE) and not plan.config.overwrite
    return PlannedRun(plan.name, folder, there, 0.0 if there else seconds)


def pace_of(config: TrainConfig) -> str:
    """A digest of all options that the time of a training depends on. Seeds and learning rates are not among them."""
    values = identity(config)
    for section, names in _NO_TIME.items():
        values[section] = {key: value for key, value in values[section].items() if key not in names}
    return digest({key: value for key, value in values.items() if key not in ("seed", "seeds")})


def sweep_findings(runs: Sequence[PlannedRun], jobs: int) -> Iterator[Finding]:
    """How many runs there would be, and how long they take one after another.

    Args:
        runs: The runs whose options are allowed.
        jobs: Number of combinations.
    """
    there = sum(run.there for run in runs)
    text = f"{jobs} runs" + (f", {there} of which are there already" if there else "")
    if len(runs) < jobs:
        yield Finding(PROBLEM, f"{text}; {jobs - len(runs)} cannot start", "see the settings above")
    if len({run.folder for run in runs}) < len(runs):
        yield Finding(PROBLEM, f"{text}, but some have the same run folder", "leave out values that change nothing")
    known = [run.seconds for run in runs if run.seconds is not None]
    if len(known) < len(runs):
        yield Finding(UNKNOWN, f"{text}; the time of {len(runs) - len(known)} is not known")
    else:
        yield Finding(OK, f"{text}; about {duration(sum(known))} one after another")
