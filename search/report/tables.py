"""Tables of sub-networks for people: sizes, costs and quality, beside the full model and the trivial predictor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from search.objectives import OBJECTIVES, QUALITY
from search.report.results import Results, trivial_predictor
from search.run_folder import RunInfo
from search.trials import Evaluated, Metrics

FULL = "full model"
"""Name of the full model in tables."""

WIDEST = 1000
"""In characters; wider than any table."""


@dataclass(frozen=True)
class Line:
    """A sub-network in a table.

    Attributes:
        mark: A word or two in front of the row; empty for an ordinary sub-network.
        evaluated: The sub-network.
        test_score: Its metric on the test split; None if it is not known.
    """

    mark: str
    evaluated: Evaluated
    test_score: float | None


def table_of(lines: Sequence[Line], info: RunInfo, results: Results, *, title: str | None = None) -> Table:
    """A table with a row for each sub-network, and the trivial predictor as the last row."""
    names = sorted(info.objectives, key=lambda name: name in QUALITY)  # stable: the costs first
    measured = list(dict.fromkeys(heading for line in lines for heading, _ in spread_of(line.evaluated.metrics)))
    headings = (
        "layers",
        "heads",
        "units",
        "encoder share",
        *names,
        *measured,
        f"test {info.metric}",
        "vs full model",
    )
    full = None if results.full is None else results.full.evaluated.subnet
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True)
    table.add_column("", overflow="fold", min_width=len("prediction"))
    for heading in headings:
        table.add_column("\n".join(heading.split(" ", 1)), justify="right", overflow="fold")
    for line in lines:
        metrics, spread = line.evaluated.metrics, dict(spread_of(line.evaluated.metrics))
        table.add_row(
            line.mark,
            *line.evaluated.subnet.widths(),
            f"{metrics['params_share']:.1%}",
            *(OBJECTIVES[name].show(metrics[name]) for name in names),
            *(spread.get(heading, "") for heading in measured),
            *_show_scores(line.test_score, results, is_full=line.evaluated.subnet == full),
        )
    errors = [f"{info.majority_error:.4f}" if name == "error" else "" for name in names]
    table.add_row(
        trivial_predictor(info),
        *[""] * 4,
        *errors,
        *[""] * len(measured),
        *_show_scores(results.majority_score, results),
    )
    return table


def spread_of(metrics: Metrics) -> list[tuple[str, str]]:
    """Spread and share of a measured latency: headings and their values."""
    columns = []
    if "latency_low_ms" in metrics:
        columns.append(("latency quartiles", f"{metrics['latency_low_ms']:.2f}-{metrics['latency_high_ms']:.2f}"))
    if "latency_share" in metrics:
        columns.append(("latency share", f"{metrics['latency_share']:.1%}"))
    return columns


def _show_scores(score: float | None, results: Results, *, is_full: bool = False) -> tuple[str, str]:
    """The metric on the test split, and its difference from the full model's; no difference for the full model."""
    difference = None if is_full else results.against_full(score)
    return "" if score is None else f"{score:.4f}", "" if difference is None else f"{difference:+.4f}"


def notes(results: Results) -> list[str]:
    """Notes on the full model for a reader of a table, a sentence each."""
    if results.full is None:
        return ["the full model has no result on the test rows"]
    lines, metrics = [], results.full.evaluated.metrics
    if results.full_is_supernets:
        return ["this run did not evaluate the full model, so the supernet's is shown; it is not part of the front"]
    if metrics.get("stopped"):
        lines.append(f"the training of the full model was stopped early, after {metrics['epochs']:g} epochs")
    if not results.full_on_front:
        lines.append("the full model is not on the front: a cheaper sub-network is at least as good on validation rows")
    return lines


def show_table(console: Console, table: Table) -> None:
    """Prints a table. In a file or a pipe, which have no width, it gets its natural width."""
    if not console.is_terminal:
        natural = console.measure(table, options=console.options.update(width=WIDEST)).maximum
        table.width = max(natural, 40)
    console.print(table)
