"""What a search found: the front as a table, as CSV and JSON, and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from search.loop import Trial
from search.pareto import hypervolume, pareto_front
from supernet.runs import atomic_path, write_json
from supernet.tasks import Task

REFERENCE = (1.0, 1.0)
"""Worst error and encoder share that count for the hypervolume."""


@dataclass(frozen=True)
class FrontMember:
    """A sub-network of the front, with its metric on the test split."""

    trial: Trial
    test_score: float

    def to_json(self, metric: str) -> dict[str, Any]:
        """As a row of front.json and front.csv."""
        row = {k: v for k, v in self.trial.to_json().items() if k != "seconds"}
        return row | {f"test_{metric}": self.test_score}


def costs_of(trials: Sequence[Trial]) -> np.ndarray:
    """(n, 2) validation error and encoder share of each trial."""
    rows = [(t.measurements.error, t.measurements.params_share) for t in trials]
    return np.array(rows, dtype=float).reshape(-1, 2)


def front_of(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other dominates, the largest first."""
    mask = pareto_front(costs_of(trials))
    front = [trial for trial, keep in zip(trials, mask, strict=True) if keep]
    return sorted(front, key=lambda trial: -trial.measurements.params_share)


def search_hypervolume(trials: Sequence[Trial]) -> float:
    """Area of error x encoder share that the trials dominate, up to `REFERENCE`."""
    return hypervolume(costs_of(trials), np.array(REFERENCE))


def front_table(front: Sequence[FrontMember], *, task: Task) -> Table:
    """The front for people, the largest sub-network first."""
    table = Table(title=f"Pareto front of {task.name}: error against encoder parameters", box=SIMPLE_HEAD)
    headings = ("layers", "heads", "units", "parameters", "share", "error", f"test {task.metric}")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for member in front:
        m = member.trial.measurements
        table.add_row(
            *member.trial.subnet.widths(),
            f"{m.params / 1e6:.2f} M",
            f"{m.params_share:.1%}",
            f"{m.error:.4f}",
            f"{member.test_score:.4f}",
        )
    return table


def write_report(
    folder: Path, trials: Sequence[Trial], front: Sequence[FrontMember], *, task: Task, title: str
) -> None:
    """Writes front.csv, front.json and front.png, each whole or not at all."""
    rows = [member.to_json(task.metric) for member in front]
    write_json(
        folder / "front.json",
        {
            "task": task.name,
            "evaluations": len(trials),
            "hypervolume": search_hypervolume(trials),
            "reference": dict(zip(("error", "params_share"), REFERENCE, strict=True)),
            "front": rows,
        },
    )
    with atomic_path(folder / "front.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "subnet"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    _draw(folder / "front.png", trials, front, task=task, title=title)


def _draw(path: Path, trials: Sequence[Trial], front: Sequence[FrontMember], *, task: Task, title: str) -> None:
    from matplotlib.figure import Figure  # takes a second to import; nothing else here needs it

    costs, steps = costs_of(trials), costs_of([member.trial for member in front])[::-1]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(100 * costs[:, 1], costs[:, 0], s=16, color="0.65", label=f"{len(trials)} evaluated sub-networks")
    axes.step(100 * steps[:, 1], steps[:, 0], where="post", color="C0", marker="o", markersize=5, label="Pareto front")
    tested = [1.0 - member.test_score for member in reversed(front)]
    axes.scatter(100 * steps[:, 1], tested, marker="x", color="C1", zorder=3, label="the front on the test set")
    axes.set_xlabel("encoder parameters, % of the full model's")
    axes.set_ylabel(f"error (1 - {task.metric})")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
