"""Pictures: the front of a run, its hypervolume, and many runs in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.objectives import OBJECTIVES, QUALITY
from search.options.search import BASELINE
from search.report.results import Results, trivial_predictor
from search.report.values import Report
from search.run_folder import RunInfo, RunRecord
from search.trials import Metrics, all_evaluated
from supernet.runtime.pictures import new_figure, save_figure

if TYPE_CHECKING:  # matplotlib takes a second to import, and only drawing needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""The colours of Okabe & Ito (2008), which colour-blind people can distinguish, without yellow and black."""
MARKERS = "osD^vPX*"
FULL_NET: dict[str, Any] = {"marker": "*", "s": 110, "color": "black", "zorder": 4}
"""How the full model is drawn."""
PER_ROW = 3
"""Panels side by side."""


@dataclass(frozen=True)
class Axis:
    """How an objective is drawn: values are divided by `scale`."""

    title: str
    scale: float


def axis_of(name: str, info: RunInfo) -> Axis:
    """The axis of an objective: encoder parameters in percent, everything else in its unit."""
    if name == "error":
        return Axis(f"error (1 - {info.metric})", 1.0)
    if name == "params":
        return Axis("encoder parameters, % of the full model's", info.reference["params"] / 100)
    return Axis(OBJECTIVES[name].title, OBJECTIVES[name].scale)


def pairs_of(objectives: Sequence[str]) -> list[tuple[str, str]]:
    """Each pair of objectives as (x, y); error and loss go to y."""
    return [(b, a) if a in QUALITY else (a, b) for a, b in combinations(objectives, 2)]


def title_of(info: RunInfo) -> str:
    """Task, model and searcher; on a second line, the conditions of the costs."""
    title = f"{info.task}: {info.model}, space {info.space}, strategy {info.strategy}, {info.label}"
    return "\n".join(filter(None, [title, info.conditions]))


def draw_front(path: Path, run: RunRecord, results: Results) -> None:
    """One panel for each pair of objectives: all sub-networks, the front and the full model, their errors on the test
    split, and the error of the trivial predictor."""
    info, everything = run.info, [e.metrics for e in all_evaluated(run.trials)]
    members = [tested.evaluated.metrics for tested in results.front]
    full = [] if results.full is None else [results.full.evaluated.metrics]
    tested = [{**t.evaluated.metrics, "error": 1.0 - t.test_score} for t in results.shown]
    pairs = pairs_of(info.objectives)
    figure, panels = _panels(len(pairs))
    for axes, (x, y) in zip(panels, pairs, strict=True):
        _label(axes, info, x, y)
        axes.scatter(*_values(everything, info, x, y), s=16, color="0.65", label=f"all {len(everything)} sub-networks")
        _draw_steps(axes, members, info, x, y, label="Pareto front", color=COLOURS[0], marker="o", markersize=5)
        axes.scatter(*_values(full, info, x, y), label="full model", **FULL_NET)
        if x == "latency_ms":
            _draw_quartiles(axes, [*full, *members], y, axis_of(y, info).scale)
        if y == "error":
            axes.scatter(*_values(tested, info, x, y), marker="x", color=COLOURS[1], zorder=3, label="on test rows")
            _draw_trivial(axes, info)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(_plain(title_of(info)), fontsize=10)
    save_figure(figure, path)


def _draw_quartiles(axes: Axes, rows: Sequence[Metrics], y: str, scale: float) -> None:
    """The quartiles of latencies that were measured."""
    measured = [row for row in rows if "latency_low_ms" in row]
    low, high = ([row[f"latency_{end}_ms"] for row in measured] for end in ("low", "high"))
    axes.hlines([row[y] / scale for row in measured], low, high, color=COLOURS[0], alpha=0.5)


def _draw_trivial(axes: Axes, info: RunInfo) -> None:
    """A line at the error of the trivial predictor; if it is far from all points, only its value in the legend."""
    error = info.majority_error
    low, high = axes.get_ylim()
    shown = low - (high - low) <= error <= high + (high - low)
    label = f"{trivial_predictor(info)}: {error:.3f}" + ("" if shown else " (not shown)")
    axes.axhline(error, color="0.35", linestyle=":", linewidth=1.2, label=label)
    if not shown:
        axes.set_ylim(low, high)


