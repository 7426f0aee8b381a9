"""What one run found: its front and its hypervolume, as a table, as JSON and CSV, and as pictures.

Shape letters: n sub-networks, m objectives.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from search.folder import TRIALS_FILE, RunInfo, RunRecord
from search.objectives import OBJECTIVES, QUALITY
from search.pareto import hypervolume, pareto_front
from search.report.chart import draw_curves, draw_front
from search.trials import Evaluated, all_evaluated
from supernet.errors import UserError
from supernet.runs import atomic_path, write_json
from supernet.subnetwork import SubNetwork

FRONT_FILE = "front.json"
NORMALISATION = (
    "each objective is divided by its reference (error: 1, costs: the full net's); the hypervolume is the share of the "
    "box from 0 to 1 in each of them that the sub-networks dominate"
)


@dataclass(frozen=True)
class FrontMember:
    """A sub-network of the front, with its metric on the test split."""

    evaluated: Evaluated
    test_score: float

    def to_json(self, metric: str) -> dict[str, Any]:
        """As a row of front.json and, but for the sub-network, of front.csv."""
        e = self.evaluated
        return {"text": str(e.subnet), "subnet": e.subnet.to_json(), **e.metrics, f"test_{metric}": self.test_score}


@dataclass(frozen=True)
class Curve:
    """How the hypervolume grew.

    Attributes:
        hypervolume: After each trial, failed ones too.
        seconds: Of search up to the end of each trial.
    """

    hypervolume: list[float]
    seconds: list[float]


def main_cost(objectives: Sequence[str]) -> str:
    """The objective that sub-networks are sorted by: the last one that is a cost."""
    return next((name for name in reversed(objectives) if name not in QUALITY), objectives[-1])


def costs_of(evaluated: Iterable[Evaluated], names: Sequence[str]) -> np.ndarray:
    """(n, m) values of some metrics."""
    rows = [[e.metrics[name] for name in names] for e in evaluated]
    return np.array(rows, dtype=float).reshape(-1, len(names))


def front_of(run: RunRecord) -> list[Evaluated]:
    """The sub-networks that no other dominates in the run's objectives, the largest cost first, then the least error.

    Of several that are equal in all objectives the one evaluated first.
    """
    objectives, evaluated = run.info.objectives, all_evaluated(run.trials)
    mask_n = pareto_front(costs_of(evaluated, objectives))
    front = [e for e, keep in zip(evaluated, mask_n, strict=True) if keep]
    cost = main_cost(objectives)
    return sorted(front, key=lambda e: (-e.metrics[cost], *(e.metrics[name] for name in objectives)))


def hypervolume_of(evaluated: Iterable[Evaluated], info: RunInfo) -> float:
    """Share of the box up to the run's reference that sub-networks dominate; see `NORMALISATION`."""
    return _volume(_shares_of(evaluated, info))


def curve_of(run: RunRecord) -> Curve:
    """The hypervolume over the trials of a run."""
    front_nm, volumes = np.empty((0, len(run.info.objectives))), []
    for trial in run.trials:
        front_nm = np.concatenate([front_nm, _shares_of(trial.evaluated, run.info)])
        front_nm = front_nm[pareto_front(front_nm)]
        volumes.append(_volume(front_nm))
    return Curve(volumes, [trial.elapsed for trial in run.trials])


def failed_trials(run: RunRecord) -> int:
    """How many trials of a run gave nothing."""
    return sum(trial.outcome.metrics is None for trial in run.trials)


def read_test_scores(run: RunRecord) -> dict[SubNetwork, float]:
    """The metric on the test split, of those sub-networks that front.json has it of; none if there is no such file.

    Raises:
        UserError: if the file is damaged.
    """
    path = run.folder / FRONT_FILE
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["front"]
        return {SubNetwork.from_json(row["subnet"]): float(row[f"test_{run.info.metric}"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be used ({error!r}); remove it and run the same search again") from error


def write_report(run: RunRecord, front: Sequence[FrontMember]) -> None:
    """Writes front.json, front.csv, front.png and hypervolume.png, each whole or not at all.

    Raises:
        UserError: if there is no front, because there are no trials, or every one failed.
    """
    info, curve, rows = run.info, curve_of(run), [member.to_json(run.info.metric) for member in front]
    if not rows:
        if not run.trials:
            raise UserError(f"there is no trial in {run.folder}, and so no front; allow larger sub-networks")
        reason = run.trials[-1].outcome.failure
        raise UserError(f"all {len(run.trials)} trials failed, the last one with: {reason}; see {run.folder}")
    values = {
        "task": info.task,
        "metric": info.metric,
        "objectives": info.objectives,
        "evaluations": len(run.trials),
        "failed": failed_trials(run),
        "hypervolume": hypervolume_of(all_evaluated(run.trials), info),
        "reference": info.reference,
        "normalisation": NORMALISATION,
        "front": rows,
        "curve": {"hypervolume": curve.hypervolume, "seconds": curve.seconds},
    }
    write_json(run.folder / FRONT_FILE, values)
    with atomic_path(run.folder / "front.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "subnet"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    tested = {member.evaluated.subnet: member.test_score for member in front}
    draw_front(run.folder / "front.png", run, front_of(run), tested)
    draw_curves(run.folder / "hypervolume.png", run, curve.hypervolume, curve.seconds)


def print_report(console: Console, run: RunRecord, front: Sequence[FrontMember]) -> None:
    """The front as a table, and what there is to say of the run."""
    info, evaluated, failed = run.info, all_evaluated(run.trials), failed_trials(run)
    console.print(front_table(run.info, front))
    more = len(evaluated) - (len(run.trials) - failed)
    said = [
        f"{len(run.trials)} evaluations",
        *([f"{failed} of them failed"] if failed else []),
        *([f"{more} sub-networks more known by them"] if more else []),
        f"{len(front)} on the front",
        f"hypervolume {hypervolume_of(evaluated, info):.4f}",
    ]
    console.print(
        f"{', '.join(said)} ({' x '.join(OBJECTIVES[name].label for name in info.objectives)}, each divided by its "
        f"reference); always giving the commonest answer has error {info.majority_error:.4f}"
    )
    console.print(f"results in {run.folder}: front.csv {FRONT_FILE} front.png hypervolume.png {TRIALS_FILE}")


def front_table(info: RunInfo, front: Sequence[FrontMember]) -> Table:
    """The front for people: what is kept, what it costs, how good it is."""
    names = sorted(info.objectives, key=lambda name: name in QUALITY)  # stable: the costs first
    table = Table(title=f"Pareto front of {info.task}: {', '.join(info.objectives)}", box=SIMPLE_HEAD)
    for heading in ("layers", "heads", "units", "encoder share", *names, f"test {info.metric}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for member in front:
        metrics = member.evaluated.metrics
        table.add_row(
            *member.evaluated.subnet.widths(),
            f"{metrics['params_share']:.1%}",
            *(OBJECTIVES[name].show(metrics[name]) for name in names),
            f"{member.test_score:.4f}",
        )
    return table


def _shares_of(evaluated: Iterable[Evaluated], info: RunInfo) -> np.ndarray:
    """(n, m) objectives, each over its reference."""
    return costs_of(evaluated, info.objectives) / [info.reference[name] for name in info.objectives]


def _volume(shares_nm: np.ndarray) -> float:
    return hypervolume(shares_nm, np.ones(shares_nm.shape[1]))
