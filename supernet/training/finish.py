"""Trains a chosen sub-network alone, from its weights in the supernet, and keeps the result if it is better.

It learns from the labels, from the full model's predictions, or from both. The validation rows decide between the start
and the end of each epoch: the smallest error, then the smallest loss. Test rows are never read.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from safetensors.torch import load_model
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.models.files import refusing
from supernet.models.single import SingleSpace
from supernet.models.weights import read_seen, weights_digest_of, write_weights
from supernet.options.finish import BOTH, LABELS, LOGITS, FinishOptions
from supernet.options.training import Distillation, Seeds, TrackingOptions, TrainConfig
from supernet.runtime.digests import row_digests
from supernet.runtime.errors import UserError
from supernet.runtime.fields import identity
from supernet.runtime.files import digest, write_json
from supernet.runtime.precision import AUTO
from supernet.runtime.processes import accelerate_session, lock_run_folder, resolve_precision
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.runtime.signals import stop_request
from supernet.space.strategies import LARGEST, Pass, Strategy
from supernet.space.subnetwork import SubNetwork
from supernet.training.checkpoints import CHECKPOINTS, remove_checkpoints
from supernet.training.epochs import Begun, Epochs, begin
from supernet.training.teacher import Teacher, kept_logits, teacher_digest
from supernet.training.trainer import Trainer

BEST_FILE, RESULT_FILE = "best.safetensors", "finished.json"

LESSONS: dict[str, dict[str, Any]] = {
    LABELS: {"distils": False, "label_weight": 1.0},
    LOGITS: {"distils": True, "label_weight": 0.0},
    BOTH: {"distils": True, "label_weight": 1.0},
}
"""How the single pass of a step learns, by `FinishOptions.targets`."""

FULL_MODEL = "the full model's predictions"
_WORDS = {LABELS: "the labels", LOGITS: FULL_MODEL, BOTH: f"the labels and {FULL_MODEL}"}


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


@dataclass(frozen=True)
class _Result:
    """The content of finished.json; `Finished` without the model. Its weights are in best.safetensors if epoch > 0."""

    epoch: int
    before: Scores
    after: Scores


def finish(
    model: PreTrainedModel,
    subnet: SubNetwork,
    teacher: Teacher,
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

    With 0 epochs it trains nothing and only evaluates the given model.

    Args:
        model: The sub-network's model, on the CPU and in evaluation mode. It is not changed.
        subnet: What it keeps of the full model.
        teacher: The full model, on the CPU and in evaluation mode, or its predictions (`teacher_logits`). Not changed.
        data: The rows. Test rows are not read.
        tokenizer: The model's tokenizer.
        training: The supernet's training (`previous_run.training_of`): weight decay, warm-up and the other values.
        options: How to train.
        folder: Gets a folder for this training: checkpoints, metrics.jsonl, the result. Another model, other rows or
            other options have another one. Remove it when the result is not needed any more.
        seed: Of dropout and of the order of the rows.
        console: Receives a line for each epoch.

    Raises:
        UserError: if the loss is not finite, or this process is one of several.
        SystemExit: if a signal asks the training to stop, after a checkpoint is written.
    """
    if not options.epochs:
        scores = Evaluator(data.validation, data.task, tokenizer).evaluate(model)
        return Finished(model, 0, scores, scores)
    job = _Job(model, subnet, teacher, data, tokenizer, _config(training, data, options, seed), options)
    folder = folder / f"finish-{job.digest()}"
    with accelerate_session(job.config.train.mixed_precision) as accelerator:
        if accelerator.num_processes > 1:
            raise UserError(
                f"finetune.epochs={options.epochs} trains in one process, and accelerate has started "
                f"{accelerator.num_processes}; start the command without accelerate launch, or use finetune.epochs=0"
            )
        if not (folder / RESULT_FILE).exists():
            with lock_run_folder(accelerator, folder):
                job.train(folder, accelerator, console)
    return _finished(folder, model, console)


def precision_of(training: TrainConfig) -> str:
    """The precision that finishing computes in: fp32, bf16 or fp16."""
    # A supernet trained on a GPU may be finished elsewhere, where its precision is slow or impossible.
    return resolve_precision(training.train.mixed_precision if torch.accelerator.is_available() else AUTO)


def _config(training: TrainConfig, data: TaskData, options: FinishOptions, seed: int) -> TrainConfig:
    """The supernet's training options, for a sub-network alone."""
    return replace(
        training,
        task=data.task,
        strategy=Strategy("standard", k=0),
        distillation=Distillation(temperature=options.temperature),
        train=replace(
            training.train,
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            mixed_precision=precision_of(training),
            compile=False,
            keep_checkpoints=1,
        ),
        seeds=Seeds(seed, seed, seed),
        tracking=TrackingOptions(),
        resume="auto",
    )


