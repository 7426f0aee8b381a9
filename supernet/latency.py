"""How long a model takes for one batch: measured on the device, after a warm-up, as often as it takes to be sure.

Other programs come and go, so the milliseconds of one moment do not compare with those of another. What compares is a
share: two models run one right after the other, again and again, and the median of what one takes of the other's time.

What is measured is an extracted sub-network (`supernet.slicing.extract`) as it would be shipped: in evaluation mode,
without gradients, in the precision that it is evaluated in, on random tokens without padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from supernet.cost import Workload
from supernet.errors import UserError
from supernet.evaluate import AUTOCAST
from supernet.families import family_of, is_choice

MIN_REPEATS = 5
"""Fewer leave no idea of how much they scatter."""

RUNS_PER_TURN = 3
"""Timed runs of a model before the next one's turn; the caches are warm by then, as in repeated use."""

Clock = Callable[[], float]


def clocks_of(device: torch.device | str) -> tuple[Clock, ...]:
    """What tells the time of a model that runs on a device in this process, the best first.

    A thread alone takes as much of its processor as it takes time, less what other programs have of that processor. Of
    several threads the processor's time leaves out that they wait for each other, so it is second to the time that
    passes: good where that one scatters.
    """
    if torch.device(device).type != "cpu":
        return (time.perf_counter,)
    return (time.thread_time,) if torch.get_num_threads() == 1 else (time.perf_counter, time.process_time)


@dataclass(frozen=True)
class Timing:
    """What repeated runs took, in milliseconds.

    Attributes:
        median_ms: Their median.
        low_ms, high_ms: First and third quartile.
        repeats: How many there were.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of the seconds that each run took."""
        low, median, high = (1e3 * np.percentile(seconds, (25, 50, 75))).tolist()
        return cls(median, low, high, len(seconds))

    @property
    def iqr_ms(self) -> float:
        """Interquartile range."""
        return self.high_ms - self.low_ms

    @property
    def uncertainty(self) -> float:
        """How well the median is known, as a share of it."""
        return _uncertainty(self.median_ms, self.iqr_ms, self.repeats)


@dataclass(frozen=True)
class Share:
    """What a model takes of another's time, by turns that each ran both.

    Attributes:
        median: Of the turns' ratios.
        low, high: Their first and third quartile.
        turns: How many there were.
    """

    median: float
    low: float
    high: float
    turns: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Share:
        """Of the ratios of all turns."""
        low, median, high = np.percentile(ratios, (25, 50, 75)).tolist()
        return cls(median, low, high, len(ratios))

    @property
    def uncertainty(self) -> float:
        """How well the median is known, as a share of it."""
        return _uncertainty(self.median, self.high - self.low, self.turns)


def _uncertainty(median: float, iqr: float, count: int) -> float:
    """About the half-width of a median's 95 % confidence interval, as a share of it.

    Source:
        McGill, Tukey & Larsen, "Variations of box plots", The American Statistician 32(1), 1978.
    """
    return 1.57 * iqr / count**0.5 / median


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
    """Runs a model again and again, until the median is known well enough.

    Args:
        model: An extracted sub-network, or any other model of a known family. Its mode stays as it was.
        workload: The batch to run it on.
        device: Where to run it, and where it then is; None is where it is now.
        mixed_precision: no | bf16 | fp16, as in `supernet.evaluate.Evaluator`.
        warmup: Runs before those that count.
        repeats: The most runs that count.
        tolerance: `Timing.uncertainty` that is enough.
        clock: Gives seconds. `time.process_time` leaves out what other programs take of a busy machine's processors;
            it adds up threads, so it is only good for one, and of no use on a GPU.

    Raises:
        UserError: if the model has no positions for so many tokens.
    """
    if device is not None:
        model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the method's own type
    with _timed(model, workload, mixed_precision, clock) as run:
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
    """Times several models that are to be compared: they take turns, so that a change of the machine's speed hits all.

    Each turn makes the model, runs it once to warm up, and then `RUNS_PER_TURN` times. Only one is in memory at once.

    Args:
        models: Make the models.
        workload: The batch to run them on.
        device: Where to run them.
        mixed_precision: As in `measure_latency`.
        turns: The most turns of each.
        tolerance: `Timing.uncertainty` that is enough in nine of ten models.
        clock: As in `measure_latency`.
    """
    seconds: list[list[float]] = [[] for _ in models]
    rng = np.random.default_rng(0)
    for turn in range(turns):
        # Otherwise each would always follow the same one, in whatever state that left the machine.
        for i in rng.permutation(len(models)).tolist():
            model = models[i]().to(device)
            with _timed(model, workload, mixed_precision, clock) as run:
                run()
                seconds[i] += [run()[0] for _ in range(RUNS_PER_TURN)]
        known = [Timing.of(each).uncertainty for each in seconds]
        if (turn + 1) * RUNS_PER_TURN >= MIN_REPEATS and np.quantile(known, 0.9) <= tolerance:
            break
    return [Timing.of(each) for each in seconds]


