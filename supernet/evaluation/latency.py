"""How long a model takes for a batch: measured on the device, after a warm-up, until the median is well known.

The model is an extracted sub-network (`slicing.extract`), as a user would ship it. It runs in evaluation mode, without
gradients, in the precision of the evaluation, on random tokens without padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from supernet.evaluation.evaluator import AUTOCAST
from supernet.models.families import family_of
from supernet.models.heads import head_of
from supernet.runtime.errors import UserError
from supernet.space.cost import Workload

MIN_REPEATS = 5
"""With fewer repeats, nobody knows how much they scatter."""

RUNS_PER_TURN = 3
"""Timed runs of a model in its turn. The caches are warm then, as in repeated use."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """What repeated runs took, in milliseconds.

    Attributes:
        median_ms: Median of the runs.
        low_ms, high_ms: First and third quartile.
        repeats: Number of runs.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The timing of runs that took these seconds."""
        low, median, high = (1e3 * np.percentile(seconds, (25, 50, 75))).tolist()
        return cls(median, low, high, len(seconds))

    @property
    def iqr_ms(self) -> float:
        """Interquartile range."""
        return self.high_ms - self.low_ms

    @property
    def uncertainty(self) -> float:
        """How well the median is known, as a share of it: about the half-width of its 95 % confidence interval.

        Source:
            McGill, Tukey & Larsen, "Variations of box plots", The American Statistician 32(1), 1978.
        """
        return 1.57 * self.iqr_ms / self.repeats**0.5 / self.median_ms


def measure_latency(
    model: PreTrainedModel,
    workload: Workload,
    *,
    device: torch.device | str | None = None,
    mixed_precision: str = "no",
    warmup: int = 3,
    repeats: int = 100,
    tolerance: float = 0.02,
    clock: Clock = time.perf_counter,
) -> Timing:
    """Runs a model repeatedly, until the median is known well enough.

    Args:
        model: An extracted sub-network, or any other model of a known family. Its mode stays as it was.
        workload: The batch to run it on.
        device: Where to run it; the model stays there. None: where the model is now.
        mixed_precision: no | bf16 | fp16, as in `supernet.evaluation.evaluator.Evaluator`.
        warmup: Number of runs before the timed runs.
        repeats: Largest number of timed runs.
        tolerance: `Timing.uncertainty` that is enough.
        clock: Gives seconds. `time.process_time` leaves out the time of other programs on a busy machine. It adds up
            threads, so it suits a single thread only, and no GPU.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
    """
    if device is not None:
        model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the method's own type
    with timed(model, workload, mixed_precision, clock) as run:
        for _ in range(warmup):
            run()
        seconds = [run()[0] for _ in range(min(MIN_REPEATS, repeats))]
        while len(seconds) < repeats and Timing.of(seconds).uncertainty > tolerance:
            seconds += run()
    return Timing.of(seconds)


def measure_in_turns(
    models: Sequence[Callable[[], PreTrainedModel]],
    workload: Workload,
    *,
    device: torch.device | str,
    mixed_precision: str = "no",
    turns: int = 20,
    tolerance: float = 0.02,
    clock: Clock = time.perf_counter,
) -> list[Timing]:
    """Times several models to compare them: they take turns, so that a change of the machine's speed affects all.

    Each turn makes the model, runs it once to warm up, and then `RUNS_PER_TURN` times. Memory holds a single model.

    Args:
        models: Make the models.
        workload: The batch to run them on.
        device: Where to run them.
        mixed_precision: As in `measure_latency`.
        turns: Largest number of turns of each model.
        tolerance: `Timing.uncertainty` that is enough for nine of ten models.
        clock: As in `measure_latency`.
    """
    seconds: list[list[float]] = [[] for _ in models]
    rng = np.random.default_rng(0)
    for turn in range(turns):
        # In a fixed order, each model would always follow the same model, in the state that this leaves the machine in.
        for i in rng.permutation(len(models)).tolist():
            model = models[i]().to(device)
            with timed(model, workload, mixed_precision, clock) as run:
                run()
                seconds[i] += [run()[0] for _ in range(RUNS_PER_TURN)]
        known = [Timing.of(runs).uncertainty for runs in seconds]
        if (turn + 1) * RUNS_PER_TURN >= MIN_REPEATS and np.quantile(known, 0.9) <= tolerance:
            break
    return [Timing.of(runs) for runs in seconds]


@contextmanager
def timed(
    model: PreTrainedModel, workload: Workload, mixed_precision: str, *clocks: Clock
) -> Iterator[Callable[[], list[float]]]:
    """A function that runs the model once and returns the seconds by each clock, with the device's work included."""
    inputs, was_training, dtype = random_inputs(model, workload), model.training, AUTOCAST[mixed_precision]
    wait = torch.accelerator.synchronize if model.device.type != "cpu" else lambda: None

    def run() -> list[float]:
        wait()
        start = [clock() for clock in clocks]
        model(**inputs)
        wait()
        return [clock() - before for clock, before in zip(clocks, start, strict=True)]

    model.eval()
    try:
        with torch.inference_mode(), torch.autocast(model.device.type, dtype, enabled=dtype is not None):
            yield run
    finally:
        model.train(was_training)


def refuse_longer(config: PretrainedConfig, workload: Workload) -> None:
    """Checks that a model can run a workload.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
    """
    most = family_of(config).max_tokens(config)
    if workload.length > most:
        raise UserError(
            f"workload.length is {workload.length}, but the model has positions for {most} tokens; give that or less"
        )


def random_inputs(model: PreTrainedModel, workload: Workload) -> dict[str, torch.Tensor]:
    """Keyword arguments of the model: random words and no padding, on its device, like those of an evaluation.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
    """
    config = model.config
    family = family_of(config)
    refuse_longer(config, workload)
    shape = (workload.batch_size, workload.length)
    ids = torch.randint(config.vocab_size - 1, shape, generator=torch.Generator().manual_seed(0))
    ids += ids >= (config.vocab_size if config.pad_token_id is None else config.pad_token_id)  # no padding
    inputs = head_of(model).inputs_of(ids.to(model.device))
    types = {"token_type_ids": torch.zeros_like(inputs["input_ids"])} if family.token_types(config) else {}
    return inputs | types
