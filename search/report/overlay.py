"""Many runs in one report: searchers, seeds, strategies and baselines laid over each other.

    python report.py                                        all runs of runs/search
    python report.py runs=[runs/search/A,runs/search/B-*]   these

Writes report.html, a page to explore that needs no network, report.png, and report.json with the numbers behind both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from search.folder import RUN_FILE, RunRecord, read_run, remarks
from search.objectives import OBJECTIVES, QUALITY
from search.options import BASELINE
from search.report.chart import axis_of, draw_overlay
from search.report.front import (
    NORMALISATION,
    Curve,
    curve_of,
    failed_trials,
    front_of,
    hypervolume_of,
    main_cost,
)
from search.report.groups import comparable_sets, grouped
from search.report.page import render
from search.report.results import read_results
from search.trials import all_evaluated, best_within
from supernet.config import run_app
from supernet.errors import UserError
from supernet.runs import atomic_path, folder_name, prepare_folder, write_json
from supernet.subnetwork import SubNetwork

BUDGETS = (0.75, 0.5, 0.25)
"""Shares of the full net's cost for which the best error is told."""

SPREAD = (
    "lines are means over the runs of a group and end where its shortest run does; bands go from the lowest run to the "
    "highest"
)


@dataclass(frozen=True)
class ReportConfig:
    """What a report can be told (conf/report.yaml).

    Attributes:
        runs: Folders of runs, or patterns of them; none: all in OUTPUT_DIR/search.
        title: Of the page and the picture; None makes one.
        name: Of the report's folder in OUTPUT_DIR/report; None makes one of task, model and objectives.
        pool_supernets: Whether runs on different supernets of the same model, space and strategy are repetitions.
    """

    runs: list[str] = field(default_factory=list)
    title: str | None = None
    name: str | None = None
    pool_supernets: bool = False
    output_dir: str = "runs"


def report(config: ReportConfig) -> list[Path]:
    """Writes and prints a report for each set of comparable runs and returns their folders.

    Raises:
        UserError: if there are no runs, or one is damaged.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    output = Path(config.output_dir).expanduser()
    runs = [read_run(folder) for folder in find_runs(config.runs, output / "search")]
    for run in runs:
        for remark in remarks(run):
            console.print(f"note: {run.folder}: {remark}")
        if not all_evaluated(run.trials):
            console.print(f"{run.folder} is left out: none of its {len(run.trials)} trials gave a result")
    sets = comparable_sets(run for run in runs if all_evaluated(run.trials))
    if not sets:
        raise UserError("no run has a result yet; see the messages above")
    if len(sets) > 1:
        console.print(
            f"the runs are of {len(sets)} kinds that cannot be compared and get a report each: {', '.join(sets)}"
        )
    folders = []
    for name, members in sets.items():
        own = name if config.name is None else folder_name(config.name, *([name] if len(sets) > 1 else []))
        folders.append(output / "report" / own)
        groups = grouped(members, pool_supernets=config.pool_supernets)
        _write(folders[-1], groups, console, title=config.title)
    return folders


def find_runs(patterns: Sequence[str], default: Path) -> list[Path]:
    """The run folders that are named, each once, in order; of a pattern those that are runs of stage two.

    Raises:
        UserError: if a pattern, or the default folder, has none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns or [str(default / "*")]:
        path = Path(pattern).expanduser()
        folders = sorted(Path(match) for match in glob(str(path))) if has_magic(pattern) else [path]
        if has_magic(pattern):
            folders = [folder for folder in folders if (folder / RUN_FILE).exists()]
        if not folders:
            raise UserError(
                f"there is no run in {pattern}; run 'python search.py' first, or name others with runs=[...]"
            )
        found |= dict.fromkeys(folders)
    return list(found)


def report_of(groups: Mapping[str, Sequence[RunRecord]], *, title: str | None = None) -> dict[str, Any]:
    """Everything that is shown of comparable runs, as plain values: what report.json holds and report.html embeds.

    Args:
        groups: Runs by the name of their group.
        title: None makes one.
    """
    info = next(iter(groups.values()))[0].info
    shown = {"params_share": {"label": "encoder share", "unit": "%", "scale": 0.01, "digits": 1}} | {
        name: {"label": o.label, "unit": o.unit, "scale": o.scale, "digits": o.digits} for name, o in OBJECTIVES.items()
    }
    axes = {name: axis_of(name, info) for name in info.objectives}
    return {
        "title": title or f"{info.task}: {info.model}, {' x '.join(info.objectives)}",
        "task": info.task,
        "metric": info.metric,
        "model": info.model,
        "objectives": info.objectives,
        "cost": main_cost(info.objectives),
        "costs": [name for name in info.objectives if name not in QUALITY],
        "budgets": BUDGETS,
        "majority_error": info.majority_error,
        "normalisation": NORMALISATION,
        "spread": SPREAD,
        "axes": {name: {"title": axis.title, "scale": axis.scale} for name, axis in axes.items()},
        "shown": shown,
        "groups": [_group(name, runs) for name, runs in groups.items()],
    }


