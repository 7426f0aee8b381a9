"""Chooses the sub-network of a run for a budget, and the largest that is as good. Test rows choose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.objectives import OBJECTIVES, SHARE
from search.options.limits import parse_limit
from search.report.front import main_cost
from search.report.results import Results, read_results
from search.run_folder import RunRecord
from search.trials import Evaluated, all_evaluated, best_within, cheapest_within, largest_within
from supernet.runtime.errors import UserError


@dataclass(frozen=True)
class Choice:
    """The sub-network chosen for a budget.

    Attributes:
        chosen: The sub-network.
        limits: Upper bounds by metric.
        full: The full model; None if the run does not know it.
        largest: The sub-network with the most parameters among those within the limits that are as good as the chosen
            sub-network. It may be the chosen sub-network itself. As good means that the error on validation rows is at
            most one standard error larger.
        noise: That standard error (`standard_error`).
    """

    chosen: Evaluated
    limits: dict[str, float]
    full: Evaluated | None
    largest: Evaluated
    noise: float

    @property
    def below_limit(self) -> dict[str, float]:
        """How far below each limit the choice lies, as a share of the limit."""
        return {n: 1 - self.chosen.metrics[n] / limit if limit else 0.0 for n, limit in self.limits.items()}

    @property
    def as_good(self) -> float:
        """The largest error on validation rows that is as good as the chosen sub-network's."""
        return min(self.chosen.metrics["error"] + self.noise, self.limits.get("error", math.inf))

    @property
    def explained(self) -> str:
        """Which larger sub-networks are as good, in words."""
        plus = f", one standard error ({self.noise:.4f}) above the chosen" if self.noise else ""
        plus = ", the limit" if self.as_good < self.chosen.metrics["error"] + self.noise else plus
        what = f"a validation error of at most {self.as_good:.4f}{plus}"
        if self.largest.subnet == self.chosen.subnet:
            return f"no larger sub-network within the limits is as good: {what}"
        return f"as good: {what}"

    def show_with_share(self, name: str, value: float) -> str:
        """A metric, and its share of the full model's if that is known."""
        whole = None if self.full is None or name == "error" else self.full.metrics.get(name)
        return OBJECTIVES[name].show(value) + (f" ({value / whole:.1%} of the full model's)" if whole else "")


def choose(
    run: RunRecord,
    budgets: Mapping[str, str],
    max_error_increase: float | None = None,
    *,
    results: Results | None = None,
) -> Choice:
    """The sub-network for a budget: the most accurate, or with `max_error_increase` the cheapest.

    Args:
        run: The run to choose from.
        budgets: Limits by the name of the cost; see `parse_limit`.
        max_error_increase: How much the validation error may exceed the full model's.
        results: Results of the end of the run; None reads them.

    Raises:
        UserError: if the run does not know a limited metric, or if no sub-network is within the limits; then it names
            the nearest.
    """
    results = read_results(run) if results is None else results
    evaluated = results.final(_measured_whole(all_evaluated(run.trials)))
    if not evaluated:
        raise UserError(f"{run.folder} holds no result yet; name another run with run=FOLDER")
    full = next((e for e in evaluated if e.metrics["params_share"] == 1), None)
    if full is None and results.full is not None:
        full = results.full.evaluated
    limits = {name: _limit(run, full, name, text) for name, text in budgets.items()}
    if max_error_increase is not None:
        if full is None:
            raise UserError(f"{run.folder} has not evaluated the full model, which max_error_increase refers to")
        if full.metrics.get("stopped"):
            raise UserError(
                f"in {run.folder} the training of the full model, which max_error_increase refers to, was stopped "
                "early; give a limit such as max_params=0.5"
            )
        limits["error"] = full.metrics["error"] + max_error_increase
        chosen = cheapest_within(evaluated, limits, main_cost(run.info.objectives))
    else:
        chosen = best_within(evaluated, limits)
    if chosen is None:
        nearest = min(evaluated, key=lambda e: _excess(e, limits))
        raise UserError(
            f"none of the {len(evaluated)} sub-networks of {run.folder} is within {show_all(limits)}; the nearest has "
            f"{show_all({n: nearest.metrics[n] for n in ('error', *limits)})} ({nearest.subnet}); allow or search more"
        )
    noise = standard_error(chosen.metrics["error"], run.info.metric, results.validation_rows)
    return Choice(chosen, limits, full, largest_within(evaluated, limits, chosen.metrics["error"] + noise), noise)


def standard_error(error: float, metric: str, rows: int | None) -> float:
    """The standard error of an error that is a mean over `rows`; 0 for other metrics, or if `rows` is not known."""
    if metric != "accuracy" or rows is None:
        return 0.0
    return math.sqrt(max(0.0, error * (1 - error)) / rows)


def _measured_whole(evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """Leaves out early-stopped evaluations: they are dominated, but perhaps not in the metrics that are limited."""
    rows = max((e.metrics.get("rows", 0) for e in evaluated), default=0)
    return [e for e in evaluated if e.metrics.get("rows", 0) == rows]


def _limit(run: RunRecord, full: Evaluated | None, name: str, text: str) -> float:
    known = sorted(set.intersection(*(set(e.metrics) for e in all_evaluated(run.trials))) & set(OBJECTIVES))
    if name not in known:
        raise UserError(
            f"max_{name}: {run.folder} does not know {name}, only {', '.join(known)}; search with it "
            "among the objectives"
        )
    value, is_share = parse_limit(name, text)
    if not is_share:
        return value
    whole = run.info.reference.get(name, None if full is None else full.metrics.get(name))
    if whole is None:
        raise UserError(f"max_{name}={text}: {run.folder} does not know the full model's {name}; give a number above 1")
    return value * whole


def _excess(e: Evaluated, limits: Mapping[str, float]) -> float:
    """The sum of the excesses over the limits, each as a share of its limit."""
    return sum(max(0.0, e.metrics[name] - limit) / max(limit, 1e-9) for name, limit in limits.items())


def label_of(name: str) -> str:
    """The label of a metric."""
    return "encoder share" if name == SHARE else OBJECTIVES[name].label


def show_all(values: Mapping[str, float]) -> str:
    """Metrics for people."""
    return ", ".join(f"{label_of(name)} {OBJECTIVES[name].show(value)}" for name, value in values.items())