def draw_curves(path: Path, run: RunRecord, hypervolume: Sequence[float], seconds: Sequence[float]) -> None:
    """The hypervolume of one run, over evaluations and over time."""
    figure, (left, right) = _panels(2)
    left.step(range(1, len(hypervolume) + 1), hypervolume, where="post", color=COLOURS[0])
    right.step(seconds, hypervolume, where="post", color=COLOURS[0])
    _label_curves(left, right)
    _skip_the_beginning((left, right), [hypervolume], [hypervolume])
    figure.suptitle(_plain(title_of(run.info)), fontsize=10)
    save_figure(figure, path)


def draw_overlay(path: Path, report: Report, info: RunInfo) -> None:
    """Many runs: the fronts of all, and the hypervolume of each series with its spread. Baselines are points.

    Args:
        path: Of the picture. Its ending gives the format.
        report: The runs.
        info: That of any of the runs.
    """
    pairs = pairs_of(info.objectives)
    figure, panels = _panels(len(pairs) + 2)
    styles = list(zip(report["groups"], cycle(COLOURS), cycle(MARKERS), strict=False))
    for axes, (x, y) in zip(panels, pairs, strict=False):
        _label(axes, info, x, y)
        for series, color, marker in styles:
            style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 3.5}
            for number, run in enumerate(series["runs"]):
                label = None if number else _plain(series["name"])
                if series["kind"] == BASELINE:
                    values = _values([p["metrics"] for p in run["points"] if p["tried"]], info, x, y)
                    axes.plot(*values, linestyle="", label=label, **style)
                else:
                    members = [p["metrics"] for p in run["points"] if p["front"]]
                    _draw_steps(axes, members, info, x, y, label=label, alpha=0.8, linewidth=1, **style)
        full = [run["full"] for series in report["groups"] for run in series["runs"] if run["full"]]
        axes.scatter(*_values(full, info, x, y), label="full model", **FULL_NET)
        if y == "error":
            _draw_trivial(axes, info)
    left, right = panels[-2:]
    _label_curves(left, right)
    for series, color, _ in styles:
        for axes, curve in zip((left, right), series["curves"].values(), strict=False):
            axes.step(curve["x"], curve["mean"], where="post", color=color)
            axes.fill_between(curve["x"], curve["low"], curve["high"], step="post", color=color, alpha=0.2, lw=0)
    curves = [curve for series in report["groups"] for curve in series["curves"].values()]
    _skip_the_beginning((left, right), [curve["low"] for curve in curves], [curve["high"] for curve in curves])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    title = "\n".join(filter(None, [report["title"], report["conditions"]]))
    figure.suptitle(_plain(title), fontsize=11)
    save_figure(figure, path)


def _plain(text: str) -> str:
    """Text with its dollars escaped: matplotlib reads text between two dollars as a formula."""
    return text.replace("$", r"\$")


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, PER_ROW)
    rows = -(-count // columns)
    figure = new_figure(7, 4.5) if count == 1 else new_figure(4.8 * columns, 3.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _label(axes: Axes, info: RunInfo, x: str, y: str) -> None:
    axes.set_xlabel(axis_of(x, info).title)
    axes.set_ylabel(axis_of(y, info).title)
    axes.grid(alpha=0.3)


def _label_curves(left: Axes, right: Axes) -> None:
    for axes, title in ((left, "evaluations"), (right, "seconds of search")):
        axes.set_xlabel(title)
        axes.set_ylabel("hypervolume")
        axes.grid(alpha=0.3)


def _skip_the_beginning(
    panels: Sequence[Axes], lows: Sequence[Sequence[float]], highs: Sequence[Sequence[float]]
) -> None:
    """Cuts off the first tenth of each curve, as the first trials are far below all others."""
    if lows:
        low, high = min(curve[len(curve) // 10] for curve in lows), max(max(curve) for curve in highs)
        margin = 0.05 * (high - low) if high > low else 0.05
        for axes in panels:
            axes.set_ylim(low - margin, high + margin)


def _values(rows: Sequence[Metrics], info: RunInfo, x: str, y: str) -> tuple[list[float], list[float]]:
    """Coordinates, from left to right."""
    points = sorted(tuple(row[name] / axis_of(name, info).scale for name in (x, y)) for row in rows)
    return [p[0] for p in points], [p[1] for p in points]


def _draw_steps(axes: Axes, front: Sequence[Metrics], info: RunInfo, x: str, y: str, **style: Any) -> None:
    """The front as steps; as points if there are other objectives too, since it is no staircase then."""
    xs, ys = _values(front, info, x, y)
    if len(info.objectives) > 2:
        style["linestyle"] = ""
    axes.step(xs, ys, where="post", **style)
