"""Retraining-free pruning: which heads and units to keep, by the Fisher information of their masks.

With masks m that are 1 where something is kept, the loss grows by about (1 - m)' I (1 - m) / 2, where I is the
empirical Fisher information of the masks. The first step treats I as diagonal and finds the masks of least growth
within the budget. The second step treats each layer alone: it keeps the numbers of heads and units and uses the layer's
whole block of I. Constant factors of I are left out, as they change no choice. `search.baselines.mask_tuning` is the
third step.

L layers, n rows, M masks of one kind (heads or units) in a layer.

Source:
    Kwon et al., "A Fast Post-Training Pruning Framework for Transformers", NeurIPS 2022, algorithms 1 and 2.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from search.baselines.base import ForBudget
from search.baselines.mask_gradients import MaskGradients, mask_gradients
from search.options.search import BaselineOptions
from supernet.data.batches import Batch
from supernet.models.families import architecture_of
from supernet.space.cost import Architecture, encoder_params
from supernet.space.subnetwork import LayerSlice, SubNetwork
from supernet.training.importance import Importance


@dataclass(frozen=True, eq=False)
class Ranking:
    """All K heads, or all K units, of a model, the most important first.

    Attributes:
        layers: (K,) the layer of each.
        worth: (K + 1,) Fisher information of the first 0, 1, ... K together.
        params: (K + 1,) parameters of the first 0, 1, ... K: their own, and those of each block that is not empty.
    """

    layers: np.ndarray
    worth: np.ndarray
    params: np.ndarray

    def counts(self, first: int, layers: int) -> np.ndarray:
        """(L,) how many of the first `first` are in each layer."""
        return np.bincount(self.layers[:first], minlength=layers)


def rank(fisher_LM: np.ndarray, params_each: int, params_of_block: Sequence[int]) -> Ranking:
    """Ranks heads or units by their diagonal Fisher information."""
    order = np.argsort(-fisher_LM, axis=None, kind="stable")
    layers = order // fisher_LM.shape[1]
    params = np.full(len(order), params_each)
    present, opens_block = np.unique(layers, return_index=True)
    params[opens_block] += np.asarray(params_of_block)[present]
    return Ranking(layers, *(np.concatenate([[0], np.cumsum(x)]) for x in (fisher_LM.flat[order], params)))


def search_masks(heads: Ranking, units: Ranking, params: int) -> tuple[int, int]:
    """How many heads and units to keep so that the least Fisher information is lost.

    For each number of heads: keeps the best heads, then as many of the best units as fit.

    Args:
        heads, units: Rankings.
        params: Most parameters of heads and units together, 0 or more.
    """
    fitting = np.searchsorted(units.params, params - heads.params, side="right") - 1
    worth = np.where(fitting >= 0, heads.worth + units.worth[fitting], -np.inf)
    best = int(np.argmax(worth))
    return best, int(fitting[best])


def rearrange(fisher_MM: np.ndarray, keep: int) -> np.ndarray:
    """Which masks of a layer to keep, ascending, so that little information is lost, interactions included.

    Greedy: starts with the best masks by the diagonal. Then it removes each of these in turn and adds the mask, the
    same or another, with which the least is lost.

    Args:
        fisher_MM: (M, M). The layer's block of the Fisher information.
        keep: Number of masks to keep.
    """
    diagonal_M = fisher_MM.diagonal()
    order = np.argsort(-diagonal_M, kind="stable")
    pruned_M = np.ones(len(order), dtype=bool)
    pruned_M[order[:keep]] = False
    interplay_M = fisher_MM[:, pruned_M].sum(axis=1)
    for left_out in order[:keep][::-1]:
        pruned_M[left_out] = True
        interplay_M += fisher_MM[:, left_out]
        back = np.argmin(np.where(pruned_M, diagonal_M - 2 * interplay_M, np.inf))
        pruned_M[back] = False
        interplay_M -= fisher_MM[:, back]
    return np.flatnonzero(~pruned_M)


def eliminate(fisher_MM: np.ndarray) -> np.ndarray:
    """(M,) the masks of a layer in an order whose beginnings are good sets of every size, interactions included.

    Greedy, from the end: of the masks that are left, the one goes without which the least is lost, beside those that
    are gone. One order serves all sizes, unlike `rearrange`.
    """
    diagonal_M, interplay_M = fisher_MM.diagonal(), np.zeros(len(fisher_MM))
    left_M, gone = np.ones(len(fisher_MM), dtype=bool), []
    for _ in range(len(fisher_MM)):
        gone.append(int(np.argmin(np.where(left_M, diagonal_M + 2 * interplay_M, np.inf))))
        left_M[gone[-1]] = False
        interplay_M += fisher_MM[:, gone[-1]]
    return np.array(gone[::-1], dtype=int)


def prune_by_fisher(model: PreTrainedModel, batches: Sequence[Batch], options: BaselineOptions) -> ForBudget:
    """Mask search and rearrangement, within a number of parameters.

    A layer may lose a whole block. Unlike in the paper, its LayerNorm and biases are then absent too.
    """
    a = architecture_of(model.config)
    gradients = mask_gradients(model, batches)
    numbers = allocation(a, fisher_information(gradients))

    def choose(budget: float) -> SubNetwork:
        heads_L, units_L = numbers(budget)
        return SubNetwork(
            tuple(
                LayerSlice(i, _kept(gradients.heads[i], heads_L[i]), _kept(gradients.units[i], units_L[i]))
                for i in range(a.layers)
            )
        )

    return choose


def fisher_information(gradients: MaskGradients) -> Importance:
    """The diagonal of the empirical Fisher information of the masks, up to a constant factor."""
    return Importance(_diagonal(gradients.heads), _diagonal(gradients.units))


def allocation(a: Architecture, fisher: Importance) -> Callable[[float], tuple[np.ndarray, np.ndarray]]:
    """How many heads and units each layer keeps, so that the least Fisher information is lost.

    Returns:
        A function from a budget, a share of the encoder's parameters, to the (L,) numbers of heads and of units.
    """
    heads = rank(fisher.heads, a.head_params, a.attention_params)
    units = rank(fisher.units, a.unit_params, a.feed_forward_params)

    def numbers(budget: float) -> tuple[np.ndarray, np.ndarray]:
        first_heads, first_units = search_masks(heads, units, most_params(a, budget))
        return heads.counts(first_heads, a.layers), units.counts(first_units, a.layers)

    return numbers


def most_params(a: Architecture, budget: float) -> int:
    """The largest number of encoder parameters whose share is within the budget."""
    full = encoder_params(a, a.full)
    return bisect_right(range(full + 1), budget, key=lambda params: params / full) - 1


def _diagonal(gradients_LnM: np.ndarray) -> np.ndarray:
    return np.square(gradients_LnM, dtype=np.float64).sum(axis=1)


def fisher_block(gradients_nM: np.ndarray) -> np.ndarray:
    """(M, M) the Fisher information of some masks of a layer, up to a constant factor."""
    double_nM = gradients_nM.astype(np.float64)
    return double_nM.T @ double_nM


def _kept(gradients_nM: np.ndarray, keep: int) -> tuple[int, ...]:
    return tuple(rearrange(fisher_block(gradients_nM), keep).tolist())
