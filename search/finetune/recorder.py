"""A Syne Tune scheduler between the Tuner and another scheduler. It records each trial and ends the search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler, TrialSuggestion

from search.finetune.moasha import REPORTS
from search.finetune.records import Records
from search.finetune.trial import WEIGHTS_FILE
from search.finetune.workers import Workers, decoded
from search.loop import MAX_FAILURES
from search.trials import Metrics, not_finite
from search.trials import Trial as Finished
from supernet.models.weights import read_seen
from supernet.runtime.files import remove_leftovers
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork


class Recorder(TrialScheduler):
    """Passes messages between the Tuner and a scheduler, records trials, and ends the search.

    It ends after `max_trials`, or after `MAX_FAILURES` failed trials in a row.

    When created, it replays the earlier trials of the run to the scheduler, as if they ended now.

    Args:
        scheduler: Proposes sub-networks, and may stop trials early.
        space: Where the sub-networks come from.
        records: The files of the run.
        backend: Runs the processes.
        objectives: Names of the metrics that the scheduler gets.
        costs: Computes the costs of a sub-network, without training.
        max_trials: Number of trials, including earlier ones.
        reports: Number of reports of a full trial.
        on_trial: Called after each trial, and for each earlier one.

    Attributes:
        gave_up: Whether `MAX_FAILURES` trials in a row failed. Trials that were running then may still succeed.
        last_failure: Why the last failed trial failed.
    """

    def __init__(
        self,
        scheduler: TrialScheduler,
        space: SearchSpace,
        records: Records,
        backend: Workers,
        *,
        objectives: list[str],
        costs: Callable[[SubNetwork], Mapping[str, float]],
        max_trials: int,
        reports: int,
        on_trial: Callable[[Finished], object],
    ) -> None:
        super().__init__(random_seed=scheduler.random_seed)
        self.scheduler, self.space, self.records, self.backend = scheduler, space, records, backend
        self.objectives, self.costs, self.max_trials, self.reports = objectives, costs, max_trials, reports
        self.on_trial, self.failures = on_trial, 0
        self.gave_up, self.last_failure = False, ""
        self._started: dict[int, float] = {}
        self._invalid: dict[int, str] = {}
        self._replay()

    # --- calls of the tuner -------------------------------------------------------------------------------------------

    def metric_names(self) -> list[str]:
        """Names of the objectives."""
        return self.objectives

    def metric_mode(self) -> str:
        """All are minimised."""
        return "min"

    def metadata(self) -> dict[str, Any]:
        """Empty: run.json has it all."""
        return {}

    def suggest(self) -> TrialSuggestion | None:
        """The next trial. None, which ends the search, if there are enough trials or if they keep failing."""
        self.gave_up = self.gave_up or self.failures >= MAX_FAILURES
        enough = len(self.records.file.trials) + len(self._started) >= self.max_trials
        return None if enough or self.gave_up else self.scheduler.suggest()

    def on_trial_add(self, trial: Trial) -> None:
        """A trial has been started."""
        self._started[trial.trial_id] = time.monotonic()
        self.scheduler.on_trial_add(trial)

    def on_trial_result(self, trial: Trial, result: dict[str, Any]) -> str:
        """A trial has reported: returns whether it continues. After its last report it continues and ends by itself."""
        subnet = decoded(self.space, trial.config)
        seen = {name: value for name, value in result.items() if not name.startswith("st_")}
        self.records.add_report(subnet, seen)
        if invalid := not_finite(seen):
            self._invalid[trial.trial_id] = invalid
            return SchedulerDecision.STOP
        decision = self.scheduler.on_trial_result(trial, self._known(subnet, seen))
        return decision if seen[REPORTS] < self.reports else SchedulerDecision.CONTINUE

    def on_trial_complete(self, trial: Trial, result: dict[str, Any]) -> None:
        """A trial has been trained to the end."""
        self._end(trial, None)

    def on_trial_remove(self, trial: Trial) -> None:
        """A trial has been stopped."""
        self._end(trial, self._invalid.get(trial.trial_id))

    def on_trial_error(self, trial: Trial) -> None:
        """The process of a trial has failed."""
        self._end(trial, self.backend.failure(trial.trial_id))

    # --- records, and results for the scheduler -----------------------------------------------------------------------

    def _end(self, trial: Trial, failure: str | None) -> None:
        started = self._started.pop(trial.trial_id, None)
        if started is None:  # a trial that fails while it is being stopped is reported twice
            return
        subnet, seconds = decoded(self.space, trial.config), time.monotonic() - started
        folder = self.backend.trial_path(trial.trial_id)
        weights = folder / WEIGHTS_FILE
        seen: Metrics = {}
        if failure is None:
            # The metrics of the weights in the file: the process may have trained on after its last report.
            seen = read_seen(weights)
            failure = not_finite(seen) or None
        if failure is None:
            metrics = self._known(subnet, seen) | {"stopped": float(seen[REPORTS] < self.reports)}
            finished = self.records.add_result(subnet, metrics, seconds=seconds, weights=weights)
            self.failures = 0
        else:
            weights.unlink(missing_ok=True)
            finished = self.records.add_failure(subnet, failure, seconds=seconds, log=folder / "std.err")
            self.failures, self.last_failure = self.failures + 1, failure
        remove_leftovers(folder)
        self._tell(finished, trial)
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

    def _replay(self) -> None:
        """Tells the scheduler the earlier trials, and their reports."""
        reports = self.records.reports()
        for finished in self.records.file.trials:
            config = dict(zip(self.space.bounds, self.space.encode(finished.subnet), strict=True))
            # Negative numbers: the tuner counts its own trials from 0.
            trial = Trial(-1 - finished.number, config, datetime.now(timezone.utc))
            self.scheduler.on_trial_add(trial)
            # All reports of a failed trial stay in the rungs.
            last = math.inf if finished.outcome.metrics is None else finished.outcome.metrics[REPORTS]
            for number, seen in sorted(reports.get(finished.subnet, {}).items()):
                if number <= last and not not_finite(seen):
                    self.scheduler.on_trial_result(trial, self._known(finished.subnet, seen))
            self._tell(finished, trial)
            self.on_trial(finished)
