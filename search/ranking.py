"""Which heads and units of a trained supernet are the best, and good sub-networks that this gives at once.

Before training, heads and units are ordered by their importance for a classifier that knows nothing yet. After the
training, the Fisher information of their masks tells better which of them matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from search.baselines.base import training_rows
from search.baselines.kwon import allocation, fisher_information
from search.baselines.mask_gradients import mask_gradients
from supernet.artifact import Supernet
from supernet.console.progress import show_progress
from supernet.data.tokens import TokenizedSplit
from supernet.models.families import architecture_of
from supernet.runtime.processes import broadcast_from_main
from supernet.space.spaces import RankedSpace
from supernet.space.subnetwork import SubNetwork
from supernet.training.importance import Importance, best_first, read_importance

ROWS = 1024
"""Training rows that importance is measured on."""

ROW_SEED = 0
"""Seed of the choice of these rows: the same in every search, whatever its seed."""

SHARES = (0.75, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05)
"""Sizes of the sub-networks that the importance gives, as shares of the encoder's parameters."""


def trained_importance(
    supernet: Supernet, train: TokenizedSplit, accelerator: Accelerator, folder: Path, *, resumes: bool, beside: Console
) -> Importance:
    """The importance of a trained supernet's heads and units, the same in all processes.

    Args:
        supernet: On the accelerator's device.
        train: Training rows.
        accelerator: The processes. The main process measures.
        folder: Of the run, which keeps the importance: measured again, it might differ in the last digits.
        resumes: Whether the run goes on.
        beside: For progress.
    """
    importance = None
    if accelerator.is_main_process:
        importance = read_importance(folder, supernet.space.sizes) if resumes else None
        if importance is None:
            with show_progress(beside, "measuring which heads and units matter after training"):
                rows = training_rows(supernet.model, train, supernet.tokenizer.pad_token_id, ROWS, ROW_SEED)
                importance = fisher_information(mask_gradients(supernet.model, rows))
    shared: Importance = broadcast_from_main(accelerator, importance)
    return shared


def ranked_space(supernet: Supernet, importance: Importance, multiple_of: int) -> RankedSpace:
    """The space of the best heads and units of each layer by their importance."""
    orders = (tuple(map(tuple, best_first(scores))) for scores in (importance.heads, importance.units))
    sizes = supernet.space.sizes
    return RankedSpace(sizes.layers, sizes.heads, sizes.units, (), multiple_of, None, None, None, *orders)


def by_importance(supernet: Supernet, importance: Importance, space: RankedSpace) -> Iterator[SubNetwork]:
    """For each of `SHARES`, the sub-network of the space that loses the least Fisher information."""
    numbers = allocation(architecture_of(supernet.model.config), importance)
    for heads_L, units_L in map(numbers, SHARES):
        yield space.decode([1, *heads_L.tolist(), *(units_L // space.multiple_of).tolist()])
