"""The series of a report as a table: on a terminal, as CSV and as LaTeX. Its last row is the trivial predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search.objectives import OBJECTIVES
from search.options.search import BASELINE
from search.report.export import escaped
from search.report.values import Errors, Report, Series, Spread, TrivialPredictor


def series_table(values: Report) -> Table:
    """For people: the hypervolume of each series, and its error within budgets."""
    table = Table(title=values["title"], box=SIMPLE_HEAD, collapse_padding=True)
    table.caption = (
        f"At a share of the full model's cost ({OBJECTIVES[values['cost']].label}): the best error on validation rows, "
        f"in brackets the test {values['metric']} of the same sub-network. Means over runs ± standard deviations; "
        "below the hypervolume, the lowest and the highest run."
    )
    for heading in ("series", "runs", "trials", "hypervolume", *_titles(values)):
        table.add_column(heading, justify="left" if heading == "series" else "right", overflow="fold")
    for series in values["groups"]:
        volume = series["hypervolume"]
        span = f"\n{volume['low']:.3f}-{volume['high']:.3f}" if len(series["runs"]) > 1 else ""
        entries = map(_shown, _entries(series))
        table.add_row(series["name"], str(len(series["runs"])), _trials(series), _text(volume) + span, *entries)
    table.add_row(values["majority"]["name"], "", "", "", *map(_shown, _entries(values["majority"])))
    return table


def series_rows(values: Report) -> list[dict[str, Any]]:
    """For CSV: a row for each series, with mean, standard deviation, lowest and highest of each figure."""
    names = ["full_net", *(f"{values['cost']}_{100 * share:g}%" for share in values["budgets"])]
    rows: list[dict[str, Any]] = []
    for series in _rows(values):
        runs = series["runs"]
        row: dict[str, Any] = {"group": series["name"], "kind": series["kind"], "runs": len(runs) or None}
        row |= {
            "seeds": " ".join(str(run["seed"]) for run in runs),
            "trials": sum(r["evaluations"] for r in runs) or None,
        }
        row |= _flat("hypervolume", series["hypervolume"])
        for name, entry in zip(names, _entries(series), strict=True):
            row |= _flat(f"{name}_error", entry["error"]) | _flat(f"{name}_test_{values['metric']}", entry["test"])
        rows.append(row)
    return rows


def front_rows(values: Report) -> list[dict[str, Any]]:
    """For CSV: each run's front and full model, all sub-networks of baselines, and the trivial predictor."""
    test, majority = f"test_{values['metric']}", values["majority"]
    rows: list[dict[str, Any]] = [
        {"group": series["name"], "run": run["folder"], "seed": str(run["seed"]), "text": point["text"]}
        | {"on_front": point["front"], "full_net": point["full"]}
        | point["metrics"]
        | {test: point["test"]}
        for series in values["groups"]
        for run in series["runs"]
        for point in run["points"]
        if point["front"] or point["full"] or series["kind"] == BASELINE
    ]
    name = majority["name"]
    return [*rows, {"group": name, "text": name, "error": majority["error"], test: majority["test"]}]


def latex_table(values: Report) -> str:
    """For LaTeX: a tabular that needs no package. Errors on validation rows, and beside them the test metric."""
    titles = [escaped(title) for title in _titles(values)]
    spans = [rf"\multicolumn{{2}}{{c}}{{{title}}}" for title in titles]
    kinds = ["error", escaped(f"test {values['metric']}")] * len(titles)
    lines = [
        *(f"% {line}".replace("\n", " ") for line in (values["title"], values["conditions"]) if line),
        rf"\begin{{tabular}}{{lrr{'rr' * len(titles)}}}",
        r"\hline",
        " & ".join(["", "", "", *spans]) + r" \\",
        " & ".join(["series", "runs", "hypervolume", *kinds]) + r" \\",
        r"\hline",
    ]
    for series in _rows(values):
        spreads = [spread for entry in _entries(series) for spread in (entry["error"], entry["test"])]
        cells = [_text(spread).replace("±", r"$\pm$ ") for spread in (series["hypervolume"], *spreads)]
        lines.append(" & ".join([escaped(series["name"]), str(len(series["runs"]) or ""), *cells]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _rows(values: Report) -> list[Series | TrivialPredictor]:
    return [*values["groups"], values["majority"]]


def _titles(values: Report) -> list[str]:
    return ["full model", *(f"at {100 * share:g}%" for share in values["budgets"])]


def _entries(series: Series | TrivialPredictor) -> Iterator[Errors]:
    """Errors and test metrics of a series: the full model's, then those within budgets."""
    yield series["full"]
    yield from series["budgets"]


def _trials(series: Series) -> str:
    counts = sorted({run["evaluations"] for run in series["runs"]})
    return "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _text(spread: Spread | None) -> str:
    """A mean and, where there are several runs, the standard deviation."""
    if spread is None:
        return ""
    return f"{spread['mean']:.4f}" + ("" if spread["std"] is None else f" ±{spread['std']:.4f}")


def _shown(entry: Errors) -> str:
    return _text(entry["error"]) + (f"\n({_text(entry['test'])})" if entry["test"] else "")


def _flat(name: str, spread: Spread | None) -> dict[str, float | None]:
    if spread is None:
        return {f"{name}_{kind}": None for kind in ("mean", "std", "low", "high")}
    return {
        f"{name}_mean": spread["mean"],
        f"{name}_std": spread["std"],
        f"{name}_low": spread["low"],
        f"{name}_high": spread["high"],
    }
