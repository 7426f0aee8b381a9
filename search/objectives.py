"""What a search minimises: a table of objectives, those measured and those computed by formula."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from search.trials import Evaluated, Outcome, Trial, all_evaluated
from supernet.checkpoint import Supernet
from supernet.cost import Architecture, encoder_params, memory_mb, params_share, size_mb, total_flops, total_params
from supernet.evaluate import Evaluator, Scores
from supernet.families import architecture_of
from supernet.latency import Workload
from supernet.slicing import extract
from supernet.subnetwork import SubNetwork

Formula = Callable[[Architecture, SubNetwork, Workload], float]


@dataclass(frozen=True)
class Objective:
    """Something to minimise.

    Attributes:
        label: What it is, for axes and headings.
        formula: Computes it without a model; None if it has to be measured.
        unit: Of the values shown.
        scale: Values in this unit are the objective's divided by so much.
        digits: Decimals shown.
    """

    label: str
    formula: Formula | None = None
    unit: str = ""
    scale: float = 1.0
    digits: int = 4

    @property
    def title(self) -> str:
        """Label and unit, for axes."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float) -> str:
        """A value for people."""
        return f"{value / self.scale:.{self.digits}f}" + (f" {self.unit}" if self.unit else "")


OBJECTIVES: Mapping[str, Objective] = {
    "error": Objective("error"),
    "loss": Objective("loss"),
    "params": Objective("encoder parameters", lambda a, s, w: encoder_params(a, s), "M", 1e6, 2),
    "total_params": Objective("all parameters", lambda a, s, w: total_params(a, s), "M", 1e6, 2),
    "flops": Objective("operations per text", lambda a, s, w: total_flops(a, s, tokens=w.length), "GFLOP", 1e9, 2),
    "latency_ms": Objective("latency", unit="ms", digits=2),
    "memory_mb": Objective(
        "memory", lambda a, s, w: memory_mb(a, s, batch_size=w.batch_size, length=w.length), "MB", digits=1
    ),
    "size_mb": Objective("size on disk", lambda a, s, w: size_mb(a, s), "MB", digits=1),
}

QUALITY = ("error", "loss")
"""How good a sub-network is; the other objectives say what it costs."""


class Objectives:
    """Measures sub-networks with the supernet's weights, without training.

    In a space of nets that have the first l layers, the pass that evaluates one of them evaluates the shallower ones of
    the same widths on its way: they come with the outcome, for free.

    Args:
        supernet: The frozen supernet.
        evaluator: Over the validation split.
        workload: Batch and length of the costs.
        names: The objectives asked for. latency_ms needs one of the following.
        measure_latency: Milliseconds of an extracted model.
        predict_latency: Milliseconds of a sub-network, by formula.
        stop_confidence: Stop an evaluation when the sub-network is dominated with this confidence; then nothing comes
            for free. None evaluates on all rows. Needs an evaluator of several parts, accuracy, and formulas for all
            that is asked for but the error.
    """

    def __init__(
        self,
        supernet: Supernet,
        evaluator: Evaluator,
        workload: Workload,
        names: Sequence[str],
        *,
        measure_latency: Callable[[PreTrainedModel], float] | None = None,
        predict_latency: Callable[[SubNetwork], float] | None = None,
        stop_confidence: float | None = None,
    ) -> None:
        self._model, self._space = supernet.model, supernet.space
        self._evaluator, self.measure_latency = evaluator, measure_latency
        self._stop_confidence, self._costs = stop_confidence, [name for name in names if name not in QUALITY]
        a = self._architecture = architecture_of(supernet.model.config)

        def computed(formula: Formula) -> Callable[[SubNetwork], float]:
            return lambda subnet: float(formula(a, subnet, workload))

        formulas = {name: OBJECTIVES[name].formula for name in (*names, "params")}  # searchers may ask for sizes
        self.known = {name: computed(formula) for name, formula in formulas.items() if formula is not None}
        if predict_latency is not None:
            self.known["latency_ms"] = predict_latency

    def bound(self, subnet: SubNetwork, trials: Sequence[Trial]) -> float | None:
        """The error above which a sub-network is dominated: the least of those known by trials that cost no more.

        None if there is none, or if evaluations are not to be stopped.
        """
        if self._stop_confidence is None:
            return None
        costs, known = self.costs(subnet), all_evaluated(trials)
        errors = [e.metrics["error"] for e in known if all(e.metrics[name] <= costs[name] for name in self._costs)]
        return min(errors, default=None)

    def __call__(self, subnet: SubNetwork, bound: float | None = None) -> Outcome:
        """Extracts the sub-network and runs it over the split, or as much of it as shows an error above `bound`."""
        start = time.perf_counter()
        free: tuple[Evaluated, ...] = ()
        model, shallower = extract(self._model, subnet, share=True), self._shallower(subnet)
        if self._stop_confidence is not None:
            than = math.inf if bound is None else bound
            scores = self._evaluator.measure_unless_worse(model, than, confidence=self._stop_confidence)
            metrics = self._metrics(subnet, scores) | {"rows": scores.rows}
        elif shallower:
            scores, *others = self._evaluator.measure_depths(model)
            metrics = self._metrics(subnet, scores)
            pairs = list(zip(subnet.prefixes(), others, strict=False))
            free = tuple(Evaluated(s, self._metrics(s, found)) for s, found in pairs if s in shallower)
        else:
            metrics = self.measure(subnet, model)
        return Outcome(metrics, free=free, seconds=time.perf_counter() - start)

    def measure(self, subnet: SubNetwork, model: PreTrainedModel) -> dict[str, float]:
        """Measures a sub-network's model, extracted or made in another way."""
        metrics = self._metrics(subnet, self._evaluator.measure(model))
        return metrics if self.measure_latency is None else metrics | {"latency_ms": self.measure_latency(model)}

    def _metrics(self, subnet: SubNetwork, scores: Scores) -> dict[str, float]:
        return {"error": scores.error, "loss": scores.loss} | self.costs(subnet)

    def _shallower(self, subnet: SubNetwork) -> set[SubNetwork]:
        """Those of the space that a pass over this one evaluates too; none if there is more to it than one pass."""
        in_turn = self.measure_latency is not None or self._stop_confidence is not None
        if in_turn or "layers" not in self._space.counts:
            return set()
        return {s for s in subnet.prefixes() if s in self._space}

    def costs(self, subnet: SubNetwork) -> dict[str, float]:
        """What is known of a sub-network without evaluating it: its parameters, and the formulas asked for."""
        a = self._architecture
        described = {
            "params": encoder_params(a, subnet),
            "params_share": params_share(a, subnet),
            "total_params": total_params(a, subnet),
        }
        return described | {name: formula(subnet) for name, formula in self.known.items()}
