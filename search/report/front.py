"""The front and the hypervolume of the trials of one run.

Shape letters: n sub-networks, m objectives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from search.objectives import QUALITY
from search.pareto import hypervolume, pareto_front
from search.run_folder import RunInfo, RunRecord
from search.trials import Evaluated, all_evaluated

NORMALISATION = (  # front.json holds this text, so it stays as it is
    "each objective is divided by its reference (error: 1, costs: the full net's); the hypervolume is the share of the "
    "box from 0 to 1 in each of them that the sub-networks dominate"
)


@dataclass(frozen=True)
class HypervolumeCurve:
    """How the hypervolume grew.

    Attributes:
        hypervolume: After each trial, failed trials too.
        seconds: Seconds of search up to the end of each trial.
    """

    hypervolume: list[float]
    seconds: list[float]


def main_cost(objectives: Sequence[str]) -> str:
    """The objective that sub-networks are sorted by: the last cost."""
    return next((name for name in reversed(objectives) if name not in QUALITY), objectives[-1])


def objectives_of(evaluated: Iterable[Evaluated], names: Sequence[str]) -> np.ndarray:
    """(n, m) values of some metrics."""
    rows = [[e.metrics[name] for name in names] for e in evaluated]
    return np.array(rows, dtype=float).reshape(-1, len(names))


def front_of(run: RunRecord) -> list[Evaluated]:
    """The sub-networks that no other dominates in the run's objectives, the largest cost first, then the least error.

    Of several that are equal in all objectives, only the first evaluated.
    """
    objectives, evaluated = run.info.objectives, all_evaluated(run.trials)
    mask_n = pareto_front(objectives_of(evaluated, objectives))
    front = [e for e, keep in zip(evaluated, mask_n, strict=True) if keep]
    cost = main_cost(objectives)
    return sorted(front, key=lambda e: (-e.metrics[cost], *(e.metrics[name] for name in objectives)))


def hypervolume_of(evaluated: Iterable[Evaluated], info: RunInfo) -> float:
    """Share of the box up to the run's reference that sub-networks dominate; see `NORMALISATION`."""
    return _volume(_shares_of(evaluated, info))


def curve_of(run: RunRecord) -> HypervolumeCurve:
    """The hypervolume over the trials of a run."""
    front_nm, volumes = np.empty((0, len(run.info.objectives))), []
    for trial in run.trials:
        front_nm = np.concatenate([front_nm, _shares_of(trial.evaluated, run.info)])
        front_nm = front_nm[pareto_front(front_nm)]
        volumes.append(_volume(front_nm))
    return HypervolumeCurve(volumes, [trial.elapsed for trial in run.trials])


def failed_trials(run: RunRecord) -> int:
    """Number of failed trials of a run."""
    return sum(trial.outcome.metrics is None for trial in run.trials)


def _shares_of(evaluated: Iterable[Evaluated], info: RunInfo) -> np.ndarray:
    """(n, m) objectives, each over its reference."""
    return objectives_of(evaluated, info.objectives) / [info.reference[name] for name in info.objectives]


def _volume(shares_nm: np.ndarray) -> float:
    return hypervolume(shares_nm, np.ones(shares_nm.shape[1]))
