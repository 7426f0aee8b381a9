"""The error of a model on one split: batches prepared once, one forward pass each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.metrics import score
from supernet.tasks import Task
from supernet.tokens import Batch, Split, collate, evaluation_batches

MAX_TOKENS = 2048
"""Padded tokens per batch: enough to fill the matrix products, small enough for a CPU's caches."""


class Evaluator:
    """Evaluates any number of models on the same split.

    The split is cut into batches of rows of similar length, collated and put on the device once, here.

    Args:
        split: The rows.
        task: Says what the labels mean and which metric counts.
        tokenizer: Of the model; says what padding is.
        device: Where the models will be.
        max_tokens: Padded tokens per batch.
    """

    def __init__(
        self,
        split: Split,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: torch.device | str = "cpu",
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.task = task
        self.labels = split.labels
        self.batches: Sequence[Batch] = [
            collate(split, rows, tokenizer.pad_token_id, device) for rows in evaluation_batches(split, max_tokens)
        ]

    def logits(self, model: PreTrainedModel) -> np.ndarray:
        """(n, C) predictions in the order of the split's rows, float32."""
        was_training = model.training
        model.eval()
        try:
            with torch.inference_mode():
                parts = [model(**batch.inputs).logits for batch in self.batches]
        finally:
            model.train(was_training)
        logits = torch.cat(parts).float().cpu().numpy()
        order = np.concatenate([batch.rows for batch in self.batches])
        return logits[np.argsort(order)]

    def score(self, model: PreTrainedModel) -> float:
        """The task's metric; larger is better."""
        logits = self.logits(model)
        predictions = logits[:, 0] if self.task.is_regression else logits.argmax(axis=1)
        return score(self.task.metric, predictions, self.labels)

    def error(self, model: PreTrainedModel) -> float:
        """1 - metric; smaller is better."""
        return 1.0 - self.score(model)
