"""Gradients of the loss with respect to masks of heads and units, row by row, and pruning heads by them.

A mask multiplies what a head or unit passes to its block's output projection; all masks are 1 in the full model.
n rows, L layers, N heads, F units, S sequences (rows, or rows x choices), T tokens, H head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from search.baselines.base import ForBudget
from search.options.search import BaselineOptions
from supernet.data.batches import Batch
from supernet.models.families import architecture_of
from supernet.space.cost import params_share
from supernet.space.subnetwork import LayerSlice, SubNetwork
from supernet.training.importance import block_effects


@dataclass(frozen=True, eq=False)
class MaskGradients:
    """d loss / d mask of each row.

    Attributes:
        heads: (L, n, N).
        units: (L, n, F).
    """

    heads: np.ndarray
    units: np.ndarray


def mask_gradients(model: PreTrainedModel, batches: Iterable[Batch], subnet: SubNetwork | None = None) -> MaskGradients:
    """The gradients at a sub-network, dropout off; rows in the order of the batches; 0 for what it has not.

    They take n x L x (N + F) numbers of memory: 0.3 GB for 2048 rows of a BERT-base.

    Args:
        model: The full model.
        batches: Rows.
        subnet: The sub-network; None is the full model.
    """
    a, heads, units = architecture_of(model.config), [], []
    slices = (a.full if subnet is None else subnet).layers
    kind = np.float64 if model.dtype == torch.float64 else np.float32
    for batch, effects in block_effects(model, batches, subnet):
        heads_LnN = np.zeros((a.layers, len(batch), a.heads), kind)
        units_LnF = np.zeros((a.layers, len(batch), a.units), kind)
        for s, of_layer in zip(slices, effects, strict=True):
            if of_layer.heads_STNH is not None:
                heads_LnN[s.index][:, list(s.heads)] = _of_rows(of_layer.heads_STNH.sum(dim=(1, 3)), len(batch))
            if of_layer.units_STF is not None:
                units_LnF[s.index][:, list(s.units)] = _of_rows(of_layer.units_STF.sum(dim=1), len(batch))
        heads.append(heads_LnN)
        units.append(units_LnF)
    return MaskGradients(np.concatenate(heads, axis=1), np.concatenate(units, axis=1))


def _of_rows(gradients_SM: Tensor, rows: int) -> np.ndarray:
    """In multiple choice, all sequences of a row share the row's mask."""
    return gradients_SM.unflatten(0, (rows, -1)).sum(dim=1).cpu().numpy()


def head_scores(gradients: MaskGradients) -> np.ndarray:
    """(L, N) importance of heads: the mean over rows of |d loss / d mask|, divided by the layer's l2 norm."""
    scores_LN = np.abs(gradients.heads.astype(np.float64)).mean(axis=1)
    norms_L1 = np.linalg.norm(scores_LN, axis=1, keepdims=True)
    return np.divide(scores_LN, norms_L1, out=np.zeros_like(scores_LN), where=norms_L1 > 0)


def prune_heads(model: PreTrainedModel, batches: Sequence[Batch], options: BaselineOptions) -> ForBudget:
    """Leaves out the least important heads of the whole model until the budget is met; all units stay.

    Budgets below the share of the feed-forward blocks, two thirds of a BERT, cannot be met.

    Source:
        Michel, Levy & Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019, section 4.1. As there, one
        measurement serves all budgets.
    """
    a = architecture_of(model.config)
    scores_LN = head_scores(mask_gradients(model, batches))
    best_first = np.argsort(-scores_LN, axis=None, kind="stable")

    def keeping(count: int) -> SubNetwork:
        kept_LN = np.zeros(scores_LN.shape, dtype=bool)
        kept_LN.flat[best_first[:count]] = True
        return subnet_of(kept_LN, [range(a.units)] * a.layers)

    subnets = [keeping(count) for count in range(scores_LN.size, -1, -1)]
    return lambda budget: next((s for s in subnets if params_share(a, s) <= budget), None)


def subnet_of(heads_LN: np.ndarray, units: Sequence[Iterable[int]]) -> SubNetwork:
    """The sub-network of a mask of heads and of each layer's units."""
    kept = [np.flatnonzero(heads_N).tolist() for heads_N in heads_LN]
    return SubNetwork(
        tuple(
            LayerSlice(i, heads, tuple(of_layer)) for i, (heads, of_layer) in enumerate(zip(kept, units, strict=True))
        )
    )
