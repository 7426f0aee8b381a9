"""Measures the front's latencies again at the end of a run, all in the same turns, and makes notes on latencies.

The first measurements of the front are biased: each was low enough to be on the front. The second are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.evaluation.latencies import Latencies, SubnetModels
from search.objectives import LATENCY, LEAST_REFERENCE
from search.pareto import pareto_front
from search.report.front import main_cost, objectives_of
from search.report.results import Results, Tested
from search.report.summary import CHANGED
from search.run_folder import RunRecord
from search.trials import Evaluated, Metrics, all_evaluated

WIDE = 0.1
"""If quartiles are further apart than this share of a latency, there is a note."""


def remeasured(
    latencies: Latencies, run: RunRecord, results: Results, model_of: SubnetModels
) -> tuple[Results, list[str]]:
    """The results with new latencies of the front and the full model, and notes on latencies.

    The trials stay as they are. The front keeps its members, even if a new latency makes a member dominated. They are
    sorted again.
    """
    measured = latencies.again([tested.evaluated.subnet for tested in results.shown], model_of)

    def renewed(tested: Tested) -> Tested:
        e = tested.evaluated
        return replace(tested, evaluated=replace(e, metrics={**e.metrics, **measured[e.subnet]}))

    cost = main_cost(run.info.objectives)
    front = sorted(map(renewed, results.front), key=lambda tested: -tested.evaluated.metrics[cost])
    results = replace(results, front=front, full=None if results.full is None else renewed(results.full))
    latest = {tested.evaluated.subnet: tested.evaluated for tested in results.shown}
    known = list(({e.subnet: e for e in all_evaluated(run.trials)} | latest).values())
    lines = [_slower(known), _scattered(known), _inexact(latencies.full, measured[latencies.subnet], latencies.drift())]
    return results, [line for line in (*lines, _dominated(run, results)) if line]


def _slower(evaluated: Sequence[Evaluated]) -> str:
    """A warning if a sub-network is slower than another that contains it, beyond their quartiles."""
    pairs = [
        (e, other) for e in evaluated for other in evaluated if _is_slower(e, other) and other.subnet.contains(e.subnet)
    ]
    if not pairs:
        return ""
    e, other = max(pairs, key=lambda pair: pair[0].metrics["latency_share"] - pair[1].metrics["latency_share"])
    count = len({e.subnet for e, _ in pairs})
    return (
        f"warning: sub-networks slower than another that contains them: {count}; for example ({e.subnet}) takes "
        f"{e.metrics['latency_share']:.1%} of the full model's latency, and ({other.subnet}), which contains it, "
        f"{other.metrics['latency_share']:.1%}"
    )


def _is_slower(e: Evaluated, other: Evaluated) -> bool:
    """Whether `e` is slower beyond quartiles. The full model has none, as all shares are of its latency."""
    is_full = other.metrics["latency_share"] == 1
    return e.metrics["latency_low_ms"] > other.metrics["latency_ms" if is_full else "latency_high_ms"]


def _scattered(evaluated: Sequence[Evaluated]) -> str:
    """A note on latencies whose quartiles stayed wide."""
    spreads = [_spread(e.metrics) for e in evaluated if e.metrics["latency_share"] != 1]
    wide = sum(spread > WIDE for spread in spreads)
    if not wide:
        return ""
    return (
        f"note: the quartiles of {wide} of {len(spreads)} latencies are more than {WIDE:.0%} apart, at most "
        f"{max(spreads):.0%}: the machine does other work, so sub-networks with closer latencies may be in the wrong "
        "order"
    )


def _spread(latency: Metrics) -> float:
    """The distance between a latency's quartiles, as a share of it."""
    return (latency["latency_high_ms"] - latency["latency_low_ms"]) / max(latency["latency_ms"], LEAST_REFERENCE)


def _inexact(first: Metrics, last: Metrics, now: float) -> str:
    """A note if the full model's latency, which all milliseconds refer to, was unsteady.

    Args:
        first, last: The full model's latency at the beginning and at the end, which refers to the first.
        now: Its latency at the end as a share of its latency at the beginning.
    """
    if max(_spread(first), _spread(last)) <= WIDE and abs(now - 1) <= CHANGED:
        return ""
    then, at_the_end = _with_quartiles(first, 1.0), _with_quartiles(last, now)
    return (
        f"note: the full model took {then} when the run began and takes {at_the_end} now, as the machine does other "
        "work at times; milliseconds refer to the first value, and shares of the full model are not affected"
    )


def _with_quartiles(latency: Metrics, factor: float) -> str:
    median, low, high = (factor * latency[name] for name in LATENCY[:3])
    return f"{median:.2f} ms (quartiles {low:.2f}-{high:.2f})"


def _dominated(run: RunRecord, results: Results) -> str:
    """A note on members of the front that the new latencies make dominated."""
    kept = pareto_front(objectives_of([tested.evaluated for tested in results.front], run.info.objectives))
    if kept.all():
        return ""
    return (
        f"note: with the new latencies, {(~kept).sum()} of the {len(kept)} sub-networks of the front are dominated by "
        "others; they are still listed"
    )