def mean_curve(x_r: Sequence[Sequence[float]], y_r: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Mean and range of step functions, from the first step of any to the last one of the shortest.

    Args:
        x_r: For each of r functions, where it steps, ascending.
        y_r: The values from there on; a function is 0 before its first step.

    Returns:
        x, mean, low and high, lists of the same length.
    """
    end = min(x[-1] for x in x_r)
    x_n = np.unique(np.concatenate([np.asarray(x, dtype=float) for x in x_r]))
    x_n = x_n[x_n <= end]
    y_rn = np.array([np.append(0.0, y)[np.searchsorted(x, x_n, side="right")] for x, y in zip(x_r, y_r, strict=True)])
    named = {"x": x_n, "mean": y_rn.mean(axis=0), "low": y_rn.min(axis=0), "high": y_rn.max(axis=0)}
    return {name: values.tolist() for name, values in named.items()}


def _group(name: str, runs: Sequence[RunRecord]) -> dict[str, Any]:
    curves, rows = [curve_of(run) for run in runs], [_run(run) for run in runs]
    return {
        "name": name,
        "kind": runs[0].info.kind,
        "hypervolume": _spread([row["hypervolume"] for row in rows]),
        "budgets": [_at_budget([row["budgets"][i] for row in rows], share) for i, share in enumerate(BUDGETS)],
        "curves": {} if runs[0].info.kind == BASELINE else _curves(curves),
        "runs": rows,
    }


def _curves(curves: Sequence[Curve]) -> dict[str, dict[str, list[float]]]:
    y_r = [curve.hypervolume for curve in curves]
    return {
        "evaluations": mean_curve([range(1, len(y) + 1) for y in y_r], y_r),
        "seconds": mean_curve([curve.seconds for curve in curves], y_r),
    }


def _run(run: RunRecord) -> dict[str, Any]:
    info, evaluated, scores = run.info, all_evaluated(run.trials), read_results(run).test_scores
    front = {e.subnet for e in front_of(run)}
    cost = main_cost(info.objectives)
    best = [best_within(evaluated, {cost: share * info.reference[cost]}) for share in BUDGETS]
    return {
        "folder": run.folder.name,
        "seed": info.seed,
        "evaluations": len(run.trials),
        "failed": failed_trials(run),
        "reference": info.reference,
        "hypervolume": hypervolume_of(evaluated, info),
        "budgets": [None if e is None else {**e.metrics, "test": scores.get(e.subnet)} for e in best],
        "points": [
            {
                "text": str(e.subnet),
                "layers": _counts(e.subnet),
                "metrics": dict(e.metrics),
                "front": e.subnet in front,
                "test": scores.get(e.subnet),
            }
            for e in evaluated
        ],
    }


def _counts(subnet: SubNetwork) -> list[list[int]]:
    """[index, heads, units] of each layer. Which ones they are is in trials.jsonl; there can be thousands."""
    return [[layer.index, len(layer.heads), len(layer.units)] for layer in subnet.layers]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}


def _at_budget(best: Sequence[Mapping[str, Any] | None], share: float) -> dict[str, Any]:
    """Error within a budget, and the metric on the test split; None unless every run of the group has it."""
    known = [b for b in best if b is not None]
    complete = len(known) == len(best)
    tested = [b["test"] for b in known if b["test"] is not None]
    return {
        "share": share,
        "error": _spread([b["error"] for b in known]) if complete else None,
        "test": _spread(tested) if complete and len(tested) == len(best) else None,
    }


def _write(folder: Path, groups: Mapping[str, Sequence[RunRecord]], console: Console, *, title: str | None) -> None:
    prepare_folder(folder)
    values = report_of(groups, title=title)
    write_json(folder / "report.json", values)
    with atomic_path(folder / "report.html") as partial:
        partial.write_text(render(values), encoding="utf-8")
    draw_overlay(folder / "report.png", values, next(iter(groups.values()))[0].info)
    console.print(overlay_table(values))
    console.print(f"report in {folder}: report.html report.png report.json")


def overlay_table(values: Mapping[str, Any]) -> Table:
    """The groups for people: how far each came, and its error within budgets.

    Args:
        values: See `report_of`.
    """
    table = Table(title=values["title"], box=SIMPLE_HEAD)
    table.caption = (
        f"At a share of the full net's {OBJECTIVES[values['cost']].label}: the best error on validation rows, in "
        f"brackets the test {values['metric']} of the same sub-network. Means over runs; below the hypervolume, the "
        "lowest and the highest."
    )
    for heading in ("group", "runs", "trials", "hypervolume", *(f"at {share:.0%}" for share in BUDGETS)):
        table.add_column(heading, justify="left" if heading == "group" else "right", overflow="fold")
    for group in values["groups"]:
        counts = sorted({run["evaluations"] for run in group["runs"]})
        volume = group["hypervolume"]
        table.add_row(
            group["name"],
            str(len(group["runs"])),
            "-".join(map(str, dict.fromkeys((counts[0], counts[-1])))),
            f"{volume['mean']:.4f}" + (f"\n{volume['low']:.3f}-{volume['high']:.3f}" if len(group["runs"]) > 1 else ""),
            *(_show_budget(budget) for budget in group["budgets"]),
        )
    return table


def _show_budget(budget: Mapping[str, Any]) -> str:
    error, test = budget["error"], budget["test"]
    return "-" if error is None else f"{error['mean']:.4f}" + (f"\n({test['mean']:.4f})" if test else "")


def main() -> None:
    """Writes a report as the command line says."""
    run_app("report", ReportConfig, report)


if __name__ == "__main__":
    main()
