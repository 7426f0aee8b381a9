"""The files of standard NAS: trials.jsonl, epochs.jsonl with a line for each report, weights, logs of failed trials."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from search.finetune.moasha import REPORTS
from search.pareto import pareto_front
from search.trials import WEIGHTS, Metrics, Outcome, Trial, TrialFile, weights_file
from supernet.runtime.files import append_json_line, cut_half_written_line
from supernet.runtime.reading import read_lines
from supernet.runtime.shapes import Amount, WrongValue, shaped
from supernet.space.subnetwork import SubNetwork


@dataclass(frozen=True)
class Report:
    """A line of epochs.jsonl: a trial's report. An infinite number or NaN ended the trial."""

    subnet: SubNetwork
    metrics: Metrics

    @classmethod
    def from_json(cls, row: Any) -> Report:
        """Reads a line.

        Raises:
            WrongValue: if it is not a report.
        """
        values = shaped(dict[str, object], row)
        subnet = shaped(SubNetwork, values.pop("subnet", None), "subnet")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise WrongValue.at(name, value, "a number")
        shaped(Amount, values.get(REPORTS), REPORTS)
        return cls(subnet, cast(Metrics, values))


class Records:
    """Writes the files of a run folder.

    Each trial that ends (trained, stopped or failed) is a line of trials.jsonl. The weights of non-dominated trials and
    of the full model are kept.

    Args:
        file: Of the trials.
        objectives: Names of the objectives.
        full: The full model.
    """

    def __init__(self, file: TrialFile, objectives: Sequence[str], full: SubNetwork) -> None:
        self.file, self._objectives, self._full = file, objectives, full
        self._folder = file.path.parent
        self._epochs, self._logs = self._folder / "epochs.jsonl", self._folder / "failures"
        (self._folder / WEIGHTS).mkdir(exist_ok=True)

    def add_report(self, subnet: SubNetwork, metrics: Metrics) -> None:
        """Writes what a trial reported."""
        append_json_line(self._epochs, {"subnet": subnet.to_json(), **metrics})

    def reports(self) -> dict[SubNetwork, dict[float, dict[str, float]]]:
        """The metrics of each sub-network by number of the report; after a restart of a training, the new metrics.

        Raises:
            UserError: if epochs.jsonl is damaged.
        """
        cut_half_written_line(self._epochs)
        by_subnet: dict[SubNetwork, dict[float, dict[str, float]]] = {}
        for report in read_lines(self._epochs, Report, "remove the file, and fewer trials may be stopped"):
            by_subnet.setdefault(report.subnet, {})[report.metrics[REPORTS]] = dict(report.metrics)
        return by_subnet

    def add_result(self, subnet: SubNetwork, metrics: Mapping[str, float], *, seconds: float, weights: Path) -> Trial:
        """Writes a trial that was trained, and keeps its weights while no other trial dominates it."""
        weights.replace(weights_file(self._folder, len(self.file.trials)))
        trial = self.file.append(subnet, Outcome(metrics, seconds=seconds))
        self._prune()
        return trial

    def add_failure(self, subnet: SubNetwork, failure: str, *, seconds: float, log: Path) -> Trial:
        """Writes a trial that failed, and keeps what it printed."""
        self._logs.mkdir(exist_ok=True)
        shutil.copy(log, self._logs / f"{len(self.file.trials)}.txt")
        trial = self.file.append(subnet, Outcome(None, failure, seconds=seconds))
        self._prune()
        return trial

    def _prune(self) -> None:
        """Deletes the weights of dominated trials, except the full model's: all are compared with it."""
        trained = [(t, t.outcome.metrics) for t in self.file.trials if t.outcome.metrics is not None]
        objectives_nm = np.array([[metrics[name] for name in self._objectives] for _, metrics in trained])
        on_front = pareto_front(objectives_nm.reshape(-1, len(self._objectives)))
        kept = {
            weights_file(self._folder, trial.number)
            for (trial, _), keep in zip(trained, on_front, strict=True)
            if keep or trial.subnet == self._full
        }
        for path in (self._folder / WEIGHTS).iterdir():
            if path not in kept:
                path.unlink()
