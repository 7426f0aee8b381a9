"""A report on many runs as plain values (`values.Report`), which report.json, the page, tables and pictures show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.objectives import OBJECTIVES, QUALITY
from search.options.search import BASELINE
from search.report.chart import axis_of
from search.report.front import (
    NORMALISATION,
    HypervolumeCurve,
    curve_of,
    failed_trials,
    front_of,
    hypervolume_of,
    main_cost,
)
from search.report.results import Results, read_results, trivial_predictor
from search.report.values import (
    BudgetErrors,
    Errors,
    MeanCurve,
    Point,
    Report,
    RunValues,
    Series,
    Spread,
    TrivialPredictor,
    Unit,
)
from search.run_folder import RunInfo, RunRecord, remarks
from search.trials import STARTS, Evaluated, Metrics, all_evaluated, best_within
from supernet.space.subnetwork import SubNetwork

BUDGETS = (0.75, 0.5, 0.25)
"""Default shares of the full model's cost for which the best error is given."""

SPREAD = (
    "a line is the mean over the runs of a series, up to the end of its shortest run; a band goes from the lowest run "
    "to the highest"
)


CHANGED = 0.25
"""If the full model takes more than this share longer at one moment than at another, there is a note."""

_MILLISECONDS = ("latency_ms", "latency_low_ms", "latency_high_ms")
_HOW_SHOWN: dict[str, Unit] = {
    "params_share": Unit(label="encoder share", unit="%", scale=0.01, digits=1),
    **{n: Unit(label=o.label, unit=o.unit, scale=o.scale, digits=o.digits) for n, o in OBJECTIVES.items()},
    "latency_low_ms": Unit(label="latency, lower quartile", unit="ms", scale=1.0, digits=2),
    "latency_high_ms": Unit(label="latency, upper quartile", unit="ms", scale=1.0, digits=2),
    "latency_share": Unit(label="latency share", unit="%", scale=0.01, digits=1),
}
"""Labels of metrics on the page, and the units in which it shows them."""


def report_of(
    all_series: Mapping[str, Sequence[RunRecord]], *, title: str | None = None, budgets: Sequence[float] = BUDGETS
) -> Report:
    """A report on comparable runs as plain values, which report.json holds and report.html embeds.

    Args:
        all_series: Runs by the name of their series.
        title: None makes a title.
        budgets: Shares of the full model's cost for which the best error is given.
    """
    info = next(iter(all_series.values()))[0].info
    axes = {name: axis_of(name, info) for name in info.objectives}
    results = {run.folder: read_results(run) for runs in all_series.values() for run in runs}
    whole_ms = _common_latency(all_series)
    return {
        "title": title or f"{info.task}: {info.model}, {' x '.join(info.objectives)}",
        "task": info.task,
        "metric": info.metric,
        "model": info.model,
        "objectives": info.objectives,
        "cost": main_cost(info.objectives),
        "costs": [name for name in info.objectives if name not in QUALITY],
        "conditions": info.conditions,
        "budgets": list(budgets),
        "majority": _majority(info, results.values(), budgets),
        "normalisation": NORMALISATION,
        "spread": SPREAD,
        "notes": [*notes_on(all_series), *_notes_on_full_models(all_series, results)],
        "axes": {name: {"title": axis.title, "scale": axis.scale} for name, axis in axes.items()},
        "shown": _HOW_SHOWN,
        "groups": [_series(name, runs, results, budgets, whole_ms) for name, runs in all_series.items()],
    }


def _common_latency(all_series: Mapping[str, Sequence[RunRecord]]) -> float | None:
    """The median of the full model's latencies at the beginning of the runs; None if no run measured latency."""
    latencies = _latencies_of_full_models(all_series)
    return float(np.median(latencies)) if latencies else None


def _latencies_of_full_models(all_series: Mapping[str, Sequence[RunRecord]]) -> list[float]:
    infos = [run.info for runs in all_series.values() for run in runs]
    return [info.reference["latency_ms"] for info in infos if "latency_share" in info.reference]


