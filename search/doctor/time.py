"""How long a planned training takes: three steps of the real trainer on the real rows, and an evaluation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Evaluator
from supernet.evaluation.latency_share import clocks_of
from supernet.models.slicing import extract
from supernet.options.training import IMPORTANCE, TrainConfig
from supernet.runtime.processes import accelerate_session
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork
from supernet.training.teacher import load_teacher
from supernet.training.trainer import Trainer

STEPS = 3
"""Steps that are measured."""
EVALUATED = 128
"""Validation rows that are evaluated."""


@dataclass(frozen=True)
class Duration:
    """An estimate of a training's time.

    Attributes:
        step_s: Seconds of a step: mean of short, usual and long batches.
        steps: Number of steps.
        validation_s: Seconds of all validations.
        importance_s: Seconds that the importance of heads and units takes; 0 if it is not measured.
        slowdown: How many times as long the steps took as without other programs; 1 where that is not known.
    """

    step_s: float
    steps: int
    validation_s: float
    importance_s: float
    slowdown: float = 1.0

    @property
    def total_s(self) -> float:
        """Seconds of the whole training."""
        return self.steps * self.step_s + self.validation_s + self.importance_s


def measure_duration(
    config: TrainConfig,
    data: TaskData,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    space: SearchSpace,
    validated: Sequence[SubNetwork],
) -> Duration:
    """Makes a few steps and evaluates a few rows. The model changes and is of no further use.

    Args:
        config: The options, with a decided precision. `train.compile` is left out, since compiling takes minutes.
        data: The rows.
        model: The pre-trained model with a head.
        tokenizer: Its tokenizer.
        space: The search space.
        validated: The sub-networks that are validated after each epoch.
    """
    padding = tokenizer.pad_token_id
    with accelerate_session(config.train.mixed_precision) as accelerator:
        teacher = load_teacher(config.distillation, data.task, model, tokenizer, device=accelerator.device)
        trainer = Trainer(config, accelerator, model, space, data.train, pad_token_id=padding, teacher=teacher)
        batches = _typical(trainer)
        trainer.step(batches[0], 0)  # allocates the optimizer's tensors
        _wait(accelerator)
        clock, start = clocks_of(accelerator.device)[0], time.perf_counter()
        own = -clock()
        for i, rows in enumerate(batches):
            trainer.step(rows, i * trainer.steps // STEPS)
        _wait(accelerator)
        own += clock()
        step, steps = (time.perf_counter() - start) / STEPS, trainer.steps
        evaluator = Evaluator(
            data.validation.take(np.random.default_rng(0).permutation(len(data.validation))[:EVALUATED]),
            data.task,
            tokenizer,
            device=accelerator.device,
            mixed_precision=accelerator.mixed_precision,
        )
        models = [extract(model, subnet, share=True) for subnet in validated]
        start = time.perf_counter()
        for each in models:
            evaluator.logits(each)
        evaluation = time.perf_counter() - start
    validation = evaluation * len(data.validation) / len(evaluator.labels)
    measured = config.order.batches if IMPORTANCE in (config.order.name, config.space.depth) else 0
    passes = max(1, len(config.strategy.passes(space, lambda: space.middle)))
    return Duration(
        step, steps, config.train.epochs * validation, measured * step / passes, slowdown=step * STEPS / own
    )


def _typical(trainer: Trainer) -> list[np.ndarray]:
    """A short, a usual and a long batch of the first epoch: their mean is about that of all."""
    lengths = trainer.split.lengths
    batches = sorted(trainer.batches(0), key=lambda rows: len(rows) * int(lengths[rows].max()))
    return [batches[int((i + 0.5) / STEPS * len(batches))] for i in range(STEPS)]


def _wait(accelerator: Accelerator) -> None:
    """Waits for the work of the device."""
    if accelerator.device.type != "cpu":
        torch.accelerator.synchronize()
