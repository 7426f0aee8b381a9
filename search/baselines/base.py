"""What all baselines share: the training rows that they read, and how a method turns into smaller models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from transformers import PreTrainedModel

from search.options.search import BaselineOptions
from supernet.data.batches import Batch, collate, evaluation_batches
from supernet.data.tokens import TokenizedSplit
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork

MAX_TOKENS = 2048
"""Padded tokens per batch."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """A baseline's result for a budget.

    Attributes:
        budget: Largest share of the encoder's parameters allowed, see `supernet.space.cost.params_share`.
        subnet: What is kept; its share is at most the budget.
        model: The smaller model, in evaluation mode, independent of the supernet.
    """

    budget: float
    subnet: SubNetwork
    model: PreTrainedModel


ForBudget: TypeAlias = Callable[[float], "SubNetwork | None"]
"""The sub-network for a budget; None if the method cannot make it small enough."""


@dataclass(frozen=True)
class Baseline:
    """A way of pruning a fine-tuned model without training it again.

    Attributes:
        choose: Reads the model and batches of training rows once, for all budgets.
        tune: Changes the weights of the smaller model in place, given its sub-network and the full model.
    """

    choose: Callable[[PreTrainedModel, Sequence[Batch], BaselineOptions], ForBudget]
    tune: Callable[[PreTrainedModel, SubNetwork, PreTrainedModel, Sequence[Batch]], None] | None = None

    def prune(
        self,
        model: PreTrainedModel,
        train: TokenizedSplit,
        budgets: Sequence[float],
        *,
        pad_token_id: int,
        seed: int = 0,
        options: BaselineOptions | None = None,
    ) -> Iterator[Pruned]:
        """Makes a smaller model for each budget, in the order of the budgets.

        Args:
            model: The full model, of a known family, with a classifier. It stays as it is.
            train: Training rows; never validation or test rows.
            budgets: Shares of the encoder's parameters, more than 0 and at most 1. A budget that the method cannot meet
                (see `BASELINES`) is left out.
            pad_token_id: Of the model's tokenizer.
            seed: Selects the rows if not all are used. The same seed gives the same models.
            options: Options of the baselines.

        Raises:
            UserError: if a budget is out of range, before anything is computed.
        """
        for budget in budgets:
            if not 0 < budget <= 1:
                raise UserError(f"budget {budget} is no share of the encoder; give numbers above 0 and up to 1")
        options = BaselineOptions() if options is None else options
        return self._models(model, training_rows(model, train, pad_token_id, options.rows, seed), budgets, options)

    def _models(
        self, model: PreTrainedModel, batches: Sequence[Batch], budgets: Sequence[float], options: BaselineOptions
    ) -> Iterator[Pruned]:
        choose = self.choose(model, batches, options)
        for budget in budgets:
            subnet = choose(budget)
            if subnet is not None:
                small = extract(model, subnet).eval()
                if self.tune is not None:
                    self.tune(small, subnet, model, batches)
                yield Pruned(budget, subnet, small)


def training_rows(
    model: PreTrainedModel, train: TokenizedSplit, pad_token_id: int, rows: int, seed: int
) -> list[Batch]:
    """Batches of that many random rows, or of all rows if there are fewer, on the model's device."""
    taken = train.take(np.random.default_rng(seed).permutation(len(train))[:rows])
    return [collate(taken, rows_B, pad_token_id, model.device) for rows_B in evaluation_batches(taken, MAX_TOKENS)]
