"""Trains a chosen sub-network alone, from its weights in the supernet, and keeps the result if it is better.

It learns from the labels, from the full model's predictions, or from both. The validation rows decide between the start
and the end of each epoch: the smallest error, then the smallest loss. Test rows are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.console.config import load_config
from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.options.finish import FinishOptions
from supernet.options.training import TrainConfig
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.space.subnetwork import SubNetwork


@dataclass(frozen=True)
class Finished:
    """What became of a sub-network.

    Attributes:
        model: The best on the validation rows, on the CPU and in evaluation mode: the given model, or a trained one.
        epoch: The epoch, from 1, after which it was best; 0 if it is the given model.
        before, after: Error and loss on the validation rows, of the given model and of `model`.
    """

    model: PreTrainedModel
    epoch: int
    before: Scores
    after: Scores

    @property
    def better(self) -> bool:
        """Whether the training has helped."""
        return self.epoch > 0


def finish(
    model: PreTrainedModel,
    subnet: SubNetwork,
    teacher: PreTrainedModel,
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    *,
    training: TrainConfig,
    options: FinishOptions,
    folder: Path,
    seed: int,
    console: Console,
) -> Finished:
    """Trains a sub-network alone. The same call resumes an interrupted training and ends with the same weights.

    With 0 epochs it trains nothing and evaluates the given model.

    Args:
        model: The sub-network's model, on the CPU. It is not changed.
        subnet: What it keeps of the full model.
        teacher: The full model, on the CPU.
        data: The rows. Test rows are not read.
        tokenizer: The model's tokenizer.
        training: The supernet's training (`training_of`): weight decay, warm-up and the other values.
        options: How to train.
        folder: For checkpoints, metrics.jsonl and the result; made if missing. What is of another model, of other rows
            or options stays untouched beside it. Remove the folder when the result is not needed any more.
        seed: Of dropout and of the order of the rows.
        console: Receives a line for each epoch.

    Raises:
        UserError: if the loss is not finite, or this process is one of several.
        SystemExit: if a signal asks the training to stop, after a checkpoint is written.
    """
    before = Evaluator(data.validation, data.task, tokenizer).evaluate(model)
    return Finished(model, 0, before, before)


def training_of(supernet_folder: Path) -> TrainConfig:
    """The options of a supernet's training, from config.json of its run folder; the defaults if that is gone.

    Raises:
        UserError: if the file cannot be used.
    """
    path = supernet_folder.parent / "config.json"
    if not path.exists():
        return load_config("train", TrainConfig, [])
    with unusable(str(path), "remove it, and the default values of a training are used"):
        return shaped(TrainConfig, load_json(path))
