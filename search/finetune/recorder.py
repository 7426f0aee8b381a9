"""What is written down of trials that train, and what a scheduler is told of them, now and when a search goes on."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, cast

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler, TrialSuggestion

from search.finetune.moasha import REPORTS
from search.finetune.trial import WEIGHTS_FILE, read_seen
from search.finetune.workers import Workers, decoded
from search.loop import MAX_FAILURES
from search.pareto import pareto_front
from search.trials import Metrics, Outcome, TrialFile, not_finite
from search.trials import Trial as Finished
from supernet.runtime.files import append_json_line, cut_half_written_line, remove_leftovers
from supernet.runtime.reading import read_lines
from supernet.runtime.shapes import Amount, WrongValue, shaped
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork


class Recorder(TrialScheduler):
    """Passes on what a scheduler and its trials tell each other, and writes down what comes of each trial.

    A trial that ends is a line of trials.jsonl, whether it was trained to the end, stopped or failed; the weights of
    those that no other dominates are kept, and the full model's. Each report is a line of epochs.jsonl, from which a
    scheduler that stops trials can learn again what it knew.

    Args:
        scheduler: Proposes, and stops trials early if it is one that does.
        space: Where the sub-networks come from.
        file: Of the trials; those that are there are told to the scheduler.
        backend: Runs the processes.
        objectives: Names of what the scheduler is told.
        costs: What is known of a sub-network without training it.
        max_trials: Trials in all.
        reports: Of a trial that is not stopped.
        on_trial: Called after each trial, those from the file too.

    Attributes:
        gave_up: Whether `MAX_FAILURES` trials in a row failed. Those that were running then may still have succeeded.
        last_failure: What the last failed trial said.
    """

    def __init__(
        self,
        scheduler: TrialScheduler,
        space: SearchSpace,
        file: TrialFile,
        backend: Workers,
        *,
        objectives: list[str],
        costs: Callable[[SubNetwork], Mapping[str, float]],
        max_trials: int,
        reports: int,
        on_trial: Callable[[Finished], object],
    ) -> None:
        super().__init__(random_seed=scheduler.random_seed)
        self.scheduler, self.space, self.file, self.backend = scheduler, space, file, backend
        self.objectives, self.costs, self.max_trials, self.reports = objectives, costs, max_trials, reports
        self.on_trial, self.failures = on_trial, 0
        self.gave_up, self.last_failure = False, ""
        self._started: dict[int, float] = {}
        self._invalid: dict[int, str] = {}
        folder = file.path.parent
        self._epochs, self._weights, self._logs = folder / "epochs.jsonl", folder / "weights", folder / "failures"
        self._weights.mkdir(exist_ok=True)
        self._replay()

    # --- what the tuner asks and tells --------------------------------------------------------------------------------

    def metric_names(self) -> list[str]:
        """Of the objectives."""
        return self.objectives

    def metric_mode(self) -> str:
        """All are minimised."""
        return "min"

    def metadata(self) -> dict[str, Any]:
        """Nothing: run.json says it."""
        return {}

    def suggest(self) -> TrialSuggestion | None:
        """The next trial; None, after which the tuner asks no more, if there are enough or they keep failing."""
        self.gave_up = self.gave_up or self.failures >= MAX_FAILURES
        enough = len(self.file.trials) + len(self._started) >= self.max_trials
        return None if enough or self.gave_up else self.scheduler.suggest()

    def on_trial_add(self, trial: Trial) -> None:
        """It has been started."""
        self._started[trial.trial_id] = time.monotonic()
        self.scheduler.on_trial_add(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        """A report: whether the trial goes on. After the last one it does, for it then ends by itself."""
        subnet = decoded(self.space, trial.config)
        seen = {name: value for name, value in result.items() if not name.startswith("st_")}
        append_json_line(self._epochs, {"subnet": subnet.to_json(), **seen})
        if invalid := not_finite(seen):
            self._invalid[trial.trial_id] = invalid
            return SchedulerDecision.STOP
        decision = self.scheduler.on_trial_result(trial, self._known(subnet, seen))
        return decision if seen[REPORTS] < self.reports else SchedulerDecision.CONTINUE

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:
        """It has been trained to the end."""
        self._end(trial, None)

    def on_trial_remove(self, trial: Trial) -> None:
        """It has been stopped."""
        self._end(trial, self._invalid.get(trial.trial_id))

    def on_trial_error(self, trial: Trial) -> None:
        """Its process has failed."""
        self._end(trial, self.backend.failure(trial.trial_id))

    # --- what is written down -----------------------------------------------------------------------------------------

    def _end(self, trial: Trial, failure: str | None) -> None:
        started = self._started.pop(trial.trial_id, None)
        if started is None:  # a trial that fails while it is being stopped is told twice
            return
        subnet, seconds = decoded(self.space, trial.config), time.monotonic() - started
        folder = self.backend.trial_path(trial.trial_id)
        weights = folder / WEIGHTS_FILE
        if failure is None:
            # What was measured with the weights that are there: the process may have gone on after the last report
            # that was heard.
            seen = read_seen(weights)
            failure = not_finite(seen) or None
        if failure is None:
            stopped = float(seen[REPORTS] < self.reports)
            outcome = Outcome(self._known(subnet, seen) | {"stopped": stopped}, seconds=seconds)
            weights.replace(self._weights / weights_name(len(self.file.trials)))
            self.failures = 0
        else:
            outcome = Outcome(None, failure, seconds=seconds)
            weights.unlink(missing_ok=True)
            self._logs.mkdir(exist_ok=True)
            shutil.copy(folder / "std.err", self._logs / f"{len(self.file.trials)}.txt")
            self.failures, self.last_failure = self.failures + 1, failure
        remove_leftovers(folder)
        finished = self.file.append(subnet, outcome)
        self._tell(finished, trial)
        self._prune()
        self.on_trial(finished)

    def _known(self, subnet: SubNetwork, seen: Metrics) -> dict[str, float]:
        return {**seen, **self.costs(subnet)}

    def _tell(self, finished: Finished, trial: Trial) -> None:
        metrics = finished.outcome.metrics
        if metrics is None:
            self.scheduler.on_trial_error(trial)
        elif metrics["stopped"]:
            self.scheduler.on_trial_remove(trial)
        else:
            self.scheduler.on_trial_complete(trial, dict(metrics))

    def _prune(self) -> None:
        """Deletes the weights of trials that others dominate, the full model's aside: all are compared with it."""
        measured = [(t, t.outcome.metrics) for t in self.file.trials if t.outcome.metrics is not None]
        objectives_nm = np.array([[metrics[name] for name in self.objectives] for _, metrics in measured])
        on_front = pareto_front(objectives_nm.reshape(-1, len(self.objectives)))
        full = self.space.largest
        kept = {
            weights_name(trial.number)
            for (trial, _), keep in zip(measured, on_front, strict=True)
            if keep or trial.subnet == full
        }
        for path in self._weights.iterdir():
            if path.name not in kept:
                path.unlink()

    def _replay(self) -> None:
        """Tells the scheduler the trials that are there, as if they ended now."""
        cut_half_written_line(self._epochs)
        reports: dict[SubNetwork, dict[float, dict[str, float]]] = {}
        for report in read_lines(self._epochs, Report, "remove the file, and fewer trials may be stopped"):
            # Of a training that was begun anew the last one.
            reports.setdefault(report.subnet, {})[report.seen[REPORTS]] = dict(report.seen)
        for finished in self.file.trials:
            config = dict(zip(self.space.bounds, self.space.encode(finished.subnet), strict=True))
            # Negative numbers: the tuner counts its own trials from 0 in each sitting.
            trial = Trial(-1 - finished.number, config, datetime.now(timezone.utc))
            self.scheduler.on_trial_add(trial)
            # Of one that failed, all that it reported before stays in the rungs.
            last = math.inf if finished.outcome.metrics is None else finished.outcome.metrics[REPORTS]
            for number, seen in sorted(reports.get(finished.subnet, {}).items()):
                if number <= last and not not_finite(seen):
                    self.scheduler.on_trial_result(trial, self._known(finished.subnet, seen))
            self._tell(finished, trial)
            self.on_trial(finished)


@dataclass(frozen=True)
class Report:
    """A line of epochs.jsonl: what a trial said of itself. A number may be infinite, or none; the trial then ended."""

    subnet: SubNetwork
    seen: Metrics

    @classmethod
    def from_json(cls, row: Any) -> Report:
        """What a line has.

        Raises:
            WrongValue: if it is no report.
        """
        values = shaped(dict[str, object], row)
        subnet = shaped(SubNetwork, values.pop("subnet", None), "subnet")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise WrongValue.at(name, value, "a number")
        shaped(Amount, values.get(REPORTS), REPORTS)
        return cls(subnet, cast(Metrics, values))


def weights_name(number: int) -> str:
    """The file, in a run's folder `weights`, of a trial's weights."""
    return f"{number}.safetensors"
