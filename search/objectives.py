"""The table of objectives that a search can minimise, measured or computed by a formula. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from supernet.runtime.shapes import LARGEST, Within
from supernet.space.cost import Architecture, Workload, encoder_params, memory_mb, size_mb, total_flops, total_params
from supernet.space.subnetwork import SubNetwork

Formula = Callable[[Architecture, SubNetwork, Workload], float]


@dataclass(frozen=True)
class Objective:
    """A value to minimise.

    Attributes:
        label: Name on axes and in headings.
        formula: Computes it without a model; None if it has to be measured.
        unit: Unit of the values shown.
        scale: The value shown is the objective divided by this number.
        digits: Decimals shown.
        high: No value is larger; none is below 0.
    """

    label: str
    formula: Formula | None = None
    unit: str = ""
    scale: float = 1.0
    digits: int = 4
    high: float = LARGEST

    @property
    def title(self) -> str:
        """Label and unit, for axes."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def show(self, value: float) -> str:
        """A value for people."""
        return f"{value / self.scale:.{self.digits}f}" + (f" {self.unit}" if self.unit else "")


OBJECTIVES: Mapping[str, Objective] = {
    "error": Objective("error", high=2.0),  # 1 - metric, and a correlation may be -1
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

FOR_WORKLOAD = ("flops", "latency_ms", "memory_mb")
"""Objectives that depend on the batch and its length."""

LATENCY = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_share")
"""Metrics of a latency that was measured: median, first and third quartile, and its share of the full model's."""

SHARE = "params_share"
"""Encoder parameters over the full model's: known of every sub-network, whatever the objectives."""

ROUNDING = 1e-6
LIMITS = {
    **dict.fromkeys(LATENCY, Within(0)),
    **{name: Within(0, o.high) for name, o in OBJECTIVES.items()},
    "error": Within(-ROUNDING, OBJECTIVES["error"].high + ROUNDING),
    SHARE: Within(0, 1),
}
"""The possible values of a metric, by name. A correlation of floats may exceed 1 by a little."""

QUALITY = ("error", "loss")
"""Objectives of quality. All other objectives are costs."""

LEAST_REFERENCE = 1e-9
"""Smallest reference of an objective. For the hypervolume, each objective is divided by its reference."""
