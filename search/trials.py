"""Trials: the sub-networks that a search has tried and their results, one JSON line each in trials.jsonl.

The front, tables and pictures of a run folder are made from this file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from search.objectives import LIMITS, SHARE
from supernet.evaluation.predictions import Predictions, write_predictions
from supernet.runtime.files import append_json_line, cut_half_written_line
from supernet.runtime.reading import read_lines, unusable
from supernet.runtime.shapes import Amount, Count, Named, WrongValue, shaped
from supernet.space.subnetwork import SubNetwork

WEIGHTS = "weights"
"""Folder, in a run folder, of the weights of trials that are not the supernet's."""

PREDICTIONS = "predictions"
"""Folder, in a run folder, of what sub-networks say of the validation rows."""

STARTS = 3
"""Number of sub-networks that every search begins with: the largest, the smallest and the middle sub-network."""

Metrics = Mapping[str, float]
"""Values by name: objectives, and other numbers of a sub-network (params_share)."""

KnownMetrics = Annotated[dict[str, float], Named(LIMITS, required=("error", SHARE))]
"""Metrics in a file, which somebody may have edited."""


@dataclass(frozen=True)
class Evaluated:
    """A sub-network and its metrics."""

    subnet: SubNetwork
    metrics: Metrics

    def to_json(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"subnet": self.subnet.to_json(), "text": str(self.subnet), "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, row: Any) -> Evaluated:
        """Inverse of `to_json`.

        Raises:
            WrongValue: if it is not that.
        """
        values = shaped(_EvaluatedRow, row)
        return cls(values.subnet, values.metrics)


@dataclass(frozen=True)
class Outcome:
    """The result of evaluating a sub-network.

    Attributes:
        metrics: Its metrics; None if the evaluation failed.
        failure: Why it failed; None if it did not.
        byproducts: Other sub-networks with metrics from the same evaluation: its early exits.
        seconds: Duration of the evaluation.
        predictions: What the sub-network and its byproducts say of the validation rows; empty if that is not kept. Not
            in trials.jsonl: see `TrialFile`.
    """

    metrics: Metrics | None
    failure: str | None = None
    byproducts: tuple[Evaluated, ...] = ()
    seconds: float = 0.0
    predictions: Mapping[SubNetwork, Predictions] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Trial:
    """One sub-network that a search has tried.

    Attributes:
        number: From 0, in the order of asking.
        subnet: What was evaluated.
        outcome: Its result.
        elapsed: Seconds of search up to the end of this trial, over all parts of an interrupted search.
    """

    number: int
    subnet: SubNetwork
    outcome: Outcome
    elapsed: float

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """The sub-networks that this trial evaluated: its own unless it failed, and the byproducts."""
        own = () if self.outcome.metrics is None else (Evaluated(self.subnet, self.outcome.metrics),)
        return own + self.outcome.byproducts

    def to_json(self) -> dict[str, Any]:
        """As a line of trials.jsonl."""
        o = self.outcome
        metrics = None if o.metrics is None else dict(o.metrics)
        row = {"trial": self.number, "subnet": self.subnet.to_json(), "text": str(self.subnet), "metrics": metrics}
        if o.failure is not None:
            row["failure"] = o.failure
        if o.byproducts:
            row["free"] = [e.to_json() for e in o.byproducts]
        return row | {"seconds": o.seconds, "elapsed": self.elapsed}

    @classmethod
    def from_json(cls, row: Any) -> Trial:
        """Inverse of `to_json`.

        Raises:
            WrongValue: if it is not that.
        """
        values = shaped(_TrialRow, row)
        outcome = Outcome(values.metrics, values.failure, tuple(values.free), values.seconds)
        return cls(values.trial, values.subnet, outcome, values.elapsed)


@dataclass(frozen=True)
class _EvaluatedRow:
    """A byproduct in a line of trials.jsonl."""

    subnet: SubNetwork
    metrics: KnownMetrics
    text: str = ""


@dataclass(frozen=True)
class _TrialRow:
    """A line of trials.jsonl."""

    trial: Count
    subnet: SubNetwork
    metrics: KnownMetrics | None
    seconds: Amount
    elapsed: Amount
    text: str = ""
    failure: str | None = None
    free: list[Evaluated] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.metrics is None and self.failure is None:
            raise WrongValue("metrics is null, and there is no failure that says why")


Wrong = Callable[[SubNetwork], str | None]
"""Why a sub-network is wrong, for people; None if it is right."""


def read_trials(path: Path, *, required: Sequence[str] = (), wrong: Wrong | None = None) -> list[Trial]:
    """Reads the trials of a file, in order; an empty list if there is no file.

    Args:
        path: Of trials.jsonl.
        required: Metrics that each sub-network must have, besides the error and the share of parameters.
        wrong: Returns why a sub-network cannot belong to this run.

    Raises:
        UserError: if a line is not the next trial.
    """
    advice = "remove the file to start again"
    trials = list(read_lines(path, Trial, advice))
    elapsed = 0.0
    for number, trial in enumerate(trials):
        with unusable(f"{path}:{number + 1}", advice):
            if trial.number != number:
                raise WrongValue.at("trial", trial.number, f"{number}, as trials are in order, each once")
            if trial.elapsed < elapsed:
                raise WrongValue.at("elapsed", trial.elapsed, f"{elapsed} or more, as in the line before")
            elapsed = trial.elapsed
            _check(trial, required, wrong)
    return trials


def _check(trial: Trial, required: Sequence[str], wrong: Wrong | None) -> None:
    """Raises WrongValue if a trial lacks a metric, or if a sub-network cannot belong to the run."""
    for evaluated in trial.evaluated:
        Named({}, tuple(required)).check(evaluated.metrics, "metrics")
    for subnet in (trial.subnet, *(byproduct.subnet for byproduct in trial.outcome.byproducts)):
        if wrong is not None and (why := wrong(subnet)) is not None:
            raise WrongValue(f"sub-network ({subnet}) does not belong to this run: {why}")


def weights_file(folder: Path, number: int) -> Path:
    """The file of a trial's weights in a run folder, for trials that have their own."""
    return folder / WEIGHTS / f"{number}.safetensors"


def predictions_file(folder: Path, number: int | None) -> Path:
    """The file of what the sub-networks of a trial say of each validation row, in the order of `Trial.evaluated`.

    None stands for the full model, if no trial evaluated it.
    """
    return folder / PREDICTIONS / f"{'full' if number is None else number}.npz"


class TrialFile:
    """The trials of a run folder, earlier and new. Each is on the disk before the next begins.

    What its sub-networks say of the validation rows is in a file of its own (`predictions_file`), written before the
    trial is in trials.jsonl. Trials of older versions have no such file.

    Args:
        path: Of trials.jsonl. A half-written last line, which a killed process may leave, is removed.
        required, wrong: As in `read_trials`.
        labels: Of the validation rows, kept beside predictions; None if there will be no predictions.

    Attributes:
        path: Of trials.jsonl.
        trials: All trials so far, without predictions.

    Raises:
        UserError: if the file holds anything but trials of this run; see `read_trials`.
    """

    def __init__(
        self,
        path: Path,
        *,
        required: Sequence[str] = (),
        wrong: Wrong | None = None,
        labels: np.ndarray | None = None,
    ) -> None:
        self.trials = read_trials(path, required=required, wrong=wrong)
        self.path, self._labels = path, labels
        cut_half_written_line(path)
        self._started = time.monotonic() - (self.trials[-1].elapsed if self.trials else 0.0)

    def append(self, subnet: SubNetwork, outcome: Outcome) -> Trial:
        """Writes a trial that has just ended."""
        # Rounded here, so that a trial read from the file equals the one that was written.
        predictions, outcome = outcome.predictions, replace(outcome, seconds=round(outcome.seconds, 4), predictions={})
        trial = Trial(len(self.trials), subnet, outcome, round(time.monotonic() - self._started, 3))
        if self._labels is not None and predictions:
            path = predictions_file(self.path.parent, trial.number)
            write_predictions(path, [predictions[e.subnet] for e in trial.evaluated], self._labels)
        append_json_line(self.path, trial.to_json())
        self.trials.append(trial)
        return trial


def not_finite(metrics: Metrics) -> str:
    """Which metrics are not finite, for people; empty if all are finite."""
    return ", ".join(f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value))


def all_evaluated(trials: Iterable[Trial]) -> list[Evaluated]:
    """Every sub-network that trials evaluated, once each, in order of the first evaluation."""
    first: dict[SubNetwork, Evaluated] = {}
    for trial in trials:
        for evaluated in trial.evaluated:
            first.setdefault(evaluated.subnet, evaluated)
    return list(first.values())


def best_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float]) -> Evaluated | None:
    """The sub-network with the least validation error within limits, the smallest if several are equal; or None.

    Args:
        evaluated: The candidates.
        limits: Upper bounds by metric.
    """
    return min(
        all_within(evaluated, limits), key=lambda e: (e.metrics["error"], e.metrics["params_share"]), default=None
    )


def cheapest_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float], cost: str) -> Evaluated | None:
    """The sub-network of least cost within limits, of several equal the one with the least error; or None."""
    return min(all_within(evaluated, limits), key=lambda e: (e.metrics[cost], e.metrics["error"]), default=None)


def all_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float]) -> list[Evaluated]:
    """The sub-networks within limits."""
    return [e for e in evaluated if all(e.metrics[name] <= limit for name, limit in limits.items())]
