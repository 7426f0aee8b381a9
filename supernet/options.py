"""Everything that stage one can be told: the frozen values that conf/train.yaml and the command line become."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from supernet.data import DataOptions
from supernet.distillation import Distillation
from supernet.errors import UserError, unknown
from supernet.importance import OrderOptions
from supernet.models import ModelSource
from supernet.runs import digest, folder_name
from supernet.sampling import SamplingOptions
from supernet.spaces import SpaceOptions
from supernet.strategies import Strategy
from supernet.tasks import Task

MAX_SEED = 2**31
"""Well below what NumPy's and torch's global generators take, with room for a seed of each process."""

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Our names, and Accelerate's."""

RESUME = ("auto", "never")
"""Whether an interrupted training goes on, or starts anew."""

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Accelerate's names, and those of the packages."""


@dataclass(frozen=True)
class TrainOptions:
    """How long and how fast to train.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Rows per optimizer step, over all processes.
        learning_rate: At the end of the warm-up; falls linearly to 0.
        weight_decay: Of all but biases and LayerNorm.
        warmup: Share of the steps over which the learning rate rises.
        max_grad_norm: Gradients are clipped to this norm; None does not clip.
        mixed_precision: auto | fp32 | bf16 | fp16. `auto` is what `accelerate launch --mixed_precision` says if that
            is bf16 or fp16, else bf16 on a GPU that has it, else fp32.
        micro_batch_size: Rows per forward pass of one process; None is the process's share of the batch. It is halved
            by itself when memory runs out.
        length_window: Batches whose rows are sorted by length together; 1 makes batches of plainly shuffled rows.
        gradient_checkpointing: Whether the layers are computed again in the backward pass rather than kept.
        compile: Whether the layers are compiled, once for all sub-networks.
        checkpoint_every: Steps between two training checkpoints; None leaves those at the end of each epoch and at
            signals.
        keep_checkpoints: The newest so many are kept while training.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    max_grad_norm: float | None
    mixed_precision: str
    micro_batch_size: int | None = None
    length_window: int = 32
    gradient_checkpointing: bool = False
    compile: bool = False
    checkpoint_every: int | None = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        _at_least("train.epochs", self.epochs, 1)
        _at_least("train.batch_size", self.batch_size, 1)
        if not 0 <= self.weight_decay < math.inf:
            raise UserError(f"train.weight_decay is {self.weight_decay}; it must be 0 or a number greater than that")
        for key in ("micro_batch_size", "length_window", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, key) is not None:
                _at_least(f"train.{key}", getattr(self, key), 1)
        for key, hint in (("learning_rate", ""), ("max_grad_norm", ", or null, which does not clip")):
            if getattr(self, key) is not None and not 0 < getattr(self, key) < math.inf:
                raise UserError(f"train.{key} is {getattr(self, key)}; it must be a number greater than 0{hint}")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"train.warmup is {self.warmup}; it must be a share of the steps, from 0 to 1")
        if self.mixed_precision not in ("auto", *PRECISIONS):
            raise unknown("train.mixed_precision", self.mixed_precision, ("auto", *PRECISIONS))


@dataclass(frozen=True)
class Seeds:
    """Of each source of randomness: the classifier's weights and dropout, the order of the rows, the sub-networks."""

    model: int
    data: int
    sampling: int

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if not 0 <= value <= MAX_SEED:
                raise UserError(f"seed or seeds.{key} is {value}; it must be from 0 to {MAX_SEED}")


@dataclass(frozen=True)
class TrackingOptions:
    """Where losses, errors and speed are shown besides metrics.jsonl.

    Attributes:
        to: Names of `TRACKERS`; none by default.
        project: What the runs are filed under: W&B's project, MLflow's experiment.
    """

    to: tuple[str, ...] = ()
    project: str = "plm-supernet"

    def __post_init__(self) -> None:
        for name in self.to:
            if name not in TRACKERS:
                raise unknown("tracking.to", name, TRACKERS)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that stage one can be told (conf/train.yaml)."""

    task: Task
    model: ModelSource
    space: SpaceOptions
    strategy: Strategy
    sampling: SamplingOptions
    distillation: Distillation
    order: OrderOptions
    data: DataOptions
    train: TrainOptions
    seeds: Seeds
    tracking: TrackingOptions
    seed: int = 0
    output_dir: str = "runs"
    overwrite: bool = False
    resume: str = "auto"

    def __post_init__(self) -> None:
        if self.resume not in RESUME:
            raise unknown("resume", self.resume, RESUME)
        if self.distillation.teacher is not None and not self.strategy.distils:
            raise UserError(
                f"distillation.teacher={self.distillation.teacher} would never be asked: strategy "
                f"'{self.strategy.name}' does not distil; use strategy=full or kd, or distillation.teacher=null"
            )

    @property
    def folder(self) -> Path:
        """The run folder: named after the configuration, but for what does not change the result; no time stamp."""
        values = asdict(self) | {"data": asdict(self.data.absolute())}
        values["model"]["name_or_path"] = self.model.absolute_path()
        if self.distillation.teacher is not None:
            values["distillation"]["teacher"] = os.path.abspath(os.path.expanduser(self.distillation.teacher))
        for key in ("output_dir", "overwrite", "resume", "tracking"):
            del values[key]
        # What changes the result by rounding and dropout at most: after the advice to use them, a training may go on.
        for key in ("checkpoint_every", "keep_checkpoints", "micro_batch_size", "gradient_checkpointing"):
            del values["train"][key]
        del values["data"]["cache_dir"]
        name = folder_name(
            self.task.name, self.model.label, self.space.name, self.strategy.name, f"seed{self.seed}", digest(values)
        )
        return Path(self.output_dir).expanduser() / "train" / name


def _at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise UserError(f"{key} is {value}; it must be {least} or more")
