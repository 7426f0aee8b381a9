"""The groups of a report as a table: on a terminal, as CSV and as LaTeX. The commonest answer is its last row.

`values` are what `search.report.summary.report_of` makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search.objectives import OBJECTIVES
from search.options.search import BASELINE
from search.report.export import escaped
from search.report.results import MAJORITY

Values = Mapping[str, Any]


def group_table(values: Values) -> Table:
    """For people: how far each group came, and its error within budgets."""
    table = Table(title=values["title"], box=SIMPLE_HEAD, collapse_padding=True)
    table.caption = (
        f"At a share of the full net's cost ({OBJECTIVES[values['cost']].label}): the best error on validation rows, "
        f"in brackets the test {values['metric']} of the same sub-network. Means over runs, with ± the standard "
        "deviation; below the hypervolume, the lowest and the highest."
    )
    for heading in ("group", "runs", "trials", "hypervolume", *_titles(values)):
        table.add_column(heading, justify="left" if heading == "group" else "right", overflow="fold")
    for group in values["groups"]:
        volume = group["hypervolume"]
        span = f"\n{volume['low']:.3f}-{volume['high']:.3f}" if len(group["runs"]) > 1 else ""
        entries = map(_shown, _entries(group))
        table.add_row(group["name"], str(len(group["runs"])), _trials(group), _text(volume) + span, *entries)
    table.add_row(MAJORITY, "", "", "", *map(_shown, _entries(values["majority"])))
    return table


def group_rows(values: Values) -> list[dict[str, Any]]:
    """For CSV: one row a group; of each figure the mean, the standard deviation, the lowest and the highest."""
    names = ["full_net", *(f"{values['cost']}_{100 * share:g}%" for share in values["budgets"])]
    rows = []
    for group in [*values["groups"], values["majority"]]:
        runs = group["runs"]
        row = {"group": group["name"], "kind": group["kind"], "runs": len(runs) or None}
        row |= {
            "seeds": " ".join(str(run["seed"]) for run in runs),
            "trials": sum(r["evaluations"] for r in runs) or None,
        }
        row |= _flat("hypervolume", group["hypervolume"])
        for name, entry in zip(names, _entries(group), strict=True):
            row |= _flat(f"{name}_error", entry["error"]) | _flat(f"{name}_test_{values['metric']}", entry["test"])
        rows.append(row)
    return rows


def front_rows(values: Values) -> list[dict[str, Any]]:
    """For CSV: the members of every run's front, its full net, all that a baseline gave, and the commonest answer."""
    test, majority = f"test_{values['metric']}", values["majority"]
    rows = [
        {"group": group["name"], "run": run["folder"], "seed": str(run["seed"]), "text": point["text"]}
        | {"on_front": point["front"], "full_net": point["full"]}
        | point["metrics"]
        | {test: point["test"]}
        for group in values["groups"]
        for run in group["runs"]
        for point in run["points"]
        if point["front"] or point["full"] or group["kind"] == BASELINE
    ]
    name = majority["name"]
    return [*rows, {"group": name, "text": name, "error": majority["error"], test: majority["test"]}]


def latex_table(values: Values) -> str:
    """For LaTeX: a tabular that needs no package. Errors on validation rows, and beside them the test metric."""
    titles = [escaped(title) for title in _titles(values)]
    spans = [rf"\multicolumn{{2}}{{c}}{{{title}}}" for title in titles]
    kinds = ["error", escaped(f"test {values['metric']}")] * len(titles)
    lines = [
        *(f"% {line}".replace("\n", " ") for line in (values["title"], values["conditions"]) if line),
        rf"\begin{{tabular}}{{lrr{'rr' * len(titles)}}}",
        r"\hline",
        " & ".join(["", "", "", *spans]) + r" \\",
        " & ".join(["group", "runs", "hypervolume", *kinds]) + r" \\",
        r"\hline",
    ]
    for group in [*values["groups"], values["majority"]]:
        found = [entry[kind] for entry in _entries(group) for kind in ("error", "test")]
        cells = [_text(spread).replace("±", r"$\pm$ ") for spread in (group["hypervolume"], *found)]
        lines.append(" & ".join([escaped(group["name"]), str(len(group["runs"]) or ""), *cells]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _titles(values: Values) -> list[str]:
    return ["full net", *(f"at {100 * share:g}%" for share in values["budgets"])]


def _entries(group: Values) -> Iterator[Values]:
    """Errors and test metrics of a group: the full net's, then those within budgets."""
    yield group["full"]
    yield from group["budgets"]


def _trials(group: Values) -> str:
    counts = sorted({run["evaluations"] for run in group["runs"]})
    return "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def _text(spread: Mapping[str, float | None] | None) -> str:
    """A mean and, where there are several runs, the standard deviation."""
    if spread is None:
        return ""
    return f"{spread['mean']:.4f}" + ("" if spread["std"] is None else f" ±{spread['std']:.4f}")


def _shown(entry: Values) -> str:
    return _text(entry["error"]) + (f"\n({_text(entry['test'])})" if entry["test"] else "")


def _flat(name: str, spread: Mapping[str, float | None] | None) -> dict[str, float | None]:
    return {f"{name}_{kind}": None if spread is None else spread[kind] for kind in ("mean", "std", "low", "high")}
