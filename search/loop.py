"""The search itself: ask -> evaluate -> tell, one JSON line for each trial as it ends.

The file of trials is the truth. A search that finds some there tells them to the searcher instead of asking, and goes
on as if it had not been interrupted, because a searcher's proposals depend only on its seed and on what it was told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.objectives import Measurements
from search.searchers import AskTell
from supernet.errors import UserError
from supernet.runs import append_json_line, cut_half_written_line, read_json_lines
from supernet.subnetwork import SubNetwork


@dataclass(frozen=True)
class Trial:
    """One evaluated sub-network.

    Attributes:
        number: From 0, in the order of evaluation.
        subnet: What was evaluated.
        measurements: What came out.
        seconds: That it took, proposing and evaluating.
    """

    number: int
    subnet: SubNetwork
    measurements: Measurements
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As a line of trials.jsonl."""
        head = {"trial": self.number, "subnet": self.subnet.to_json(), "text": str(self.subnet)}
        return head | self.measurements.to_json() | {"seconds": round(self.seconds, 4)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Trial:
        """Inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: if the row is not a trial.
        """
        measurements = Measurements(**{name: row[name] for name in Measurements.__dataclass_fields__})
        return cls(row["trial"], SubNetwork.from_json(row["subnet"]), measurements, row["seconds"])


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file, in order; none if there is no file.

    Raises:
        UserError: if a line is not the trial that belongs there.
    """
    trials = []
    for number, row in enumerate(read_json_lines(path)):
        try:
            trials.append(Trial.from_json(row))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}:{number + 1} is no trial ({error!r}); remove the file to start anew") from error
        if trials[-1].number != number:
            raise UserError(f"{path}:{number + 1} is trial {trials[-1].number}, expected {number}; remove the file")
    return trials


def run_search(
    searcher: AskTell,
    evaluate: Callable[[SubNetwork], Measurements],
    *,
    trials_path: Path,
    max_evaluations: int,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Evaluates sub-networks until there are `max_evaluations` trials, or none is left to evaluate.

    Args:
        searcher: Proposes sub-networks.
        evaluate: Measures one.
        trials_path: Where trials are appended as they end, and read from at the start.
        max_evaluations: Trials in all, with those already in the file; there are never fewer than these.
        on_trial: Called after each trial, those from the file too.

    Returns:
        All trials.
    """
    cut_half_written_line(trials_path)
    trials = read_trials(trials_path)
    for trial in trials:
        searcher.tell(trial.subnet, trial.measurements.objectives())
        on_trial(trial)
    while len(trials) < max_evaluations:
        start = time.perf_counter()
        subnet = searcher.ask()
        if subnet is None:
            break
        measurements = evaluate(subnet)
        trial = Trial(len(trials), subnet, measurements, time.perf_counter() - start)
        append_json_line(trials_path, trial.to_json())
        searcher.tell(subnet, measurements.objectives())
        trials.append(trial)
        on_trial(trial)
    return trials
