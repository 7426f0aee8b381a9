"""Heads: the outputs of a model of each kind of task (a row for each kind), and their losses and predictions.

The rows have the names of `supernet.options.kinds.KINDS`, which describes everything else about a kind. No other module
asks for the kind of a task or a model.

Shape letters: B rows of a batch, n predictions, C outputs of each prediction, S sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from supernet.models.losses import cross_entropy, kl_divergence, squared_difference, squared_error
from supernet.options.kinds import CHOICE, CLASSIFICATION, REGRESSION
from supernet.options.task import Task

ProblemType: TypeAlias = Literal["regression", "single_label_classification", "multi_label_classification"]


class SoftLoss(Protocol):
    """Loss of (n, C) predictions against those of a teacher, summed; see `losses.kl_divergence`."""

    def __call__(self, student_nC: Tensor, teacher_nC: Tensor, *, temperature: float, divergence: str) -> Tensor: ...


class LabelLoss(Protocol):
    """Loss of (n, C) predictions against n labels, summed or not; see `losses.cross_entropy`."""

    def __call__(self, logits_nC: Tensor, labels_n: Tensor, /, reduction: str = "sum") -> Tensor: ...


def _of_rows(logits_BC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
    return logits_BC, labels_B


@dataclass(frozen=True)
class Head:
    """The outputs of a model of a kind of task.

    Attributes:
        words: What such a model predicts, for messages.
        auto_class: The class of transformers that makes the model from a configuration.
        architectures: Transformers' class of the model by the type of the encoder.
        problem_type: Transformers' name for it in the configuration; None if there is no name.
        outputs: C, the number of outputs for each prediction.
        label_loss: Loss of (n, C) predictions against the n labels, summed or of each.
        soft_loss: Loss of (n, C) predictions against a teacher's, summed.
        decide: From (B, C) logits to predicted labels, as metrics take them.
        predictions: From the model's logits and the labels of a batch to the (n, C) predictions and n labels that
            losses take: a prediction for each row, unless the head predicts more often, as a tagger does.
        new_output: Whether the output layer of a pre-trained model is made from scratch.
        initial_bias: Initial bias of that layer, from the training rows' labels.
        counted: Whether the configuration has the number of outputs.
        reads_first: Whether the head reads only the first token, if its family does (`Family.reads_first`).
        stacked: Whether a row is several sequences: inputs are (B, C, T), with an attention mask.
    """

    words: str
    auto_class: Any
    architectures: Mapping[str, str]
    problem_type: ProblemType | None
    outputs: Callable[[Task], int]
    label_loss: LabelLoss
    soft_loss: SoftLoss
    decide: Callable[[np.ndarray], np.ndarray]
    predictions: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = _of_rows
    new_output: bool = True
    initial_bias: Callable[[np.ndarray], float] = lambda labels: 0.0
    counted: bool = True
    reads_first: bool = True
    stacked: bool = False

    def configure(self, config: PreTrainedConfig, task: Task) -> None:
        """Writes number and names of the outputs into a pre-trained model's configuration."""
        config.num_labels = self.outputs(task)
        config.problem_type = self.problem_type
        if task.classes:
            config.id2label = dict(enumerate(task.classes))
            config.label2id = {name: i for i, name in enumerate(task.classes)}

    def has_outputs_of(self, config: PreTrainedConfig, task: Task) -> bool:
        """Whether a model has as many outputs as the task needs."""
        return not self.counted or config.num_labels == self.outputs(task)

    def loss_of(self, logits: Tensor, labels_B: Tensor) -> Tensor:
        """The loss of a model's logits, summed over its predictions."""
        return self.label_loss(*self.predictions(logits, labels_B))

    def losses_of(self, logits: Tensor, labels_B: Tensor) -> Tensor:
        """(n,) the loss of each prediction."""
        return self.label_loss(*self.predictions(logits, labels_B), reduction="none")

    def inputs_of(self, ids_ST: Tensor) -> dict[str, Tensor]:
        """Inputs of rows that are a single sequence each, without padding."""
        ids = ids_ST[:, None] if self.stacked else ids_ST
        return {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if self.stacked else {})


def _of_sequences(**values: Any) -> Head:
    """A head that reads a single sequence for each row."""
    names = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    return Head("classes or numbers", AutoModelForSequenceClassification, names, **values)


HEADS: dict[str, Head] = {
    CLASSIFICATION: _of_sequences(
        problem_type="single_label_classification",
        outputs=lambda task: len(task.classes),
        label_loss=cross_entropy,
        soft_loss=kl_divergence,
        decide=lambda logits_nC: logits_nC.argmax(axis=1),
    ),
    REGRESSION: _of_sequences(
        problem_type="regression",
        outputs=lambda task: 1,
        label_loss=squared_error,
        soft_loss=squared_difference,
        decide=lambda logits_n1: logits_n1[:, 0],
        # From 0, small steps would take long to reach the labels, and the gradient of this distance would hide the
        # differences between rows.
        initial_bias=lambda labels: float(labels.mean()),
    ),
    CHOICE: Head(
        "multiple choice",
        AutoModelForMultipleChoice,
        MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES,
        problem_type=None,
        outputs=lambda task: 1,
        label_loss=cross_entropy,
        soft_loss=kl_divergence,
        decide=lambda logits_nC: logits_nC.argmax(axis=1),
        counted=False,
        stacked=True,
    ),
}


def head_for(task: Task) -> Head:
    """The head that a task needs."""
    return HEADS[task.kind]


def head_of(model: PreTrainedModel) -> Head:
    """The head that a model has.

    If a configuration has no problem type, a single output means numbers, and several outputs mean classes. This is
    the rule of transformers.
    """
    alike = [head for head in HEADS.values() if type(model).__name__ in head.architectures.values()]
    default_kind = REGRESSION if model.config.num_labels == 1 else CLASSIFICATION
    problem = model.config.problem_type or HEADS[default_kind].problem_type
    return next(head for head in alike if head.problem_type in (None, problem))
