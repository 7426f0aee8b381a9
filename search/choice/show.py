"""A choice, for people: its lines, its table, and notes on the run that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from search.choice.choose import Choice, label_of, show_all
from search.objectives import OBJECTIVES, SHARE
from search.options.search import BASELINE, FINETUNE
from search.report.results import Results
from search.report.tables import FULL, Line, notes, show_table, spread_of, table_of
from search.run_folder import RunRecord, remarks, supernet_of
from search.trials import Metrics
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork

OTHER_WEIGHTS = {
    FINETUNE: "this run trained each sub-network alone: its weights are not the supernet's, and it keeps its front's",
    BASELINE: "this is a baseline, which may also change weights; the run keeps those that it changed",
}
"""By mode: a note for runs whose models are not simply parts of the supernet."""


def show_choice(console: Console, run: RunRecord, choice: Choice, results: Results) -> None:
    """Prints a choice and what to compare it with.

    Args:
        console: Where to print.
        run: The run that was chosen from.
        choice: What was chosen.
        results: Results of the end of the run.
    """
    info, chosen, scores = run.info, choice.chosen, results.test_scores
    console.print(f"run {run.folder}: {info.task}, {info.label}, {len(run.trials)} evaluations")
    console.print(f"within {show_all(choice.limits)}:")
    console.print(str(chosen.subnet), style="bold")
    for name in (name for name in chosen.metrics if name in (SHARE, *OBJECTIVES)):
        console.print(f"  {label_of(name):<22}{_shown(name, chosen.metrics)}")
    score = scores.get(chosen.subnet)
    shown = "not known, since it is not on the run's front" if score is None else f"{score:.4f}"
    console.print(f"  {'test ' + info.metric:<22}{shown}")
    for name, below in choice.below_limit.items():
        limit, value = (choice.show_with_share(name, x) for x in (choice.limits[name], chosen.metrics[name]))
        console.print(f"{label_of(name)}: {value} is {below:.1%} below the limit of {limit}")
    show_table(console, table_of(_lines(choice, scores), info, results))
    lines = [choice.explained, info.conditions, OTHER_WEIGHTS.get(info.kind), *notes(results)]
    lines += [f"note: {remark}" for remark in supernet_and_remarks(run)[1]]
    for line in filter(None, lines):
        console.print(line)


def _lines(choice: Choice, scores: Mapping[SubNetwork, float]) -> list[Line]:
    """The chosen sub-network and those to compare it with, each once."""
    lines: dict[SubNetwork, Line] = {}
    for mark, e in (("chosen", choice.chosen), ("largest as good", choice.largest), (FULL, choice.full)):
        if e is not None:
            marks = f"{lines[e.subnet].mark}, {mark}" if e.subnet in lines else mark
            lines[e.subnet] = Line(marks, e, scores.get(e.subnet))
    return list(lines.values())


def _shown(name: str, metrics: Metrics) -> str:
    """A metric. For a measured latency also its spread and its share of the full model's."""
    if name == SHARE:
        return f"{metrics[name]:.1%}"
    more = [f"{title.split()[-1]} {text}" for title, text in spread_of(metrics)] if name == "latency_ms" else []
    return OBJECTIVES[name].show(metrics[name]) + (f" ({', '.join(more)})" if more else "")


def supernet_and_remarks(run: RunRecord) -> tuple[Path, list[str]]:
    """Where the run's supernet is, or was, and remarks on it and on the run."""
    try:
        return supernet_of(run), remarks(run)
    except UserError as error:
        return Path(run.info.supernet), [*remarks(run), str(error)]
