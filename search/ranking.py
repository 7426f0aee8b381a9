"""Which heads and units of a trained supernet matter most, found by pruning it step by step, without training.

Before training, heads and units are ordered by their importance for a classifier that knows nothing yet. After the
training, the Fisher information of their masks tells better which of them matter; and which matter in a small
sub-network can only be told from a small sub-network. So pruning goes down in steps and measures again in each.

The steps are sub-networks that are good at once. The order in which heads and units leave makes a space around them
(`supernet.space.spaces.RankedSpace`). M heads or units of a layer.

Source:
    A single step is that of Kwon et al., "A Fast Post-Training Pruning Framework for Transformers", NeurIPS 2022. Step
    by step: Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedModel

from search.baselines.base import training_rows
from search.baselines.kwon import allocation, eliminate, fisher_block, fisher_information
from search.baselines.mask_gradients import mask_gradients
from supernet.artifact import Supernet
from supernet.console.progress import show_progress
from supernet.data.batches import Batch
from supernet.data.tokens import TokenizedSplit
from supernet.models.families import architecture_of
from supernet.runtime.processes import broadcast_from_main
from supernet.space.cost import Architecture, params_share
from supernet.space.ranked import Ranking, read_ranking
from supernet.space.subnetwork import LayerSlice, SubNetwork

ROWS = 1024
"""Training rows that the information is measured on."""

ROW_SEED = 0
"""Seed of the choice of these rows: the same in every search, whatever its seed."""

SHARES = (0.75, 0.6, 0.5, 0.4, 0.32, 0.25, 0.18, 0.12, 0.08, 0.055)
"""Sizes of the steps, as shares of the encoder's parameters."""


def ranking_of(
    supernet: Supernet,
    train: TokenizedSplit,
    accelerator: Accelerator,
    folder: Path,
    multiple_of: int,
    *,
    resumes: bool,
    beside: Console,
) -> Ranking:
    """The ranking of a supernet's heads and units, the same in all processes.

    Args:
        supernet: On the accelerator's device.
        train: Training rows.
        accelerator: The processes. The main process measures.
        folder: Of the run, which keeps the ranking: measured again, it might differ.
        multiple_of: Units in a multiple.
        resumes: Whether the run goes on.
        beside: For progress.

    Raises:
        UserError: if the ranking in the folder cannot be used.
    """
    ranking: Ranking | None = None
    if accelerator.is_main_process:
        ranking = read_ranking(folder, supernet.space.sizes) if resumes else None
        if ranking is None:
            with show_progress(beside, "measuring which heads and units matter after training"):
                rows = training_rows(supernet.model, train, supernet.tokenizer.pad_token_id, ROWS, ROW_SEED)
                ranking = rank_by_pruning(supernet.model, rows, multiple_of)
    shared = broadcast_from_main(accelerator, ranking)
    assert shared is not None
    return shared


def rank_by_pruning(model: PreTrainedModel, batches: Sequence[Batch], multiple_of: int) -> Ranking:
    """Prunes a model step by step, and notes in which order heads and units leave.

    Args:
        model: The full model, of a known family, with a classifier. It stays as it is.
        batches: Training rows; never validation or test rows.
        multiple_of: Units are kept in multiples of this number.
    """
    a = architecture_of(model.config)
    heads, units = _Leaving.of(a.layers, a.heads), _Leaving.of(a.layers, a.units)
    steps: list[tuple[list[int], list[int]]] = []
    for share in SHARES:
        slices = [LayerSlice(i, *kept) for i, kept in enumerate(zip(heads.kept, units.kept, strict=True))]
        if not (subnet := SubNetwork(tuple(slices))).layers:
            break
        gradients = mask_gradients(model, batches, subnet)
        heads_L, units_L = allocation(a, fisher_information(gradients))(share)
        heads.keep(gradients.heads, heads_L)
        units.keep(gradients.units, _in_multiples(a, heads_L, units_L, multiple_of, share))
        steps.append(([len(kept) for kept in heads.kept], [-(-len(kept) // multiple_of) for kept in units.kept]))
    return Ranking(heads.order, units.order, multiple_of, steps)


def _in_multiples(
    a: Architecture, heads_L: np.ndarray, units_L: np.ndarray, multiple_of: int, share: float
) -> np.ndarray:
    """(L,) numbers of units, rounded to multiples. If they are then too many, the widest layers lose some."""

    def too_many() -> bool:
        numbers = zip(heads_L.tolist(), rounded_L.tolist(), strict=True)
        subnet = SubNetwork(LayerSlice(i, range(h), range(min(u, a.units))) for i, (h, u) in enumerate(numbers))
        return params_share(a, subnet) > share

    rounded_L = np.rint(units_L / multiple_of).astype(int) * multiple_of
    while too_many() and rounded_L.any():
        rounded_L[rounded_L.argmax()] -= multiple_of
    return rounded_L


@dataclass(frozen=True)
class _Leaving:
    """The heads, or the units, of each layer while a model is pruned.

    Attributes:
        kept: Those that are left, the best first.
        gone: Those that have left, the last to leave first.
    """

    kept: list[list[int]]
    gone: list[list[int]]

    @classmethod
    def of(cls, layers: int, count: int) -> _Leaving:
        return cls([list(range(count)) for _ in range(layers)], [[] for _ in range(layers)])

    def keep(self, gradients_LnM: np.ndarray, numbers_L: np.ndarray) -> None:
        """Orders what is left, and keeps that many of each layer, or all if fewer are left."""
        for i, number in enumerate(numbers_L.tolist()):
            left = np.array(sorted(self.kept[i]), dtype=int)
            order = left[eliminate(fisher_block(gradients_LnM[i][:, left]))].tolist()
            self.kept[i], self.gone[i] = order[:number], order[number:] + self.gone[i]

    @property
    def order(self) -> list[list[int]]:
        """All of each layer, the best first."""
        return [kept + gone for kept, gone in zip(self.kept, self.gone, strict=True)]
