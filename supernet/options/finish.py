"""The options for training a chosen sub-network alone (section `finetune` of `plm-supernet export`)."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.options.training import TEMPERATURES
from supernet.runtime.errors import at_least, one_of, positive, within

MOST_FINALISTS = 3

LABELS, LOGITS, BOTH = TARGETS = ("labels", "logits", "both")


@dataclass(frozen=True)
class FinishOptions:
    """How the chosen sub-network is trained alone, from its weights in the supernet.

    It is kept as it is after the best epoch, and only if it is then better on the validation rows.

    Attributes:
        epochs: Number of passes over the training rows. 0: the sub-network is not trained.
        targets: What it learns from. labels: the labels. logits: the full model's predictions. both: the two losses,
            added.
        learning_rate: Learning rate after the warm-up. It falls linearly to 0.
        batch_size: Rows per optimizer step.
        temperature: Larger values soften the predictions of full model and sub-network.
        finalists: Most sub-networks to train if limits choose: the chosen one, the largest that is as good, the largest
            that pruning alone gives. The best after training, on the validation rows, is exported. With
            max_error_increase: the chosen one, and two cheaper ones that lose up to twice as much before; the cheapest
            within the limit after training is exported.
    """

    epochs: int = 0
    targets: str = BOTH
    learning_rate: float = 5e-5
    batch_size: int = 16
    temperature: float = 10.0
    finalists: int = 1

    def __post_init__(self) -> None:
        at_least("finetune.epochs", self.epochs, 0, what="; 0 is off")
        one_of("finetune.targets", self.targets, TARGETS)
        positive("finetune.learning_rate", self.learning_rate)
        at_least("finetune.batch_size", self.batch_size, 1)
        within("finetune.temperature", self.temperature, *TEMPERATURES)
        within("finetune.finalists", self.finalists, 1, MOST_FINALISTS)