def measure_shares(
    models: Sequence[Callable[[], PreTrainedModel]],
    whole: PreTrainedModel,
    workload: Workload,
    *,
    mixed_precision: str = "no",
    turns: int = 20,
    tolerance: float = 0.03,
    clocks: Sequence[Clock] | None = None,
) -> tuple[list[Share], Timing]:
    """What each model takes of the time of `whole`, each in turns with it, so that it is the same on a busy machine.

    In a turn each of the two runs once to warm up, and then `RUNS_PER_TURN` times, of which the fastest counts: what
    disturbs a run only makes it longer. Which of the two is first is left to chance.

    Args:
        models: Make the models.
        whole: Of which the share is; it is where they run.
        workload: The batch to run them on.
        mixed_precision: As in `measure_latency`.
        turns: The most turns of each.
        tolerance: `Share.uncertainty` that is enough in nine of ten models. If the first clock does not come to it,
            another one counts that does, or the one that comes nearest.
        clocks: Give seconds, the best first; None is `clocks_of` the device.

    Returns:
        The share of each model, and how long `whole` took in all these turns, by the first clock.

    Raises:
        UserError: if the model has no positions for so many tokens.
    """
    clocks = clocks_of(whole.device) if clocks is None else clocks
    ratios: list[list[list[float]]] = [[[] for _ in clocks] for _ in models]
    whole_seconds: list[float] = []
    rng = np.random.default_rng(0)
    for turn in range(turns):
        for i in rng.permutation(len(models)).tolist():
            pair, least = (whole, models[i]().to(whole.device)), [[0.0], [0.0]]
            for k in rng.permutation(2).tolist():
                least[k] = _fastest(pair[k], workload, mixed_precision, clocks)
            for found, one, other in zip(ratios[i], *least, strict=True):
                found.append(other / one)
            whole_seconds.append(least[0][0])
        if turn + 1 >= MIN_REPEATS and np.quantile([Share.of(r[0]).uncertainty for r in ratios], 0.9) <= tolerance:
            break
    return [_best_known(list(map(Share.of, of_clocks)), tolerance) for of_clocks in ratios], Timing.of(whole_seconds)


def _fastest(model: PreTrainedModel, workload: Workload, mixed_precision: str, clocks: Sequence[Clock]) -> list[float]:
    """Seconds of the fastest run of a turn, by each clock."""
    with _timed(model, workload, mixed_precision, *clocks) as run:
        run()
        return np.min([run() for _ in range(RUNS_PER_TURN)], axis=0).tolist()


def _best_known(shares: Sequence[Share], tolerance: float) -> Share:
    """The first one that is known well enough, or else the one that is known best."""
    well = (share for share in shares if share.uncertainty <= tolerance)
    return next(well, min(shares, key=lambda share: share.uncertainty))


@contextmanager
def _timed(
    model: PreTrainedModel, workload: Workload, mixed_precision: str, *clocks: Clock
) -> Iterator[Callable[[], list[float]]]:
    """A function that runs the model once and says how many seconds it took, its device's work too, by each clock."""
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
    """Sees to it that a model can be run on a workload.

    Raises:
        UserError: if it has no positions for so many tokens.
    """
    most = family_of(config).max_tokens(config)
    if workload.length > most:
        raise UserError(
            f"workload.length is {workload.length}, but the model has positions for {most} tokens; give that or less"
        )


def random_inputs(model: PreTrainedModel, workload: Workload) -> dict[str, torch.Tensor]:
    """Keyword arguments of the model: random words and no padding, on its device, as an evaluation gives them.

    Raises:
        UserError: if the model has no positions for so many tokens.
    """
    config = model.config
    family = family_of(config)
    refuse_longer(config, workload)
    # Rows of one choice each, so that it is sequences that are counted.
    choice = is_choice(model)
    shape = (workload.batch_size, *([1] if choice else []), workload.length)
    ids = torch.randint(config.vocab_size - 1, shape, generator=torch.Generator().manual_seed(0))
    ids += ids >= (config.vocab_size if config.pad_token_id is None else config.pad_token_id)  # no padding
    inputs = {"input_ids": ids.to(model.device)}
    if family.token_types(config):
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    if choice:
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs
