"""Chooses the sub-network of a run for a budget, and says which others are as good. Test rows choose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search.choice.answers import Answers, read_answers
from search.choice.confidence import Interval, Sureness, against, how_sure
from search.objectives import OBJECTIVES, SHARE
from search.options.limits import parse_limit
from search.options.search import SEARCH
from search.report.front import main_cost
from search.report.results import Results, read_results
from search.run_folder import RunRecord
from search.trials import Evaluated, all_evaluated, all_within, best_within, cheapest_within
from supernet.runtime.errors import UserError
from supernet.space.ranked import read_ranking


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is known of the sub-networks within the limits.

    Attributes:
        within: The sub-networks, one or more.
        answers: What they say of each validation row; empty if the run does not keep that.
        sure: Which of them may be the best; None if the answers of one of them are not known.
    """

    within: Sequence[Evaluated]
    answers: Answers
    sure: Sureness | None


@dataclass(frozen=True, eq=False)
class Choice:
    """The sub-network chosen for a budget.

    Attributes:
        chosen: The sub-network.
        limits: Upper bounds by metric.
        full: The full model; None if the run does not know it.
        cost: The metric that is as small as can be within the limits; None if that is the error.
        known: What is known of the sub-networks within the limits.
        noise: The standard error of the chosen sub-network's error (`standard_error`).
        against_full: How much larger its error is than the full model's; None if it is the full model, or if the
            answers of the two are not known.
        finalists: Those worth training alone before the last decision, the chosen one first (`finalists`).
    """

    chosen: Evaluated
    limits: dict[str, float]
    full: Evaluated | None
    cost: str | None
    known: Candidates
    noise: float
    against_full: Interval | None
    finalists: Sequence[Evaluated]

    @property
    def below_limit(self) -> dict[str, float]:
        """How far below each limit the choice lies, as a share of the limit."""
        return {n: 1 - self.chosen.metrics[n] / limit if limit else 0.0 for n, limit in self.limits.items()}

    @property
    def alike(self) -> Sequence[Evaluated]:
        """The sub-networks within the limits that are as good.

        Those that may be the best by what they say of each row. If that is not known, those whose error on validation
        rows is at most one standard error larger than that of the chosen sub-network.
        """
        if self.known.sure is not None:
            return self.known.sure.alike
        return all_within(self.known.within, {"error": self.chosen.metrics["error"] + self.noise})

    @property
    def largest(self) -> Evaluated:
        """The one of them with the most parameters; of several equal, the best."""
        return max(self.alike, key=lambda e: (e.metrics[SHARE], -e.metrics["error"]))

    @property
    def smallest(self) -> Evaluated:
        """The one of them with the fewest parameters; of several equal, the best."""
        return min(self.alike, key=lambda e: (e.metrics[SHARE], e.metrics["error"]))

    @property
    def as_good(self) -> float:
        """The largest error on validation rows that is as good."""
        if self.known.sure is not None:
            return max(e.metrics["error"] for e in self.alike)
        return min(self.chosen.metrics["error"] + self.noise, self.limits.get("error", math.inf))

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
        UserError: if the run does not know a limited metric, if no sub-network is within the limits (then it names the
            nearest), or if predictions that the run keeps cannot be read.
    """
    results = read_results(run) if results is None else results
    evaluated = results.final(_measured_whole(all_evaluated(run.trials)))
    if not evaluated:
        raise UserError(f"{run.folder} holds no result yet; name another run with run=FOLDER")
    full = next((e for e in evaluated if e.metrics["params_share"] == 1), None)
    if full is None and results.full is not None:
        full = results.full.evaluated
    limits = {name: _limit(run, full, name, text) for name, text in budgets.items()}
    cost = None
    if max_error_increase is not None:
        limits["error"] = _error_of(run, full) + max_error_increase
        cost = main_cost(run.info.objectives)
    within, metric = all_within(evaluated, limits), run.info.metric
    if not within:
        nearest = min(evaluated, key=lambda e: _excess(e, limits))
        raise UserError(
            f"none of the {len(evaluated)} sub-networks of {run.folder} is within {show_all(limits)}; the nearest has "
            f"{show_all({n: nearest.metrics[n] for n in ('error', *limits)})} ({nearest.subnet}); allow or search more"
        )
    answers = read_answers(run, within if full is None else [*within, full])
    known = Candidates(within, answers, how_sure(within, answers, metric))
    chosen = preferred(known, cost)
    noise = standard_error(chosen.metrics["error"], metric, results.validation_rows)
    compared = None if full is None or full.subnet == chosen.subnet else against(chosen, full, answers, metric)
    choice = Choice(chosen, limits, full, cost, known, noise, compared, [chosen])
    if run.info.kind != SEARCH:
        return choice
    if cost is None:
        return replace(choice, finalists=finalists(run, choice))
    nearly = all_within(evaluated, limits | {"error": limits["error"] + (max_error_increase or 0)})
    return replace(choice, finalists=cheaper_finalists(choice, nearly))


def finalists(run: RunRecord, choice: Choice) -> list[Evaluated]:
    """The chosen sub-network, the largest that is as good, and the largest that pruning alone gives, each once.

    The least of many errors on the same rows is flattered by chance. And what pruning gives was never trained as it is,
    so training it helps more. Which is the best can be told after each was trained alone.
    """
    ranking = None if run.info.sizes is None else read_ranking(run.folder, run.info.sizes)
    steps = set() if ranking is None or run.info.sizes is None else set(ranking.subnets(run.info.sizes))
    pruned = [e for e in choice.known.within if e.subnet in steps]
    largest = [max(group, key=lambda e: e.metrics[SHARE]) for group in (choice.alike, pruned) if group]
    return _each_once([choice.chosen, *largest])


def cheaper_finalists(choice: Choice, nearly: Sequence[Evaluated]) -> list[Evaluated]:
    """The chosen sub-network, and the most accurate and the cheapest of the cheaper ones, each once.

    Training alone may bring a sub-network below the limit of the error.

    Args:
        choice: The cheapest sub-network within the limits.
        nearly: Those within the limits if the error may be larger by twice the increase that is allowed.
    """
    assert choice.cost is not None
    cost, most = choice.cost, choice.chosen.metrics[choice.cost]
    cheaper = [e for e in nearly if e.metrics[cost] < most]
    by_error = sorted(cheaper, key=lambda e: (e.metrics["error"], e.metrics[cost]))
    by_cost = sorted(cheaper, key=lambda e: (e.metrics[cost], e.metrics["error"]))
    return _each_once([choice.chosen, *by_error[:1], *by_cost[:1]])


def _each_once(evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    return list({e.subnet: e for e in evaluated}.values())


def preferred(known: Candidates, cost: str | None) -> Evaluated:
    """The rule: the most accurate of the candidates; with a cost, the cheapest."""
    chosen = best_within(known.within, {}) if cost is None else cheapest_within(known.within, {}, cost)
    assert chosen is not None
    return chosen


def _error_of(run: RunRecord, full: Evaluated | None) -> float:
    """The full model's error, which max_error_increase refers to."""
    if full is None:
        raise UserError(f"{run.folder} has not evaluated the full model, which max_error_increase refers to")
    if full.metrics.get("stopped"):
        raise UserError(
            f"in {run.folder} the training of the full model, which max_error_increase refers to, was stopped early; "
            "give a limit such as max_params=0.5"
        )
    return full.metrics["error"]


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
