"""One optimizer step of a supernet's training, on any number of processes and in micro-batches that fit into memory.

The model is not wrapped in DDP. A step runs forward and backward passes of several sub-networks, adds up their
gradients locally, and all-reduces them once. B rows of the batch, over all processes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from supernet.data.batches import Batch, collate, training_batches
from supernet.data.tokens import TokenizedSplit
from supernet.models.families import architecture_of
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.processes import print_with_rank, sum_over_processes
from supernet.space.base import SearchSpace
from supernet.space.cost import Architecture
from supernet.space.sampling import SAMPLERS
from supernet.space.strategies import KINDS, Pass
from supernet.space.subnetwork import SubNetwork
from supernet.training.gradients import accumulate_gradients
from supernet.training.memory import halve_until_it_fits
from supernet.training.teacher import Teacher


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step, the same in all processes.

    Attributes:
        losses: Mean loss over the whole batch of each kind of trained sub-network, 0-dimensional.
        stop: Whether any process was asked to stop. With several GPUs: by the end of the previous step, so that no
            process has to wait for its device here.
        done: Whether the step was made. If not, everything is as it was before the step.
    """

    losses: dict[str, Tensor]
    stop: bool = False
    done: bool = True


class _AbandonedError(Exception):
    """Raised after a backward pass to abandon the step."""


def _never() -> bool:
    return False


