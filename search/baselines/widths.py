"""Pruning without data: whole layers, or the same share of every layer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from transformers import PreTrainedModel

from search.baselines.base import ForBudget
from search.options.search import BaselineOptions
from supernet.data.batches import Batch
from supernet.models.families import architecture_of
from supernet.space.cost import Architecture, params_share
from supernet.space.subnetwork import SubNetwork

DROP_ORDERS: Mapping[str, Callable[[int], list[int]]] = {
    "top": lambda layers: list(range(layers - 1, -1, -1)),
    "bottom": lambda layers: list(range(layers)),
    "alternate": lambda layers: [*range(layers - 1, -1, -2), *range(layers - 2, -1, -2)],
    "symmetric": lambda layers: sorted(range(layers), key=lambda i: (abs(2 * i - layers + 1), -i)),
}
"""The layers in the order in which they are dropped: from the top; from the bottom; every second layer from the top,
then the others; from the middle."""


def drop_layers(model: PreTrainedModel, batches: Sequence[Batch], options: BaselineOptions) -> ForBudget:
    """Drops as few whole layers as the budget asks for.

    Source:
        Sajjad, Dalvi, Durrani & Nakov, "On the effect of dropping layers of pre-trained transformer models", Computer
        Speech & Language 77, 2023. Here the layers are dropped after fine-tuning, without fine-tuning again.
    """
    a = architecture_of(model.config)
    order = DROP_ORDERS[options.drop](a.layers)
    kept = [sorted(order[dropped:]) for dropped in range(a.layers + 1)]
    subnets = [SubNetwork.uniform(layers, a.heads, a.units) for layers in kept]
    return lambda budget: next(s for s in subnets if params_share(a, s) <= budget)


def same_widths(model: PreTrainedModel, batches: Sequence[Batch], options: BaselineOptions) -> ForBudget:
    """Keeps all layers, and the first heads and units of each, the same share in every layer.

    The first heads and units are the most important if the supernet was ordered by importance. Heads are few and units
    many, so their shares are rarely equal. Of the widths that use up the budget, those whose shares differ least are
    taken.
    """
    return partial(_even_widths, architecture_of(model.config))


def _even_widths(a: Architecture, budget: float) -> SubNetwork:
    def subnet(heads: int, units: int) -> SubNetwork:
        return SubNetwork.uniform(range(a.layers), heads, units)

    def most_units(heads: int) -> int:
        """-1 if the heads alone are too much."""
        return bisect_right(range(a.units + 1), budget, key=lambda units: params_share(a, subnet(heads, units))) - 1

    pairs = [(heads, most_units(heads)) for heads in range(a.heads + 1)]
    fitting = [pair for pair in pairs if pair[1] >= 0]
    return subnet(*min(fitting, key=lambda pair: abs(pair[0] / a.heads - pair[1] / a.units)))
