"""The options of stage one (conf/train.yaml): distillation, optimizer, seeds and others."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from supernet.options.data import DataOptions
from supernet.options.model import ModelSource
from supernet.options.task import TaskSpec
from supernet.runtime.errors import MAX_SEED, UserError, at_least, one_of, positive, within
from supernet.runtime.fields import NO_EFFECT, absolute, counts_as, identity
from supernet.runtime.files import digest, folder_name
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.storage import user_path
from supernet.space.sampling import SamplingOptions
from supernet.space.spaces import SpaceOptions
from supernet.space.strategies import Strategy

MAX_DECAY = 100
"""At a usual learning rate, this decay already removes a weight within some hundred steps."""

RESUME = ("auto", "never")

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""As Accelerate calls them; the packages have the same names."""

TEST_RUN = "this is a test run (debug=fast), so its figures say nothing about the method"
"""Printed wherever figures of a test run are shown."""

IMPORTANCE = "importance"
ORDERS = ("none", IMPORTANCE)


@dataclass(frozen=True)
class OrderOptions:
    """How heads and units are ordered before training.

    Attributes:
        name: none: as they are. importance: by their importance for the task, measured by gradients on training rows.
        batches: Number of training batches that importance is measured on.
    """

    name: str = "none"
    batches: int = 32

    def __post_init__(self) -> None:
        one_of("order", self.name, ORDERS)
        at_least("order.batches", self.batches, 1, what=" training batches")


DIVERGENCES = ("forward", "reverse")

TEMPERATURES = (0.01, 1000)
"""Outside this range, float32 predictions are all equal or all certain, and a loss is not a number."""
MAX_WEIGHT = 1e6
"""Largest weight of a loss."""

TOP, SAME = HIDDEN_MAPS = ("top", "same")


@dataclass(frozen=True)
class Distillation:
    """What sub-networks learn from a teacher, besides the labels. Only for strategies that distil.

    Attributes:
        divergence: forward: KL(teacher | student), which has the same gradient as the paper's cross-entropy to the
            teacher's predictions. reverse: KL(student | teacher).
        temperature: Larger values soften the predictions of teacher and student.
        weight: Weight of this loss. The loss against the labels has weight 1.
        hidden_weight: Weight of the squared distance from the teacher's hidden states. 0: none.
        hidden_map: Which layer of the teacher a layer learns from. top: layers are paired from the last layer
            down. same: a layer learns from the layer that has its number in the full model.
        teacher: Folder of a fine-tuned model to learn from. null: the full model as it is in the same step.
    """

    divergence: str = "forward"
    temperature: float = 10.0
    weight: float = 1.0
    hidden_weight: float = 0.0
    hidden_map: str = TOP
    teacher: str | None = field(default=None, metadata=counts_as(absolute))

    def __post_init__(self) -> None:
        one_of("distillation.divergence", self.divergence, DIVERGENCES)
        one_of("distillation.hidden_map", self.hidden_map, HIDDEN_MAPS)
        within("distillation.temperature", self.temperature, *TEMPERATURES)
        within("distillation.weight", self.weight, 0, MAX_WEIGHT)
        within("distillation.hidden_weight", self.hidden_weight, 0, MAX_WEIGHT)


