"""Trials: what a search has tried and what came out, one JSON line each in trials.jsonl, which is the truth.

Everything else in a run folder is made from that file, and can be made again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from supernet.errors import UserError
from supernet.runs import append_json_line, cut_half_written_line, read_json_lines
from supernet.subnetwork import SubNetwork

Metrics = Mapping[str, float]
"""Values by name: objectives, and what else describes a sub-network (params_share)."""


@dataclass(frozen=True)
class Evaluated:
    """A sub-network and what is known of it."""

    subnet: SubNetwork
    metrics: Metrics

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"subnet": self.subnet.to_json(), "text": str(self.subnet), "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Evaluated:
        """Inverse of `to_json`."""
        return cls(SubNetwork.from_json(row["subnet"]), {name: float(v) for name, v in row["metrics"].items()})


@dataclass(frozen=True)
class Outcome:
    """What came of evaluating a sub-network.

    Attributes:
        metrics: None if it failed.
        failure: Why, in that case.
        free: Other sub-networks whose metrics the same evaluation gave.
        seconds: What evaluating took.
    """

    metrics: Metrics | None
    failure: str | None = None
    free: tuple[Evaluated, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Trial:
    """One sub-network that a search has tried.

    Attributes:
        number: From 0, in the order of asking.
        subnet: What was evaluated.
        outcome: What came of it.
        elapsed: Seconds of search up to the end of this trial, over all sittings of an interrupted search.
    """

    number: int
    subnet: SubNetwork
    outcome: Outcome
    elapsed: float

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """The sub-networks that are known through this trial: its own, unless it failed, and the free ones."""
        own = () if self.outcome.metrics is None else (Evaluated(self.subnet, self.outcome.metrics),)
        return own + self.outcome.free

    def to_json(self) -> dict[str, Any]:
        """As a line of trials.jsonl."""
        o = self.outcome
        metrics = None if o.metrics is None else dict(o.metrics)
        row = {"trial": self.number, "subnet": self.subnet.to_json(), "text": str(self.subnet), "metrics": metrics}
        if o.failure is not None:
            row["failure"] = o.failure
        if o.free:
            row["free"] = [e.to_json() for e in o.free]
        return row | {"seconds": o.seconds, "elapsed": self.elapsed}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Trial:
        """Inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: if the row is not a trial.
        """
        metrics = None if row["metrics"] is None else {name: float(v) for name, v in row["metrics"].items()}
        free = tuple(map(Evaluated.from_json, row.get("free", [])))
        outcome = Outcome(metrics, row.get("failure"), free, row["seconds"])
        return cls(row["trial"], SubNetwork.from_json(row["subnet"]), outcome, row["elapsed"])


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file, in order; none if there is no file.

    Raises:
        UserError: if a line is not the trial that belongs there.
    """
    trials = []
    for number, row in enumerate(read_json_lines(path)):
        try:
            trials.append(Trial.from_json(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}:{number + 1} is no trial ({error!r}); remove the file to start anew") from error
        if trials[-1].number != number:
            raise UserError(f"{path}:{number + 1} is trial {trials[-1].number}, expected {number}; remove the file")
    return trials


class TrialFile:
    """The trials of a run folder: those that are there, and new ones, each on the disk before the next begins.

    Attributes:
        path: Of trials.jsonl. A half-written last line, which a killed process may leave, is removed.
        trials: All trials so far.

    Raises:
        UserError: if what is there are no trials.
    """

    def __init__(self, path: Path) -> None:
        cut_half_written_line(path)
        self.path, self.trials = path, read_trials(path)
        self._started = time.monotonic() - (self.trials[-1].elapsed if self.trials else 0.0)

    def append(self, subnet: SubNetwork, outcome: Outcome) -> Trial:
        """Writes a trial down that has just ended."""
        # Rounded here, so that a trial read from the file equals the one that was written.
        outcome = replace(outcome, seconds=round(outcome.seconds, 4))
        trial = Trial(len(self.trials), subnet, outcome, round(time.monotonic() - self._started, 3))
        append_json_line(self.path, trial.to_json())
        self.trials.append(trial)
        return trial


def not_finite(metrics: Metrics) -> str:
    """What of some metrics is no finite number, for people; nothing if all are."""
    return ", ".join(f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value))


def all_evaluated(trials: Iterable[Trial]) -> list[Evaluated]:
    """Every sub-network that trials made known, each once, in the order in which they did."""
    found: dict[SubNetwork, Evaluated] = {}
    for trial in trials:
        for evaluated in trial.evaluated:
            found.setdefault(evaluated.subnet, evaluated)
    return list(found.values())


def best_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float]) -> Evaluated | None:
    """The sub-network with the least validation error among those within limits, of equal ones the smallest; or None.

    Args:
        evaluated: What there is.
        limits: The most that is allowed, by metric.
    """
    return min(_within(evaluated, limits), key=lambda e: (e.metrics["error"], e.metrics["params_share"]), default=None)


def cheapest_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float], cost: str) -> Evaluated | None:
    """The sub-network of least cost among those within limits, of equal ones the one of least error; or None."""
    return min(_within(evaluated, limits), key=lambda e: (e.metrics[cost], e.metrics["error"]), default=None)


def largest_within(evaluated: Sequence[Evaluated], limits: Mapping[str, float], error: float) -> Evaluated:
    """The sub-network with the most parameters among those within limits and at most so wrong, of equal ones the best.

    Raises:
        ValueError: if there is none.
    """
    as_good = _within(evaluated, {**limits, "error": error})
    return max(as_good, key=lambda e: (e.metrics["params_share"], -e.metrics["error"]))


def _within(evaluated: Sequence[Evaluated], limits: Mapping[str, float]) -> list[Evaluated]:
    return [e for e in evaluated if all(e.metrics[name] <= limit for name, limit in limits.items())]
