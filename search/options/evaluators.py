"""The options of each evaluator: `evaluator=finetune evaluator.workers=4`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from supernet.runtime.errors import UserError, at_least, one_of, positive
from supernet.runtime.fields import NO_EFFECT, absolute_folder, counts_as

SUPERNET, FINETUNE = EVALUATORS = ("supernet", "finetune")


@dataclass(frozen=True)
class EvaluatorOptions:
    """Where the weights of a sub-network come from.

    Attributes:
        name: supernet: they are the supernet's. finetune: each sub-network is trained alone from the pre-trained model.
    """

    name: str

    def __post_init__(self) -> None:
        one_of("evaluator", self.name, EVALUATORS)


@dataclass(frozen=True)
class SupernetEvaluator(EvaluatorOptions):
    """Options of evaluator=supernet.

    Attributes:
        stop_confidence: Stop an evaluation once the sub-network is worse than another of the same or lower cost, with
            this confidence (0.5 to less than 1). null: evaluate on all validation rows.
    """

    stop_confidence: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop_confidence is not None and not 0.5 <= self.stop_confidence < 1:
            raise UserError(f"evaluator.stop_confidence is {self.stop_confidence}; it must be from 0.5 to less than 1")


@dataclass(frozen=True)
class FinetuneEvaluator(EvaluatorOptions):
    """Options of evaluator=finetune.

    Attributes:
        workers: Number of sub-networks that are trained at once, each by its own process.
        epochs: Epochs of each training. null: as many as the supernet had.
        batch_size: Batch size of each training. null: the supernet's.
        learning_rate: Learning rate of each training. null: the supernet's.
        reports_per_epoch: Number of evaluations in each epoch. After each, moasha may stop the training.
        model: Folder of the pre-trained model, or its name on the hub. null: where the supernet's training had it.
    """

    workers: int = field(default=2, metadata=NO_EFFECT)
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    reports_per_epoch: int = 1
    model: str | None = field(default=None, metadata=counts_as(absolute_folder))

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("workers", "epochs", "batch_size", "reports_per_epoch"):
            if (count := getattr(self, key)) is not None:
                at_least(f"evaluator.{key}", count, 1)
        if self.learning_rate is not None:
            positive("evaluator.learning_rate", self.learning_rate)


EVALUATOR_OPTIONS: Mapping[str, type[EvaluatorOptions]] = {SUPERNET: SupernetEvaluator, FINETUNE: FinetuneEvaluator}
