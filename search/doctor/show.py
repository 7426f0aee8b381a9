"""What the doctor found, as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.doctor.findings import LEVELS, OK, PROBLEM, UNKNOWN, WARNING, Row
from search.doctor.sizes import Sizes
from search.doctor.sweep import PlannedRun
from search.objectives import OBJECTIVES
from supernet.console.progress import duration

_STYLES = {OK: "green", UNKNOWN: "dim", WARNING: "yellow", PROBLEM: "bold red"}
_SHOWN = {
    "params": "encoder",
    "total_params": "all",
    "flops": "operations",
    "latency_ms": "latency",
    "memory_mb": "memory",
}
"""Costs in the table of sub-networks, and their short headings."""


@dataclass
class Report:
    """What the doctor found.

    Attributes:
        rows: The findings, in order.
        subnets: Sub-networks and their costs, by the name of the training in a sweep.
        runs: The runs that would be started.
    """

    rows: list[Row] = field(default_factory=list)
    subnets: dict[str, list[Sizes]] = field(default_factory=dict)
    runs: list[PlannedRun] = field(default_factory=list)

    @property
    def level(self) -> str:
        """The most serious level."""
        return max((row.finding.level for row in self.rows), key=LEVELS.index, default=OK)

    def json(self) -> str:
        """All of it, for programs."""
        values: dict[str, Any] = {"level": self.level}
        values["checks"] = [{"training": row.training, "check": row.check, **vars(row.finding)} for row in self.rows]
        values["subnets"] = [
            {"training": name, "kind": each.kind, "subnet": each.subnet.to_json(), "share": each.share, **each.costs}
            for name, sizes in self.subnets.items()
            for each in sizes
        ]
        values["runs"] = [
            {"run": run.name, "folder": str(run.folder), "there": run.there, "seconds": run.seconds}
            for run in self.runs
        ]
        return json.dumps(values)


def print_report(console: Console, report: Report) -> None:
    """Prints the tables, and at the end how many problems there are."""
    for training in dict.fromkeys(row.training for row in report.rows):
        rows = [row for row in report.rows if row.training == training]
        console.print(_checks(training, rows), soft_wrap=False)
    for name, sizes in report.subnets.items():
        console.print(_subnets(name, sizes), soft_wrap=False)
    if len(report.runs) > 1:
        console.print(_runs(report.runs), soft_wrap=False)
    counts = {level: sum(row.finding.level == level for row in report.rows) for level in (PROBLEM, WARNING)}
    console.print(", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()))


def _checks(training: str, rows: Sequence[Row]) -> Table:
    table = _table(f"checks: {training}" if training else "checks", "check", "state", "what is so, and what to do")
    previous = ""
    for row in rows:
        finding = row.finding
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n-> {finding.advice}", style="bold" if finding.level in (WARNING, PROBLEM) else "")
        name, state = "" if row.check == previous else row.check, Text(finding.level, _STYLES[finding.level])
        table.add_row(Text(name), state, text)
        previous = row.check
    return table


def _subnets(training: str, sizes: Sequence[Sizes]) -> Table:
    shown = [cost for cost in _SHOWN if all(cost in each.costs for each in sizes)]
    title = f"sub-networks{f': {training}' if training else ''}"
    table = _table(title, "kept", "share", *(_SHOWN[cost] for cost in shown))
    for each in sizes:
        costs = (OBJECTIVES[cost].show(each.costs[cost]) for cost in shown)
        table.add_row(each.kind, f"{each.share:.1%}", *costs)
    return table


def _runs(runs: Sequence[PlannedRun]) -> Table:
    table = _table("runs that would be started", "run", "time", "folder")
    for run in runs:
        time = "trained already" if run.there else "not known" if run.seconds is None else duration(run.seconds)
        table.add_row(Text(run.name), time, Text(run.folder.name))
    return table


def _table(title: str, *headings: str) -> Table:
    """A table that cuts nothing: texts that are too long go on in the next line."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
