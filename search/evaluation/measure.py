"""The weight-shared evaluation: a sub-network's objectives with the supernet's weights, without training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedModel

from search.objectives import LATENCY, LEAST_REFERENCE, OBJECTIVES, QUALITY, Formula
from search.trials import Evaluated, Metrics, Outcome, Trial, all_evaluated
from supernet.artifact import Supernet
from supernet.data.metrics import prior_loss
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.evaluation.predictions import Predictions
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.task import Task
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.space.cost import Workload, encoder_params, params_share, total_params
from supernet.space.subnetwork import SubNetwork


class WeightSharedEvaluator:
    """Computes all objectives of sub-networks with the supernet's weights, without training.

    If each sub-network of a space keeps its first layers, the pass that evaluates a sub-network also evaluates the
    shallower sub-networks of the same widths, by early exits. They are byproducts of the outcome.

    Args:
        supernet: The frozen supernet.
        evaluator: Over the validation split.
        workload: Batch and length of the costs.
        names: The objectives. latency_ms needs `measure_latency` or `predict_latency`.
        measure_latency: Gives the metrics `LATENCY` of a sub-network, from its model.
        predict_latency: Computes the milliseconds of a sub-network.
        stop_confidence: Stop an evaluation when the sub-network is dominated with this confidence. Then there are no
            early exits. None evaluates on all rows. Needs an evaluator of several parts, accuracy, and formulas for all
            objectives except the error.
    """

    def __init__(
        self,
        supernet: Supernet,
        evaluator: Evaluator,
        workload: Workload,
        names: Sequence[str],
        *,
        measure_latency: Callable[[SubNetwork, PreTrainedModel], Metrics] | None = None,
        predict_latency: Callable[[SubNetwork], float] | None = None,
        stop_confidence: float | None = None,
    ) -> None:
        self._model, self._space = supernet.model, supernet.space
        self._evaluator, self.measure_latency = evaluator, measure_latency
        self._stop_confidence, self._costs = stop_confidence, [name for name in names if name not in QUALITY]
        a = self._architecture = architecture_of(supernet.model.config)

        def computed(formula: Formula) -> Callable[[SubNetwork], float]:
            return lambda subnet: float(formula(a, subnet, workload))

        formulas = {name: OBJECTIVES[name].formula for name in (*names, "params")}  # stratified_random needs the sizes
        self.known = {name: computed(formula) for name, formula in formulas.items() if formula is not None}
        if predict_latency is not None:
            self.known["latency_ms"] = predict_latency

    def bound(self, subnet: SubNetwork, trials: Sequence[Trial]) -> float | None:
        """The error above which a sub-network is dominated: the least error of the trials that cost no more.

        None if there is no such trial, or if evaluations do not stop early.
        """
        if self._stop_confidence is None:
            return None
        costs, known = self.costs(subnet), all_evaluated(trials)
        errors = [e.metrics["error"] for e in known if all(e.metrics[name] <= costs[name] for name in self._costs)]
        return min(errors, default=None)

    def __call__(self, subnet: SubNetwork, bound: float | None = None) -> Outcome:
        """Extracts the sub-network and evaluates it on the split.

        With `stop_confidence`, only until its error is above `bound` with that confidence.
        """
        start = time.perf_counter()
        model, shallower = extract(self._model, subnet, share=True), self._shallower(subnet)
        if self._stop_confidence is not None:
            than = math.inf if bound is None else bound
            scores = self._evaluator.evaluate_unless_worse(model, than, confidence=self._stop_confidence)
            outcome = Outcome(self._metrics(subnet, scores) | {"rows": scores.rows})
        elif shallower:
            pairs = zip([subnet, *subnet.prefixes()], self._evaluator.early_exit_logits(model), strict=False)
            logits = {s: found for s, found in pairs if s == subnet or s in shallower}
            own, *others = (Evaluated(s, self._metrics(s, self._evaluator.scores(x))) for s, x in logits.items())
            outcome = Outcome(own.metrics, byproducts=tuple(others), predictions=self._predictions(logits))
        else:
            outcome = self.evaluate(subnet, model)
        return replace(outcome, seconds=time.perf_counter() - start)

    def evaluate(self, subnet: SubNetwork, model: PreTrainedModel) -> Outcome:
        """All objectives of a sub-network's model, which may be extracted or made in another way."""
        logits = self._evaluator.logits(model)
        metrics = self._metrics(subnet, self._evaluator.scores(logits))
        latency = {} if self.measure_latency is None else self.measure_latency(subnet, model)
        return Outcome({**metrics, **latency}, predictions=self._predictions({subnet: logits}))

    def _predictions(self, logits: Mapping[SubNetwork, np.ndarray]) -> dict[SubNetwork, Predictions]:
        return {subnet: self._evaluator.predictions(found) for subnet, found in logits.items()}

    def _metrics(self, subnet: SubNetwork, scores: Scores) -> dict[str, float]:
        return {"error": scores.error, "loss": scores.loss} | self.costs(subnet)

    def _shallower(self, subnet: SubNetwork) -> set[SubNetwork]:
        """Sub-networks of the space that a pass also evaluates by early exits; empty if one pass is not enough."""
        in_turn = self.measure_latency is not None or self._stop_confidence is not None
        if in_turn or "layers" not in self._space.counts:
            return set()
        return {s for s in subnet.prefixes() if s in self._space}

    def costs(self, subnet: SubNetwork) -> dict[str, float]:
        """The costs that need no evaluation: the parameters, and the objectives that have a formula."""
        a = self._architecture
        described = {
            "params": encoder_params(a, subnet),
            "params_share": params_share(a, subnet),
            "total_params": total_params(a, subnet),
        }
        return described | {name: formula(subnet) for name, formula in self.known.items()}


def reference_values(
    names: Sequence[str], task: Task, labels: np.ndarray, *, full: Mapping[str, float]
) -> dict[str, float]:
    """The worst value that counts for each objective; see `search.run_folder.RunInfo`.

    Args:
        names: The objectives.
        task: The task of the error.
        labels: Labels of the validation rows.
        full: Costs of the full model; if latency is measured, all of `LATENCY`.

    Raises:
        UserError: if a value is 0, because the objective cannot be divided by it.
    """
    worst = {"error": 1.0, "loss": prior_loss(task, labels)} | dict(full)
    reference = {name: worst[name] for name in (*names, *LATENCY[1:]) if name in worst}
    if zeros := [name for name, value in reference.items() if not value >= LEAST_REFERENCE]:
        reason = _without_scale().get(zeros[0], f"it is {reference[zeros[0]]:g} for the full model; leave it out")
        raise UserError(f"objective {zeros[0]} has no scale: {reason}")
    return reference


def _without_scale() -> dict[str, str]:
    """For each objective: why its worst value can be 0, and what to do."""
    again = f"measure the latency table again with '{typed_command('profile')}'"
    return {
        "loss": "the validation rows all have one label; use error, or more rows with data.validation_rows",
        "latency_ms": f"the full model takes no time; {again}",
    }