@dataclass(frozen=True)
class TrainOptions:
    """How long and how fast to train.

    Attributes:
        epochs: Number of passes over the training rows.
        batch_size: Rows per optimizer step, over all processes.
        learning_rate: Learning rate after the warm-up. It falls linearly to 0.
        weight_decay: Weight decay of all weights but biases and LayerNorm.
        warmup: Share of the steps over which the learning rate rises.
        max_grad_norm: Gradients are clipped to this norm. null: no clipping.
        mixed_precision: auto, fp32, bf16 or fp16. auto: what `accelerate launch --mixed_precision` says if that is bf16
            or fp16, else bf16 on a GPU that has it, else fp32.
        micro_batch_size: Rows per forward pass of one process. It is halved when memory runs out. null: the process's
            share of the batch.
        length_window: Number of batches whose rows are sorted by length together. 1: rows are shuffled only.
        gradient_checkpointing: Compute the layers again in the backward pass: less memory, more time.
        compile: Compile the layers with torch.compile, once for all sub-networks.
        checkpoint_every: Number of steps between two checkpoints. null: only at the end of an epoch and at a signal
            (SIGTERM, SIGUSR1, SIGUSR2).
        keep_checkpoints: Number of checkpoints to keep while training.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    max_grad_norm: float | None
    mixed_precision: str
    # micro_batch_size and gradient_checkpointing change the result by rounding and dropout at most, so a training that
    # ran out of memory may resume with other values.
    micro_batch_size: int | None = field(default=None, metadata=NO_EFFECT)
    length_window: int = 32
    gradient_checkpointing: bool = field(default=False, metadata=NO_EFFECT)
    compile: bool = False
    checkpoint_every: int | None = field(default=500, metadata=NO_EFFECT)
    keep_checkpoints: int = field(default=2, metadata=NO_EFFECT)

    def __post_init__(self) -> None:
        within("train.weight_decay", self.weight_decay, 0, MAX_DECAY)
        counts = ("epochs", "batch_size", "micro_batch_size", "length_window", "checkpoint_every", "keep_checkpoints")
        for key in counts:
            if (count := getattr(self, key)) is not None:
                at_least(f"train.{key}", count, 1)
        positive("train.learning_rate", self.learning_rate)
        if self.max_grad_norm is not None:
            positive("train.max_grad_norm", self.max_grad_norm, what=", or null for no clipping")
        within("train.warmup", self.warmup, 0, 1, what=", as a share of the steps")
        one_of("train.mixed_precision", self.mixed_precision, (AUTO, *PRECISIONS))


@dataclass(frozen=True)
class Seeds:
    """Seeds of each source of randomness. The default of each is `seed`.

    Attributes:
        model: Seed of the new classifier's weights and of dropout.
        data: Seed of the order of the training rows.
        sampling: Seed of the random sub-networks.
    """

    model: int
    data: int
    sampling: int

    def __post_init__(self) -> None:
        for option in fields(self):
            within(f"seed or seeds.{option.name}", getattr(self, option.name), 0, MAX_SEED)


@dataclass(frozen=True)
class TrackingOptions:
    """Where losses, errors and speed are logged besides metrics.jsonl.

    Attributes:
        to: List of trackers: tensorboard, wandb, mlflow. For example [tensorboard,wandb].
        project: Name that the runs are filed under: W&B's project, MLflow's experiment.
    """

    to: tuple[str, ...] = ()
    project: str = "plm-supernet"

    def __post_init__(self) -> None:
        for name in self.to:
            one_of("tracking.to", name, TRACKERS)


@dataclass(frozen=True)
class TrainConfig:
    """All options of stage one.

    The supernet is saved in OUTPUT_DIR/train/NAME/supernet. The same command again resumes an interrupted training.
    Text is taken as it is typed (data.dir=Größe[1].csv). null stands for no value, except where a column is named.

    Attributes:
        task: The task that the supernet is trained for.
        model: The pre-trained model. Other models of the same families: model.name_or_path=FOLDER_OR_NAME.
        space: The search space: which parts of the model a sub-network may leave out.
        strategy: Which sub-networks each training step trains.
        sampling: How random sub-networks are drawn.
        distillation: What sub-networks learn from a teacher.
        order: How heads and units are ordered before training.
        data: Where the rows come from and how they are split.
        train: How long and how fast to train.
        seeds: Seeds of each source of randomness.
        tracking: Where losses, errors and speed are logged besides metrics.jsonl.
        seed: Seed of weights and dropout, rows and sub-networks.
        output_dir: Folder of all runs.
        overwrite: Train again, even if this supernet is trained already.
        resume: auto: an interrupted training resumes from its last checkpoint. never: it starts from scratch.
        test_run: Mark the supernet as the result of a test run. debug=fast sets it.
    """

    task: TaskSpec
    model: ModelSource
    space: SpaceOptions
    strategy: Strategy
    sampling: SamplingOptions
    distillation: Distillation
    order: OrderOptions
    data: DataOptions
    train: TrainOptions
    seeds: Seeds
    tracking: TrackingOptions = field(metadata=NO_EFFECT)
    seed: int = 0
    output_dir: str = field(default="runs", metadata=NO_EFFECT)
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    resume: str = field(default="auto", metadata=NO_EFFECT)
    test_run: bool = False

    def __post_init__(self) -> None:
        one_of("resume", self.resume, RESUME)
        if self.distillation.teacher is not None and not self.strategy.distils:
            raise UserError(
                f"distillation.teacher={self.distillation.teacher} has no effect: strategy "
                f"'{self.strategy.name}' does not distil; use strategy=full or kd, or distillation.teacher=null"
            )
        if self.data.hub_revision is not None and self.data.source_of(self.task) != "hub":
            raise UserError(
                f"data.hub_revision={self.data.hub_revision} is for rows from the hub, but the rows are not from there;"
                " leave it out, or name a data set on the hub with data.hub=NAME"
            )

    @property
    def folder(self) -> Path:
        """The run folder: named after the options that change the result; no time stamp.

        Raises:
            ValueError: if the precision is not decided yet (`previous_run.with_precision`): it is part of the name.
        """
        if self.train.mixed_precision == AUTO:
            raise ValueError("train.mixed_precision=auto has to be decided before the folder has a name")
        values = digest(identity(self))
        name = folder_name(
            self.task.name, self.model.label, self.space.name, self.strategy.name, f"seed{self.seed}", values
        )
        return user_path(self.output_dir) / "train" / name