@dataclass(frozen=True)
class _Job:
    """A training of a sub-network: what `finish` was given, and its configuration."""

    model: PreTrainedModel
    subnet: SubNetwork
    teacher: Teacher
    data: TaskData
    tokenizer: PreTrainedTokenizerBase
    config: TrainConfig
    options: FinishOptions

    @cached_property
    def origins(self) -> dict[str, str]:
        """Digests of everything that is learned from."""
        rows = {name: getattr(self.data, name).digest() for name in ("train", "validation")}
        models = {"sub-network": weights_digest_of(self.model), "full model": teacher_digest(self.teacher)}
        return row_digests(rows, self.data.task.answers) | models

    def digest(self) -> str:
        """Of everything that the result depends on."""
        config, options = self.config, self.options
        values = (identity(config.train), identity(options), config.seeds.model, self.subnet.to_json(), self.origins)
        return digest(values)

    def predictions(self, folder: Path, accelerator: Accelerator, console: Console) -> np.ndarray | None:
        """The full model's predictions of the training rows; None if nothing is learned from them.

        They are kept in the folder: a training that resumes goes on at once, with the same bits.
        """
        if not LESSONS[self.options.targets]["distils"]:
            return None
        path = folder / CHECKPOINTS / "teacher.npz"  # removed with the checkpoints
        return kept_logits(path, self.teacher, self.data, self.tokenizer, accelerator=accelerator, console=console)

    def train(self, folder: Path, accelerator: Accelerator, console: Console) -> None:
        """Trains in a folder until its result is there, from the newest checkpoint on."""
        model = copy.deepcopy(self.model).requires_grad_(True)
        space = SingleSpace.of(model, self.subnet)
        trainer = Trainer(
            self.config,
            accelerator,
            model,
            space,
            self.data.train,
            pad_token_id=self.tokenizer.pad_token_id,
            teacher=self.predictions(folder, accelerator, console),
            passes=[Pass(LARGEST, space.largest, **LESSONS[self.options.targets])],
        )
        evaluator = Evaluator(
            self.data.validation,
            self.data.task,
            self.tokenizer,
            device=accelerator.device,
            mixed_precision=accelerator.mixed_precision,
        )
        before = evaluator.evaluate(model)
        console.print(
            f"finishing the sub-network: {trainer.steps} steps, it learns from {_WORDS[self.options.targets]}; "
            f"validation {_text(before)}"
        )
        again = f"removing {folder.name}"
        # Before this, there is nothing to save, so a signal may end the process.
        with stop_request() as stop, begin(trainer, folder, self.origins, console, stop, from_scratch=again) as begun:
            _Finishing(begun, evaluator, before).train_to_the_end()


class _Finishing(Epochs):
    """The training of a sub-network in a folder. It keeps the best weights so far, unless those are the start.

    Args:
        begun: The training.
        evaluator: Of the validation rows.
        before: Scores of the start.
    """

    advice = "lower finetune.learning_rate ({rate:g})"

    def __init__(self, begun: Begun, evaluator: Evaluator, before: Scores) -> None:
        super().__init__(begun)
        self.evaluator, self.before = evaluator, before

    def best(self) -> _Result:
        """The best so far. The file decides: it may be of an epoch that is made again, to the same bits."""
        path = self.folder / BEST_FILE
        if not path.exists():
            return _Result(0, self.before, self.before)
        seen = read_seen(path)
        return _Result(int(seen["epoch"]), self.before, Scores(seen["error"], seen["loss"], int(seen["rows"])))

    def end_epoch(self) -> None:
        """Validates, keeps the weights if they are the best so far, and writes a checkpoint."""
        position = self.position
        with self._explained_interrupt():
            scores = self.evaluator.evaluate(self.model)
        position.epochs += 1
        with self._explained_storage_error():
            seen = {"epoch": position.epochs, "validation_error": scores.error, "validation_loss": scores.loss}
            self.tracking.record(seen, step=position.step - 1)
            if _is_better(scores, self.best().after):
                write_weights(self.folder / BEST_FILE, self.model, asdict(scores) | {"epoch": position.epochs})
        self.console.print(f"epoch {position.epochs}/{self.config.train.epochs}: validation {_text(scores)}")
        self._checkpoint()

    def finish(self) -> None:
        """Writes the result and removes the checkpoints."""
        best = self.best()
        with self._explained_storage_error():
            write_json(self.folder / RESULT_FILE, asdict(best))
        remove_checkpoints(self.checkpoints)


def _is_better(scores: Scores, than: Scores) -> bool:
    return (scores.error, scores.loss) < (than.error, than.loss)


def _text(scores: Scores) -> str:
    return f"error {scores.error:.4f}, loss {scores.loss:.4f}"


def _finished(folder: Path, model: PreTrainedModel, console: Console) -> Finished:
    """The result in a folder, for the model that it started from."""
    remove_checkpoints(folder / CHECKPOINTS)  # a process that is killed in between leaves them
    with unusable(str(folder / RESULT_FILE), f"remove {folder}, and the sub-network is trained again"):
        result = shaped(_Result, load_json(folder / RESULT_FILE))
    if not result.epoch:
        console.print(f"the training has not helped (validation {_text(result.before)}): the weights stay as they were")
        return Finished(model, 0, result.before, result.after)
    path, trained = folder / BEST_FILE, copy.deepcopy(model)
    with refusing(f"{path} cannot be used", f"remove {folder}, and the sub-network is trained again"):
        load_model(trained, path)
    before, after = _text(result.before), _text(result.after)
    console.print(f"epoch {result.epoch} is the best: validation {after} (before: {before})")
    return Finished(trained, result.epoch, result.before, result.after)