class Trainer:
    """The model, its optimizer and learning rate schedule; makes one step at a time.

    Args:
        config: The options.
        accelerator: The device and the other processes.
        model: The supernet. It is moved to the device and put into training mode.
        space: The search space.
        split: The training rows.
        pad_token_id: Token id of the padding.
        teacher: A fixed model to learn from, on the device, or its predictions of the rows of `split`; None is the full
            model.
        passes: The passes of every step. None: those that the strategy of `config` chooses.

    Raises:
        ValueError: if there are predictions of another number of rows.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        model: PreTrainedModel,
        space: SearchSpace,
        split: TokenizedSplit,
        *,
        pad_token_id: int,
        teacher: Teacher | None = None,
        passes: Sequence[Pass] | None = None,
    ) -> None:
        if isinstance(teacher, np.ndarray) and len(teacher) != len(split):
            raise ValueError(f"the teacher's predictions are of {len(teacher)} rows; there are {len(split)} rows")
        self.config, self.accelerator, self.space, self.split = config, accelerator, space, split
        self.pad_token_id, self.teacher, self.passes = pad_token_id, teacher, passes
        self.model = model.to(accelerator.device).train()
        options = config.train
        if options.gradient_checkpointing:
            _recompute_layers(self.model)
        self.micro_batch_size = options.micro_batch_size
        self._stop: Tensor | None = None
        self.steps_per_epoch = math.ceil(len(split) / options.batch_size)
        self.steps = options.epochs * self.steps_per_epoch
        # Fused is several times faster on a CPU, but hides from Accelerate which steps fp16's scaler has skipped.
        optimizer = torch.optim.AdamW(
            _parameter_groups(model, options.weight_decay), lr=options.learning_rate, fused=accelerator.scaler is None
        )
        self.optimizer = accelerator.prepare(optimizer)
        self.schedule = get_linear_schedule_with_warmup(optimizer, round(options.warmup * self.steps), self.steps)
        self.seed_dropout(0)

    def seed_dropout(self, step: int) -> None:
        """Seeds dropout, differently in each process. Everything else that is random has its own generator."""
        set_seed(self.config.seeds.model + step, device_specific=True)

    def random_state(self) -> Tensor:
        """(N,) uint8 on the device: this process's micro-batch size, then the states of its generators."""
        device = self.accelerator.device
        size = torch.tensor([self.micro_batch_size or 0], dtype=torch.int64).view(torch.uint8)
        return torch.cat([size, *generator_states(device)]).to(device)

    def set_random_state(self, state_N: Tensor) -> None:
        """Inverse of `random_state`. A smaller micro-batch size, which the user may now ask for, is kept."""
        sizes = [self.micro_batch_size, int(state_N[:8].clone().view(torch.int64))]
        self.micro_batch_size = min(filter(None, sizes), default=None)
        end = 8 + len(torch.get_rng_state())
        restore_generators([state_N[8:end].clone(), state_N[end:].clone()], self.accelerator.device)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The row numbers of an epoch's batches, the same in all processes."""
        options = self.config.train
        seed, window = self.config.seeds.data, options.length_window
        return training_batches(self.split, options.batch_size, seed=seed, epoch=epoch, window=window)

    def step(self, rows_B: np.ndarray, step: int, *, stop: Callable[[], bool] = _never) -> StepResult:
        """One optimizer step on a batch that is divided among the processes.

        If a process is asked to stop, it abandons the step after the current backward pass: it drops the gradients and
        restores dropout's generators, so that the step can be repeated later. All processes must agree on this, so the
        request is another number in the step's all-reduce. On a CPU the processes read the sum at once and all
        abandon the step. GPUs would have to wait for it, so they finish the step and stop after the next step.

        Args:
            rows_B: (B,) row numbers of the whole batch.
            step: Number of the step; the seed of its random sub-networks.
            stop: Whether this process has been asked to stop.

        Raises:
            UserError: if not even one row fits into memory.
        """
        accelerator = self.accelerator
        at_once = accelerator.num_processes == 1 or accelerator.device.type == "cpu"
        passes, before = self._passes(step), generator_states(accelerator.device)
        mine = np.array_split(rows_B, accelerator.num_processes)[accelerator.process_index]
        try:
            losses = self._gradients(mine, passes, rows=len(rows_B), abandon=stop if at_once else _never)
        except _AbandonedError:
            losses = torch.zeros(len(passes), device=accelerator.device)
        asked = stop()
        numbers = torch.cat([losses, losses.new_tensor([float(asked)])])
        sum_over_processes(accelerator, list(self.model.parameters()), numbers)
        abandoned = asked if accelerator.num_processes == 1 else at_once and bool(numbers[-1])
        if abandoned:
            self.optimizer.zero_grad()
            restore_generators(before, accelerator.device)
            return StepResult({}, stop=True, done=False)
        if self.config.train.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.max_grad_norm)
        self.optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        self.optimizer.zero_grad()
        means = {
            kind: numbers[[i for i, p in enumerate(passes) if p.kind == kind]].mean()
            for kind in KINDS
            if any(p.kind == kind for p in passes)
        }
        previous, self._stop = self._stop, None if at_once else numbers[-1]
        return StepResult(means, stop=previous is not None and bool(previous))

    def _passes(self, step: int) -> list[Pass]:
        """The passes of a step. They follow from its number, and from that of the process with sampling.per_rank."""
        if self.passes is not None:
            return list(self.passes)
        config = self.config
        seed = [config.seeds.sampling, step]
        own = [1 + self.accelerator.process_index] if config.sampling.per_rank else []
        rng = np.random.default_rng(seed + own)
        # The same in all processes. NumPy pads seeds with zeros, so [*seed, 0] would be the generator of the draws.
        ramp = np.random.default_rng([*seed, 0, 1]).random() < step / self.steps
        return config.strategy.passes(self.space, partial(self._sample, rng), ramp=ramp)

    def _sample(self, rng: np.random.Generator) -> SubNetwork:
        return SAMPLERS[self.config.sampling.name](self.space, self._architecture, rng)

    @cached_property
    def _architecture(self) -> Architecture:
        # Lazy, since a model without layers has no architecture, and may be trained alone.
        return architecture_of(self.model.config)

    def _gradients(
        self, mine: np.ndarray, passes: list[Pass], *, rows: int, abandon: Callable[[], bool] = _never
    ) -> Tensor:
        """(number of passes,) losses of this process's rows. Micro-batches are halved until they fit into memory."""

        def backward(loss: Tensor) -> None:
            self.accelerator.backward(loss)
            if abandon():
                raise _AbandonedError

        def accumulate(size: int) -> Tensor:
            self.optimizer.zero_grad()
            return self._accumulate(mine, passes, backward, rows=rows, size=size)

        size = max(1, min(self.micro_batch_size or len(mine), len(mine)))
        losses, fitting = halve_until_it_fits(
            accumulate, size, max_length=self.config.task.max_length, report=partial(print_with_rank, self.accelerator)
        )
        if fitting < size:
            self.micro_batch_size = fitting
        return losses

    def _accumulate(
        self, mine: np.ndarray, passes: list[Pass], backward: Callable[[Tensor], None], *, rows: int, size: int
    ) -> Tensor:
        """(number of passes,) losses, in micro-batches of `size` rows; the gradients add up in the model."""
        accelerator = self.accelerator
        losses = torch.zeros(len(passes), device=accelerator.device)
        for start in range(0, len(mine), size):
            batch = collate(self.split, mine[start : start + size], self.pad_token_id, accelerator.device)
            losses += torch.stack(
                accumulate_gradients(
                    self.model,
                    batch.inputs,
                    batch.labels,
                    passes,
                    distillation=self.config.distillation,
                    rows=rows,
                    teacher=self._teacher_of(batch),
                    backward=backward,
                    autocast=accelerator.autocast,
                )
            )
        if not len(mine) and accelerator.scaler is not None:
            accelerator.scaler.scale(losses)  # a process without rows needs the scale too
        return losses

    def _teacher_of(self, batch: Batch) -> PreTrainedModel | Tensor | None:
        """The teacher, or what it predicts for the rows of a batch."""
        if not isinstance(self.teacher, np.ndarray):
            return self.teacher
        return torch.from_numpy(self.teacher[batch.rows]).to(self.accelerator.device)


def generator_states(device: torch.device) -> list[Tensor]:
    """The states of the generators that dropout on a device uses: the CPU's, and the GPU's."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def restore_generators(states: Sequence[Tensor], device: torch.device) -> None:
    """Inverse of `generator_states`."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def _recompute_layers(model: PreTrainedModel) -> None:
    """Turns on gradient checkpointing, for views of the model too: the backward pass computes each layer again.

    The reentrant variant would detach the layer's inputs and give wrong gradients.
    """
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"train.gradient_checkpointing=true: {type(model).__name__} does not support it; set it to false"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer versions of transformers rename the argument
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay; vectors (biases, LayerNorm) without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
