"""Measures a latency table: times sub-networks with a single kind of block in all layers, in turns."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from supernet.evaluation.latency import Clock, Timing, measure_in_turns
from supernet.evaluation.latency_table import Conditions, Curve, LatencyTable
from supernet.models.families import architecture_of, family_of
from supernet.models.slicing import extract
from supernet.space.cost import Workload
from supernet.space.subnetwork import SubNetwork

HEAD_POINTS, UNIT_POINTS = 16, 9
"""Largest numbers of widths to measure: every number of heads for nearly all models, and every eighth of the units."""


def build_table(
    model: PreTrainedModel,
    workload: Workload,
    *,
    device: torch.device | str,
    mixed_precision: str = "no",
    check: Sequence[SubNetwork] = (),
    turns: int = 20,
    tolerance: float = 0.02,
    clock: Clock = time.perf_counter,
) -> tuple[LatencyTable, list[Timing]]:
    """Measures the blocks of a supernet, in turns: 22 sub-networks for 12 heads, about a minute on a CPU.

    Layers of different kinds (`_kinds`) are measured separately. A convolution after the first layer (DeBERTa-v2) is
    part of what surrounds the layers, because it is always there.

    Args:
        model: The supernet; stays where it is.
        workload: Batch and length of the latencies.
        device: Where to measure.
        check: Sub-networks to measure whole, in the same turns, for `prediction_errors`.
        mixed_precision, turns, tolerance, clock: As in `measure_in_turns`.

    Returns:
        The table, and the timings of `check`.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
    """
    blocks = _Blocks.of(model)
    timings = measure_in_turns(
        [partial(extract, model, subnet, share=True) for subnet in (SubNetwork(()), *blocks.subnets, *check)],
        workload,
        device=device,
        mixed_precision=mixed_precision,
        turns=turns,
        tolerance=tolerance,
        clock=clock,
    )
    around_ms, *whole_ms = (timing.median_ms for timing in timings)
    # Each measurement covers all layers of a kind. Noise can make a block look cheaper than no block.
    layer_ms = {s: max(0.0, ms - around_ms) / len(s.layers) for s, ms in zip(blocks.subnets, whole_ms, strict=False)}
    table = LatencyTable(
        conditions=Conditions.of(model, workload, device=device, mixed_precision=mixed_precision),
        around_ms=around_ms,
        kinds=blocks.kinds,
        attention=_curves(blocks.attention, blocks.heads, layer_ms),
        feed_forward=_curves(blocks.feed_forward, blocks.units, layer_ms),
    )
    return table, timings[1 + len(blocks.subnets) :]


@dataclass(frozen=True)
class _Blocks:
    """The blocks of a supernet that a table measures.

    Attributes:
        kinds: See `_kinds`.
        heads, units: The widths to measure, ascending.
        attention, feed_forward: For each kind of layer, a sub-network for each width: all layers of this kind, with
            only an attention or only a feed-forward block.
    """

    kinds: tuple[int, ...]
    heads: tuple[int, ...]
    units: tuple[int, ...]
    attention: list[list[SubNetwork]]
    feed_forward: list[list[SubNetwork]]

    @classmethod
    def of(cls, model: PreTrainedModel) -> _Blocks:
        """The blocks of this model."""
        a, kinds = architecture_of(model.config), _kinds(model)
        layers_of = [[i for i, kind in enumerate(kinds) if kind == k] for k in range(max(kinds) + 1)]
        heads, units = _grid(a.heads, HEAD_POINTS), _grid(a.units, UNIT_POINTS)
        attention = [[SubNetwork.uniform(layers, n, 0) for n in heads] for layers in layers_of]
        feed_forward = [[SubNetwork.uniform(layers, 0, n) for n in units] for layers in layers_of]
        return cls(kinds, heads, units, attention, feed_forward)

    @property
    def subnets(self) -> list[SubNetwork]:
        """All of these sub-networks, in the order of measurement."""
        return [subnet for row in (*self.attention, *self.feed_forward) for subnet in row]


def _curves(
    subnets: Sequence[Sequence[SubNetwork]], counts: tuple[int, ...], layer_ms: Mapping[SubNetwork, float]
) -> tuple[Curve, ...]:
    """The latency of a block by its width, a curve for each kind of layer."""
    return tuple(Curve(counts, tuple(layer_ms[subnet] for subnet in row)) for row in subnets)


def _grid(most: int, points: int) -> tuple[int, ...]:
    """Ascending numbers from 1 to `most`, spread evenly; all of them if they are few."""
    return tuple(sorted({round(n) for n in np.linspace(1, most, min(most, points))}))


def _kinds(model: PreTrainedModel) -> tuple[int, ...]:
    """For each layer the number of its kind, from 0. Layers of a kind have the same modules, shapes and configuration.

    ModernBERT has three: its first layer has no LayerNorm before attention, and some look at neighbours only.
    """
    family, kinds = family_of(model.config), []
    seen: dict[Hashable, int] = {}
    for i, layer in enumerate(family.layers_of(model)):
        of_config = tuple(getattr(model.config, name)[i] for name in family.per_layer)
        kinds.append(seen.setdefault((_structure(layer), of_config), len(seen)))
    return tuple(kinds)


def _structure(layer: nn.Module) -> Hashable:
    modules = tuple((name, type(module)) for name, module in layer.named_modules())
    return modules, tuple((name, parameter.shape) for name, parameter in layer.named_parameters())
