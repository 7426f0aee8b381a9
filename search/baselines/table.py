"""Baselines that a search has to beat: ways of pruning a fine-tuned model to a budget without training it again.

Use: `for pruned in BASELINES["kwon2022"].prune(model, train, [0.75, 0.5], pad_token_id=0): ...` gives a sub-network
and its model for each budget. Baselines read training rows only.
"""

from __future__ import annotations

from search.baselines.base import Baseline, Pruned
from search.baselines.kwon import prune_by_fisher
from search.baselines.mask_gradients import prune_heads
from search.baselines.mask_tuning import tune_masks_
from search.baselines.widths import drop_layers, same_widths

BASELINES: dict[str, Baseline] = {
    "head_pruning": Baseline(prune_heads),
    "kwon2022": Baseline(prune_by_fisher, tune_masks_),
    "layer_dropping": Baseline(drop_layers),
    "uniform_width": Baseline(same_widths),
}
"""All except head_pruning, which keeps all units, can meet every budget."""

__all__ = ["BASELINES", "Baseline", "Pruned"]
