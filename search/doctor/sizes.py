"""What the sub-networks of a space cost, by formula or with a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from transformers import PreTrainedModel

from search.objectives import OBJECTIVES
from supernet.evaluation.latency import measure_in_turns
from supernet.evaluation.latency_share import clocks_of
from supernet.models.slicing import extract
from supernet.runtime.processes import accelerate_session
from supernet.space.base import SearchSpace
from supernet.space.cost import Architecture, Workload, params_share
from supernet.space.subnetwork import SubNetwork

LATENCY = "latency_ms"
TURNS = 5
"""Turns of each model: enough for a few per cent."""


@dataclass(frozen=True)
class Sizes:
    """A sub-network and its costs.

    Attributes:
        kind: smallest, middle or largest.
        subnet: What is kept.
        share: Encoder parameters, as a share of the full model's.
        costs: By the name of the objective, as far as they are known.
    """

    kind: str
    subnet: SubNetwork
    share: float
    costs: dict[str, float]


def sizes_of(a: Architecture, space: SearchSpace, workload: Workload) -> list[Sizes]:
    """The smallest, the middle and the largest sub-network of a space, with the costs that formulas give."""
    subnets = {"smallest": space.smallest, "middle": space.middle, "largest": space.largest}
    return [
        Sizes(kind, subnet, params_share(a, subnet), costs_of(a, subnet, workload)) for kind, subnet in subnets.items()
    ]


def costs_of(a: Architecture, subnet: SubNetwork, workload: Workload) -> dict[str, float]:
    """The costs that have a formula."""
    return {name: o.formula(a, subnet, workload) for name, o in OBJECTIVES.items() if o.formula is not None}


def with_latencies(sizes: list[Sizes], model: PreTrainedModel, workload: Workload, *, precision: str) -> list[Sizes]:
    """The same with latencies, measured here in turns, on extracted models.

    Args:
        sizes: Sub-networks of the model.
        model: The full model.
        workload: The batch.
        precision: A key of `PRECISIONS`.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
    """
    with accelerate_session(precision) as accelerator:
        timings = measure_in_turns(
            [partial(extract, model, each.subnet) for each in sizes],
            workload,
            device=accelerator.device,
            mixed_precision=accelerator.mixed_precision,
            turns=TURNS,
            clock=clocks_of(accelerator.device)[0],
            tolerance=0.05,
        )
    return [
        replace(each, costs=each.costs | {LATENCY: timing.median_ms})
        for each, timing in zip(sizes, timings, strict=True)
    ]
