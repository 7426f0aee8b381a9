"""The error and the loss of models on one split: batches are prepared once; each model takes a single pass.

Shape letters: n rows of the split, C outputs of the head for each row (classes or choices; 1 for regression).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.data.batches import Batch, collate, evaluation_batches
from supernet.data.metrics import score
from supernet.data.tokens import TokenizedSplit
from supernet.evaluation.early_exits import first_token_only
from supernet.evaluation.predictions import Predictions
from supernet.models.heads import head_for
from supernet.options.task import Task

MAX_TOKENS = {"cpu": 1024, "cuda": 32768}
"""Padded tokens per batch. On a CPU just enough for fast matrix products: small batches hold rows of equal length."""

AUTOCAST = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Scores:
    """How good a model is on a split.

    Attributes:
        error: 1 - metric.
        loss: Mean cross-entropy in nats; for regression the mean squared error.
        rows: Number of rows that were evaluated.
    """

    error: float
    loss: float
    rows: int


class Evaluator:
    """Evaluates any number of models on the same split.

    The split is cut into batches of rows of similar length, collated and put on the device once, here.

    Args:
        split: The rows.
        task: Says what the labels mean and which metric to use.
        tokenizer: The model's tokenizer, for padding.
        device: Where the models will be.
        mixed_precision: no | bf16 | fp16, Accelerate's name for the precision of matrix products. "no": the precision
            of the model.
        max_tokens: Padded tokens per batch; None for `MAX_TOKENS` of the device.
        parts: Number of equal parts that the rows are evaluated in. Take more than 1 only for `evaluate_unless_worse`,
            because batches then have more padding. The parts are drawn at random with a fixed seed.
    """

    def __init__(
        self,
        split: TokenizedSplit,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: torch.device | str = "cpu",
        mixed_precision: str = "no",
        max_tokens: int | None = None,
        parts: int = 1,
    ) -> None:
        self.task, self.head = task, head_for(task)
        self.labels = split.labels
        self.device = torch.device(device)
        self.autocast = AUTOCAST[mixed_precision]
        if max_tokens is None:
            max_tokens = MAX_TOKENS.get(self.device.type, MAX_TOKENS["cuda"])
        order = np.arange(len(split)) if parts == 1 else np.random.default_rng(0).permutation(len(split))
        self.parts: Sequence[Sequence[Batch]] = [
            [
                collate(split, rows, tokenizer.pad_token_id, device)
                for rows in evaluation_batches(split, max_tokens, part)
            ]
            for part in np.array_split(order, parts)
            if len(part)
        ]

    def logits(self, model: PreTrainedModel) -> np.ndarray:
        """(n, C) predictions in the order of the split's rows; float64 if the model is, else float32."""
        return self._logits(model, early_exits=False)[0]

    def early_exit_logits(self, model: PreTrainedModel) -> np.ndarray:
        """(k, n, C) predictions of `model`, of `model` without its last layer, without its last two, and so on.

        All come from a single pass. `early_exits.first_token_only` says how many there are; k is at least 1.
        For the model of a sub-network, entry i + 1 is `subnet.prefixes()[i]`.
        """
        return self._logits(model, early_exits=True)

    def evaluate(self, model: PreTrainedModel) -> Scores:
        """Error and loss from a single pass."""
        return self.scores(self.logits(model))

    def evaluate_unless_worse(self, model: PreTrainedModel, than: float, *, confidence: float = 0.99) -> Scores:
        """Error and loss; of the first parts of the rows only, if they already show that the error is above `than`.

        Args:
            model: As for `evaluate`.
            than: The error to compare with, such as that of a smaller sub-network, which dominates this model if this
                model's error is larger.
            confidence: The least probability, over the random order of the rows, that a model is evaluated on all rows
                if its error on all rows is `than` or less.

        Raises:
            ValueError: if the metric is not the accuracy, the only metric that is a mean over rows.
        """
        if self.task.metric != "accuracy":
            raise ValueError(f"evaluation can only stop early for accuracy, not for {self.task.metric}")
        seen, total, looks = [], len(self.labels), len(self.parts)
        for part in self.parts:
            seen.append(self._run(model, part, early_exits=False))
            rows, logits = np.concatenate([r for r, _ in seen]), np.concatenate([x[0] for _, x in seen])
            scores = self._scores(logits, self.labels[rows])
            if scores.error - error_margin(len(rows), total, (1 - confidence) / looks) > than:
                break
        return scores

    def score(self, model: PreTrainedModel) -> float:
        """The task's metric; larger is better."""
        return self._metric(self.logits(model), self.labels)

    def error(self, model: PreTrainedModel) -> float:
        """1 - metric; smaller is better."""
        return 1.0 - self.score(model)

    def scores(self, logits: np.ndarray) -> Scores:
        """Error and loss of (n, C) predictions."""
        return self._scores(logits, self.labels)

    def predictions(self, logits: np.ndarray) -> Predictions:
        """What (n, C) predictions say of each row of the split."""
        losses = self.head.losses_of(torch.from_numpy(logits).double(), torch.from_numpy(self.labels))
        return Predictions(self.head.decide(logits), losses.numpy())

    def _scores(self, logits: np.ndarray, labels: np.ndarray) -> Scores:
        loss = self.head.loss_of(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()
        return Scores(1.0 - self._metric(logits, labels), loss / len(labels), len(labels))

    def _metric(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return score(self.task.metric, self.head.decide(logits), labels)

    def _logits(self, model: PreTrainedModel, *, early_exits: bool) -> np.ndarray:
        """(k, n, C) logits of `model` and, with `early_exits`, of its first layers, in the order of the rows."""
        rows, logits = self._run(model, [batch for part in self.parts for batch in part], early_exits=early_exits)
        return logits[:, np.argsort(rows)]

    def _run(
        self, model: PreTrainedModel, batches: Sequence[Batch], *, early_exits: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(r,) row numbers of the batches and their (k, r, C) logits."""
        was_training = model.training
        model.eval()
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None),
                first_token_only(model, early_exits=early_exits) as depths,
            ):
                logits = torch.cat([model(**b.inputs).logits.unflatten(0, (depths, -1)) for b in batches], dim=1)
        finally:
            model.train(was_training)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return np.concatenate([batch.rows for batch in batches]), logits.cpu().numpy()


def error_margin(seen: int, total: int, risk: float) -> float:
    """How far the mean of `seen` rows, drawn from `total` without replacement, may be above the mean of all rows.

    It is above by more only with a probability of `risk` or less. The rows' values are from 0 to 1.

    Source:
        Serfling, "Probability inequalities for the sum in sampling without replacement", Annals of Statistics 2, 1974.
    """
    unseen = 1 - (seen - 1) / total if seen < total else 0.0
    return math.sqrt(unseen * math.log(1 / risk) / (2 * seen))
