"""The front's latencies once more, at the end of a run and all in the same turns; and what is to be said of latencies.

Of many latencies that were measured those on the front are the lucky ones: measured again they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.latencies import Latencies, SubnetModels
from search.objectives import LATENCY, LEAST_REFERENCE
from search.pareto import pareto_front
from search.report.front import main_cost, objectives_of
from search.report.results import Results, Tested
from search.report.summary import CHANGED
from search.run_folder import RunRecord
from search.trials import Evaluated, Metrics, all_evaluated

WIDE = 0.1
"""Quartiles further apart than this share of a latency are told."""


def remeasured(
    latencies: Latencies, run: RunRecord, results: Results, model_of: SubnetModels
) -> tuple[Results, list[str]]:
    """The results with the front's and the full model's latencies measured again, and what is to be said of latencies.

    The trials stay as they are. So do the members of the front, whether or not the new latencies leave each of them
    undominated; they are put in order again.
    """
    found = latencies.again([tested.evaluated.subnet for tested in results.shown], model_of)

    def renewed(tested: Tested) -> Tested:
        e = tested.evaluated
        return replace(tested, evaluated=replace(e, metrics={**e.metrics, **found[e.subnet]}))

    cost = main_cost(run.info.objectives)
    front = sorted(map(renewed, results.front), key=lambda tested: -tested.evaluated.metrics[cost])
    results = replace(results, front=front, full=None if results.full is None else renewed(results.full))
    latest = {tested.evaluated.subnet: tested.evaluated for tested in results.shown}
    known = list(({e.subnet: e for e in all_evaluated(run.trials)} | latest).values())
    said = [_slower(known), _scattered(known), _inexact(latencies.full, found[latencies.subnet], latencies.drift())]
    return results, [line for line in (*said, _dominated(run, results)) if line]


def _slower(evaluated: Sequence[Evaluated]) -> str:
    """Of sub-networks that are slower than one that contains them, beyond what their quartiles leave open."""
    pairs = [
        (e, other) for e in evaluated for other in evaluated if _is_slower(e, other) and other.subnet.contains(e.subnet)
    ]
    if not pairs:
        return ""
    e, other = max(pairs, key=lambda pair: pair[0].metrics["latency_share"] - pair[1].metrics["latency_share"])
    count = len({e.subnet for e, _ in pairs})
    return (
        f"warning: sub-networks measured slower than one that contains them: {count}; ({e.subnet}) takes "
        f"{e.metrics['latency_share']:.1%} of the full model's latency, and ({other.subnet}), which contains it, "
        f"{other.metrics['latency_share']:.1%}"
    )


def _is_slower(e: Evaluated, other: Evaluated) -> bool:
    """Whether their quartiles leave no doubt; the full model is what all others are shares of, so it has none."""
    is_full = other.metrics["latency_share"] == 1
    return e.metrics["latency_low_ms"] > other.metrics["latency_ms" if is_full else "latency_high_ms"]


def _scattered(evaluated: Sequence[Evaluated]) -> str:
    """Of latencies whose quartiles stayed wide, however often they were measured."""
    spreads = [_spread(e.metrics) for e in evaluated if e.metrics["latency_share"] != 1]
    wide = sum(spread > WIDE for spread in spreads)
    if not wide:
        return ""
    return (
        f"note: the quartiles of {wide} of {len(spreads)} latencies are more than {WIDE:.0%} apart, at most "
        f"{max(spreads):.0%}: the machine does other work, and nets whose latencies are closer than that may be in "
        "another order"
    )


def _spread(latency: Metrics) -> float:
    """How far a latency's quartiles are apart, as a share of it."""
    return (latency["latency_high_ms"] - latency["latency_low_ms"]) / max(latency["latency_ms"], LEAST_REFERENCE)


def _inexact(first: Metrics, last: Metrics, now: float) -> str:
    """Of milliseconds that depend on what else the machine did: they are stated in terms of the full model's.

    Args:
        first, last: The full model's latency at the beginning and at the end, which is stated in terms of the first.
        now: What it takes at the end, as a share of what it took at the beginning.
    """
    if max(_spread(first), _spread(last)) <= WIDE and abs(now - 1) <= CHANGED:
        return ""
    then, at_the_end = _with_quartiles(first, 1.0), _with_quartiles(last, now)
    return (
        f"note: the full model took {then} when the run began, for which all latencies are stated, and takes "
        f"{at_the_end} now: the machine does other work at times; shares of the full model hold all the same"
    )


def _with_quartiles(latency: Metrics, factor: float) -> str:
    median, low, high = (factor * latency[name] for name in LATENCY[:3])
    return f"{median:.2f} ms (quartiles {low:.2f}-{high:.2f})"


def _dominated(run: RunRecord, results: Results) -> str:
    """Of members of the front that are none by the latencies measured again."""
    kept = pareto_front(objectives_of([tested.evaluated for tested in results.front], run.info.objectives))
    if kept.all():
        return ""
    return (
        f"note: {(~kept).sum()} of the {len(kept)} sub-networks of the front are no better than another one by their "
        "latencies measured again; they are listed all the same"
    )
