"""The search itself: ask -> evaluate -> tell, one JSON line for each trial as it ends, on one process or several.

The file of trials is the truth. A search that finds some there tells them to the searcher instead of asking, and goes
on as if it had not been interrupted, because a searcher's proposals depend only on its seed and on what it was told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from accelerate import Accelerator

from search.trials import Evaluated, Metrics, Outcome, Trial, TrialFile, all_evaluated
from supernet.errors import UserError, first_line
from supernet.processes import from_main, gathered
from supernet.subnetwork import SubNetwork

PATIENCE = 10
"""Failed trials in a row that end a search."""


class Searcher(Protocol):
    """What the loop needs of a searcher (`search.searchers.AskTell`)."""

    def ask(self) -> SubNetwork | None: ...
    def tell(self, subnet: SubNetwork, metrics: Metrics) -> None: ...
    def observe(self, subnet: SubNetwork, metrics: Metrics) -> None: ...
    def fail(self, subnet: SubNetwork) -> None: ...


class Evaluate(Protocol):
    """What the loop needs of what measures sub-networks (`search.objectives.Objectives`)."""

    def bound(self, subnet: SubNetwork, known: Sequence[Evaluated]) -> float | None: ...
    def __call__(self, subnet: SubNetwork, bound: float | None) -> Outcome: ...


class Dialogue:
    """The main process's half of a search: asks the searcher, writes trials down, and tells the searcher.

    Args:
        searcher: Proposes sub-networks.
        objectives: Names of the metrics that it is told.
        file: Where trials are appended as they end; those that are there are told first.
        on_trial: Called after each trial, those from the file too.
    """

    def __init__(
        self, searcher: Searcher, objectives: Sequence[str], file: TrialFile, on_trial: Callable[[Trial], None]
    ) -> None:
        self.searcher, self.objectives, self.file, self.on_trial = searcher, objectives, file, on_trial
        self.failures = 0
        for trial in file.trials:
            self._tell(trial)

    def ask(self, count: int) -> list[SubNetwork]:
        """Up to `count` sub-networks to evaluate next; none if none is left, or if trials keep failing."""
        asked: list[SubNetwork] = []
        while len(asked) < count and self.failures < PATIENCE:
            subnet = self.searcher.ask()
            if subnet is None:
                break
            asked.append(subnet)
        return asked

    def known(self) -> list[Evaluated]:
        """Every sub-network that trials made known so far."""
        return all_evaluated(self.file.trials)

    def add(self, subnet: SubNetwork, outcome: Outcome) -> None:
        """Writes a trial down, then tells the searcher."""
        self.failures = 0 if outcome.failure is None else self.failures + 1
        self._tell(self.file.append(subnet, outcome))

    def _tell(self, trial: Trial) -> None:
        if trial.outcome.metrics is None:
            self.searcher.fail(trial.subnet)
        else:
            self.searcher.tell(trial.subnet, self._chosen(trial.outcome.metrics))
        for free in trial.outcome.free:
            self.searcher.observe(free.subnet, self._chosen(free.metrics))
        self.on_trial(trial)

    def _chosen(self, metrics: Metrics) -> Metrics:
        return {name: metrics[name] for name in self.objectives}


def run_search(
    begin: Callable[[], Dialogue],
    evaluate: Evaluate,
    *,
    max_evaluations: int,
    accelerator: Accelerator,
) -> list[Trial]:
    """Evaluates sub-networks until there are `max_evaluations` trials, or none is left to evaluate.

    Each process evaluates one of as many sub-networks as there are processes; then the main process, which alone
    knows the searcher and the file, writes them down in the order of asking and asks again.

    Args:
        begin: Makes the main process's half; called there only.
        evaluate: Measures a sub-network; the bound that it may stop at is taken from the trials that had ended when the
            sub-network was asked for, so that a search that is resumed finds the same.
        max_evaluations: Trials in all, with those already in the file; there are never fewer than these.
        accelerator: The processes.

    Returns:
        All trials, in the main process; none in the others.

    Raises:
        UserError: if `PATIENCE` trials in a row failed.
    """
    dialogue = begin() if accelerator.is_main_process else None
    while True:
        asked: list[tuple[SubNetwork, float | None]] | None = None
        if dialogue is not None:
            subnets = dialogue.ask(min(accelerator.num_processes, max_evaluations - len(dialogue.file.trials)))
            asked = [(subnet, evaluate.bound(subnet, dialogue.known())) for subnet in subnets]
        asked = from_main(accelerator, asked)
        if not asked:
            break
        mine = asked[accelerator.process_index :][:1]
        outcomes = gathered([attempt(partial(evaluate, subnet, bound)) for subnet, bound in mine])
        if dialogue is not None:
            for (subnet, _), outcome in zip(asked, outcomes, strict=True):
                dialogue.add(subnet, outcome)
    if dialogue is None:
        return []
    if dialogue.failures >= PATIENCE:
        reason = dialogue.file.trials[-1].outcome.failure
        raise UserError(
            f"{dialogue.failures} trials in a row failed, the last one with: {reason}; all trials are kept in "
            f"{dialogue.file.path}, and the same command goes on with others"
        )
    return dialogue.file.trials


def attempt(evaluate: Callable[[], Outcome]) -> Outcome:
    """What comes of an evaluation: a failure is an outcome too, but a user's mistake is not."""
    start = time.perf_counter()
    try:
        outcome = evaluate()
    except UserError:
        raise
    except Exception as error:
        return Outcome(None, f"{type(error).__name__}: {first_line(error)}", seconds=time.perf_counter() - start)
    wrong = {name: value for name, value in (outcome.metrics or {}).items() if not math.isfinite(value)}
    if wrong:
        said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
        return Outcome(None, said, seconds=outcome.seconds)
    return outcome