def _in_terms_of(whole_ms: float | None, metrics: Metrics, reference: Metrics) -> dict[str, float]:
    """Metrics whose milliseconds are restated for a full model of `whole_ms` instead of the run's own."""
    if whole_ms is None or "latency_share" not in reference:
        return dict(metrics)
    factor = whole_ms / reference["latency_ms"]
    return {name: value * factor if name in _MILLISECONDS else value for name, value in metrics.items()}


def notes_on(all_series: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """Notes for a reader of the figures, a sentence each."""
    of_runs = [f"{run.folder}: {remark}" for runs in all_series.values() for run in runs for remark in remarks(run)]
    no_chance = [note for name, runs in all_series.items() for note in _without_chance(name, runs)]
    return [*of_runs, *no_chance, *_of_other_moments(all_series)]


def _of_other_moments(all_series: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """A note if the full model was much faster in some runs: milliseconds of different runs cannot be compared then."""
    latencies = _latencies_of_full_models(all_series)
    if not latencies or max(latencies) <= (1 + CHANGED) * min(latencies):
        return []
    return [
        f"the full model took {min(latencies):.2f} to {max(latencies):.2f} ms when these runs began; all latencies are "
        f"restated for a full model of {np.median(latencies):.2f} ms"
    ]


def _notes_on_full_models(all_series: Mapping[str, Sequence[RunRecord]], results: Mapping[Path, Results]) -> list[str]:
    """Notes on series that have no full model of their own."""
    names = [name for name, runs in all_series.items() if any(results[run.folder].full_is_supernets for run in runs)]
    return [f"series '{name}' did not evaluate the full model; the supernet's is shown" for name in names]


def _without_chance(name: str, runs: Sequence[RunRecord]) -> list[str]:
    """Notes on runs of a series that have different seeds and the same trials, beyond the fixed first trials."""
    length = min(len(run.trials) for run in runs)
    if length <= STARTS:
        return []
    alike: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in runs:
        trials = ((t.subnet, t.outcome.metrics and t.outcome.metrics["error"]) for t in run.trials[:length])
        alike.setdefault(tuple(trials), []).append(run)
    return [
        f"the seed had no influence on {len(same)} runs of series '{name}', whose {length} trials are the same: "
        f"{', '.join(f'{run.folder.name} (seed {run.info.seed})' for run in same)}; their spread does not show chance"
        for same in alike.values()
        if len({run.info.seed for run in same}) > 1
    ]


def mean_curve(x_r: Sequence[Sequence[float]], y_r: Sequence[Sequence[float]]) -> MeanCurve:
    """Mean and range of step functions, from the first step of any to the last step of the shortest.

    Args:
        x_r: The steps of each of r functions, ascending.
        y_r: The value from each step on; a function is 0 before its first step.

    Returns:
        x, mean, low and high, lists of the same length.
    """
    end = min(x[-1] for x in x_r)
    x_n = np.unique(np.concatenate([np.asarray(x, dtype=float) for x in x_r]))
    x_n = x_n[x_n <= end]
    y_rn = np.array([np.append(0.0, y)[np.searchsorted(x, x_n, side="right")] for x, y in zip(x_r, y_r, strict=True)])
    mean_n, low_n, high_n = y_rn.mean(axis=0), y_rn.min(axis=0), y_rn.max(axis=0)
    return MeanCurve(x=x_n.tolist(), mean=mean_n.tolist(), low=low_n.tolist(), high=high_n.tolist())


def _series(
    name: str,
    runs: Sequence[RunRecord],
    results: Mapping[Path, Results],
    budgets: Sequence[float],
    whole_ms: float | None,
) -> Series:
    curves, rows = [curve_of(run) for run in runs], [_run(run, results[run.folder], budgets, whole_ms) for run in runs]
    return {
        "name": name,
        "kind": runs[0].info.kind,
        "hypervolume": _spread([row["hypervolume"] for row in rows]),
        "full": _errors([row["full"] for row in rows]),
        "budgets": [_within(share, [row["budgets"][i] for row in rows]) for i, share in enumerate(budgets)],
        "curves": {} if runs[0].info.kind == BASELINE else _curves(curves),
        "runs": rows,
    }


def _majority(info: RunInfo, results: Iterable[Results], budgets: Sequence[float]) -> TrivialPredictor:
    """The trivial predictor as a series. It costs nothing, so it is within every budget."""
    test = next((r.majority_score for r in results if r.majority_score is not None), None)
    return {
        "name": trivial_predictor(info),
        "kind": "",
        "runs": [],
        "error": info.majority_error,
        "test": test,
        "hypervolume": None,
        "full": _errors([None]),
        "budgets": [_within(share, [{"error": info.majority_error, "test": test}]) for share in budgets],
    }


def _curves(curves: Sequence[HypervolumeCurve]) -> dict[str, MeanCurve]:
    y_r = [curve.hypervolume for curve in curves]
    return {
        "evaluations": mean_curve([range(1, len(y) + 1) for y in y_r], y_r),
        "seconds": mean_curve([curve.seconds for curve in curves], y_r),
    }


def _run(run: RunRecord, results: Results, budgets: Sequence[float], whole_ms: float | None) -> RunValues:
    info, scores, cost = run.info, results.test_scores, main_cost(run.info.objectives)
    front = {e.subnet for e in front_of(run)}
    evaluated = results.final(all_evaluated(run.trials))
    full = _full_model(evaluated, results)
    best = [best_within(evaluated, {cost: share * info.reference[cost]}) for share in budgets]

    def stated(e: Evaluated) -> dict[str, float]:
        return _in_terms_of(whole_ms, e.metrics, info.reference)

    def point(e: Evaluated, *, tried: bool) -> Point:
        return {
            "text": str(e.subnet),
            "layers": _counts(e.subnet),
            "metrics": stated(e),
            "tried": tried,
            "front": e.subnet in front,
            "full": full is not None and e.subnet == full.subnet,
            "test": scores.get(e.subnet),
        }

    def with_test(e: Evaluated | None) -> dict[str, Any] | None:
        return None if e is None else {**stated(e), "test": scores.get(e.subnet)}

    points = [point(e, tried=True) for e in evaluated]
    if full is not None and not any(p["full"] for p in points):
        points.append(point(full, tried=False))
    return {
        "folder": run.folder.name,
        "seed": info.seed,
        "evaluations": len(run.trials),
        "failed": failed_trials(run),
        "reference": _in_terms_of(whole_ms, info.reference, info.reference),
        "hypervolume": hypervolume_of(all_evaluated(run.trials), info),
        "full": with_test(full),
        "full_is_supernets": results.full_is_supernets,
        "budgets": [with_test(e) for e in best],
        "points": points,
    }


def _full_model(evaluated: Sequence[Evaluated], results: Results) -> Evaluated | None:
    """The full model with the metrics of the end of the run; before the end, with those of a trial."""
    if results.full is not None:
        return results.full.evaluated
    return next((e for e in evaluated if e.metrics["params_share"] == 1), None)


def _counts(subnet: SubNetwork) -> list[list[int]]:
    """[index, heads, units] of each layer. Without the heads and units themselves: there can be thousands."""
    return [[layer.index, len(layer.heads), len(layer.units)] for layer in subnet.layers]


def _spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation (of a sample, so None for a single value), lowest and highest."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "low": min(values), "high": max(values)}


def _within(share: float, best_r: Sequence[Mapping[str, Any] | None]) -> BudgetErrors:
    errors = _errors(best_r)
    return {"share": share, "error": errors["error"], "test": errors["test"]}


def _errors(best_r: Sequence[Mapping[str, Any] | None]) -> Errors:
    """Error and test metric of one sub-network of each run of a series; None unless every run has it."""
    known = [b for b in best_r if b is not None]
    complete = len(known) == len(best_r)
    tested = [b["test"] for b in known if b["test"] is not None]
    return {
        "error": _spread([b["error"] for b in known]) if complete else None,
        "test": _spread(tested) if complete and len(tested) == len(best_r) else None,
    }
