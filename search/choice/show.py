"""A choice, for people: its lines, its table, and notes on the run that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from search.choice.choose import Choice, label_of, show_all
from search.choice.confidence import CONFIDENCE
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
    lines = [
        how_sure_it_is(choice),
        beside_full(choice),
        info.conditions,
        OTHER_WEIGHTS.get(info.kind),
        *notes(results),
    ]
    lines += [f"note: {remark}" for remark in supernet_and_remarks(run)[1]]
    for line in filter(None, lines):
        console.print(line)


def how_sure_it_is(choice: Choice) -> str:
    """Which sub-networks within the limits are as good as the best one, in words."""
    sure, within, chosen = choice.known.sure, len(choice.known.within), choice.chosen
    if sure is None:
        return _by_standard_error(choice)
    rows, share = f"on these {sure.rows} rows ({CONFIDENCE:.0%})", f"in {sure.best[chosen.subnet]:.0%} of resamples"
    if within == 1:
        return "no other sub-network is within the limits"
    if list(sure.alike) == [chosen]:
        return f"the chosen one is better than all other {within - 1} within the limits {rows}, and the best {share}"
    low, high = choice.smallest.metrics[SHARE], choice.largest.metrics[SHARE]
    many = f"{len(sure.alike)} of the {within} sub-networks within the limits"
    said = f"{many} cannot be told apart {rows}: {low:.1%} to {high:.1%} of the encoder"
    if chosen in sure.alike:
        return f"{said}; the chosen one is the best {share}"
    if len(sure.alike) == 1:
        said = f"the best of the {within} sub-networks within the limits {rows} has {low:.1%} of the encoder"
    return f"{said}; the chosen one, the cheapest, is less accurate"


def _by_standard_error(choice: Choice) -> str:
    """The same by the standard error, if the answers of some sub-networks are not known."""
    within, error = choice.known.within, choice.chosen.metrics["error"]
    kept = sum(e.subnet in choice.known.answers.of for e in within)
    plus = f", one standard error ({choice.noise:.4f}) above the chosen" if choice.noise else ""
    plus = ", the limit" if choice.as_good < error + choice.noise else plus
    what = f"a validation error of at most {choice.as_good:.4f}{plus}"
    larger = choice.largest.subnet != choice.chosen.subnet
    said = f"as good: {what}" if larger else f"no larger sub-network within the limits is as good: {what}"
    return (
        f"{said}; sub-networks cannot be compared row by row, since the run keeps the answers of {kept} of the "
        f"{len(within)} within the limits (evaluator=finetune, evaluator.stop_confidence and older versions keep none)"
    )


def beside_full(choice: Choice) -> str | None:
    """The difference of the chosen sub-network's error from the full model's, in words."""
    between = choice.against_full
    if between is None:
        return None
    value, low, high = (100 * x for x in (between.value, between.low, between.high))
    return f"validation error against the full model: {value:+.1f} points ({CONFIDENCE:.0%}: {low:+.1f} to {high:+.1f})"


def _lines(choice: Choice, scores: Mapping[SubNetwork, float]) -> list[Line]:
    """The chosen sub-network and those to compare it with, each once."""
    lines: dict[SubNetwork, Line] = {}
    others = (("smallest as good", choice.smallest), ("largest as good", choice.largest), (FULL, choice.full))
    for mark, e in (("chosen", choice.chosen), *others):
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
