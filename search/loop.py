"""The search loop: ask -> evaluate -> tell, on one or several processes. Each trial that ends is one JSON line.

The file of trials is the truth. A search that finds trials there tells them to the searcher, and then continues as if
it had not been interrupted. That works because proposals depend only on the seed, on the results so far, and on the
pending sub-networks: those of the current round, which the processes evaluate at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from accelerate import Accelerator

from search.trials import Metrics, Outcome, Trial, TrialFile, not_finite
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.processes import all_gather, broadcast_from_main
from supernet.space.subnetwork import SubNetwork

MAX_FAILURES = 10
"""This many failed trials in a row end a search."""


class Proposer(Protocol):
    """What the loop needs of a searcher (`search.searchers.schedulers.AskTell`)."""

    def ask(self) -> SubNetwork | None: ...
    def tell(self, subnet: SubNetwork, metrics: Metrics) -> None: ...
    def observe(self, subnet: SubNetwork, metrics: Metrics) -> None: ...
    def mark_pending(self, subnet: SubNetwork) -> None: ...
    def fail(self, subnet: SubNetwork) -> None: ...


class SubnetEvaluator(Protocol):
    """What the loop needs of `search.evaluation.measure.WeightSharedEvaluator`."""

    def bound(self, subnet: SubNetwork, trials: Sequence[Trial]) -> float | None: ...
    def __call__(self, subnet: SubNetwork, bound: float | None) -> Outcome: ...


class Dialogue:
    """The main process's part of a search: asks the searcher, writes trials, and tells the searcher their results.

    Args:
        searcher: Proposes sub-networks.
        objectives: Names of the metrics that the searcher gets.
        file: Trials are appended to it as they end. The searcher gets its earlier trials first.
        on_trial: Called after each trial, and for each earlier one.
        at_once: Number of sub-networks in a round. The searcher gets their results at the end of the round.

    Attributes:
        finished: The trials of finished rounds, in order.
        failures: Number of failed trials in a row since this process began.
    """

    def __init__(
        self,
        searcher: Proposer,
        objectives: Sequence[str],
        file: TrialFile,
        on_trial: Callable[[Trial], None],
        *,
        at_once: int = 1,
    ) -> None:
        self.searcher, self.objectives, self.file, self.on_trial = searcher, objectives, file, on_trial
        self.at_once, self.failures = at_once, 0
        self.finished: list[Trial] = []
        whole = len(file.trials) - len(file.trials) % at_once
        for trial in file.trials[:whole]:
            self._tell(trial)
        self._round = file.trials[whole:]  # of an interrupted round: still pending
        for trial in self._round:
            searcher.mark_pending(trial.subnet)
        for trial in file.trials:
            on_trial(trial)

    def ask(self, most: int) -> list[SubNetwork]:
        """The next round of at most `most` sub-networks; empty if none is left, or if trials keep failing."""
        asked: list[SubNetwork] = []
        while len(asked) < min(most, self.at_once - len(self._round)) and self.failures < MAX_FAILURES:
            subnet = self.searcher.ask()
            if subnet is None:
                break
            asked.append(subnet)
        return asked

    def add(self, subnets: Sequence[SubNetwork], outcomes: Sequence[Outcome]) -> None:
        """Writes the trials of a round, then tells the searcher."""
        for subnet, outcome in zip(subnets, outcomes, strict=True):
            self.failures = 0 if outcome.failure is None else self.failures + 1
            trial = self.file.append(subnet, outcome)
            self._round.append(trial)
            self.on_trial(trial)
        for trial in self._round:
            self._tell(trial)
        self._round = []

    def _tell(self, trial: Trial) -> None:
        if trial.outcome.metrics is None:
            self.searcher.fail(trial.subnet)
        else:
            self.searcher.tell(trial.subnet, self._chosen(trial.outcome.metrics))
        for byproduct in trial.outcome.byproducts:
            self.searcher.observe(byproduct.subnet, self._chosen(byproduct.metrics))
        self.finished.append(trial)

    def _chosen(self, metrics: Metrics) -> Metrics:
        return {name: metrics[name] for name in self.objectives}


def run_search(
    begin: Callable[[], Dialogue],
    evaluate: SubnetEvaluator,
    *,
    max_evaluations: int,
    accelerator: Accelerator,
) -> list[Trial]:
    """Evaluates sub-networks until there are `max_evaluations` trials, or no sub-network is left.

    In each round, every process evaluates one sub-network. Then the main process writes the trials in the order of
    asking and asks again. Only the main process has the searcher and the file.

    Args:
        begin: Makes the main process's part, for rounds of one sub-network for each process. Called only there.
        evaluate: Evaluates a sub-network. The bound at which it may stop comes from finished rounds, so a resumed
            search gets the same results.
        max_evaluations: Number of trials, including those already in the file, which are never removed.
        accelerator: The processes.

    Returns:
        All trials in the main process; an empty list in the others.

    Raises:
        UserError: if `MAX_FAILURES` trials in a row failed.
    """
    dialogue = begin() if accelerator.is_main_process else None
    while True:
        asked: list[tuple[SubNetwork, float | None]] | None = None
        if dialogue is not None:
            subnets = dialogue.ask(max_evaluations - len(dialogue.file.trials))
            asked = [(subnet, evaluate.bound(subnet, dialogue.finished)) for subnet in subnets]
        asked = broadcast_from_main(accelerator, asked)
        if not asked:
            break
        mine = asked[accelerator.process_index :][:1]
        outcomes = all_gather([attempt(partial(evaluate, subnet, bound)) for subnet, bound in mine])
        if dialogue is not None:
            dialogue.add([subnet for subnet, _ in asked], outcomes)
    if dialogue is None:
        return []
    if dialogue.failures >= MAX_FAILURES:
        reason = dialogue.file.trials[-1].outcome.failure
        raise UserError(
            f"{dialogue.failures} trials in a row failed, the last with: {reason}; all trials are kept in "
            f"{dialogue.file.path}, and the same command tries other sub-networks"
        )
    return dialogue.file.trials


def attempt(evaluate: Callable[[], Outcome]) -> Outcome:
    """Runs an evaluation. An exception becomes a failed outcome, except a `UserError`, which is raised."""
    start = time.perf_counter()
    try:
        outcome = evaluate()
    except UserError:
        raise
    except Exception as error:
        return Outcome(None, f"{type(error).__name__}: {first_line(error)}", seconds=time.perf_counter() - start)
    if wrong := not_finite(outcome.metrics or {}):
        return Outcome(None, wrong, seconds=outcome.seconds)
    return replace(outcome, byproducts=tuple(e for e in outcome.byproducts if not not_finite(e.metrics)))
