"""The time of a model as a share of another model's time, which is the same on a quiet and on a busy machine.

Other programs come and go, so milliseconds measured at different moments cannot be compared. A share can: the two
models run directly after each other, many times, and the share is the median of the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from supernet.evaluation.latency import MIN_REPEATS, RUNS_PER_TURN, Clock, Timing, timed
from supernet.space.cost import Workload


def clocks_of(device: torch.device | str) -> tuple[Clock, ...]:
    """Clocks for a model that runs on a device in this process, the best first.

    For a single thread, its processor time is the time that passes, without the time of other programs. For several
    threads, processor time leaves out that they wait for each other. So the time that passes comes first, and processor
    time helps where the time that passes scatters.
    """
    if torch.device(device).type != "cpu":
        return (time.perf_counter,)
    return (time.thread_time,) if torch.get_num_threads() == 1 else (time.perf_counter, time.process_time)


@dataclass(frozen=True)
class Share:
    """The time of a model as a share of another model's time, from turns that ran both.

    Attributes:
        median: Median of the turns' ratios.
        low, high: First and third quartile of the ratios.
        turns: Number of turns.
        uncertainty: How well the median is known, as a share of it: twice the standard error of the ratios. (With few
            turns, quartiles can be close by chance.)
    """

    median: float
    low: float
    high: float
    turns: int
    uncertainty: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Share:
        """The share from the ratios of all turns."""
        low, median, high = np.percentile(ratios, (25, 50, 75)).tolist()
        return cls(median, low, high, len(ratios), 2 * float(np.std(ratios)) / len(ratios) ** 0.5 / median)


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
    """The time of each model as a share of the time of `whole`. They run in turns, so a busy machine matters little.

    In a turn each of the two runs once to warm up, and then `RUNS_PER_TURN` times. The fastest run counts, because
    disturbances only make a run longer. The order of the two is random.

    Args:
        models: Make the models.
        whole: The model to compare with; the models run on its device.
        workload: The batch to run them on.
        mixed_precision: As in `measure_latency`.
        turns: Largest number of turns of each model.
        tolerance: `Share.uncertainty` that is enough for nine of ten models. If the first clock does not reach it in
            half of the turns, another clock that does is used; if none does, the clock that comes nearest.
        clocks: Functions that give seconds, the best first; None: `clocks_of` the device.

    Returns:
        The share of each model, and how long `whole` took in all these turns, by the first clock.

    Raises:
        UserError: if the workload has more tokens than the model has positions.
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
            for clock_ratios, whole_time, model_time in zip(ratios[i], *least, strict=True):
                clock_ratios.append(model_time / whole_time)
            whole_seconds.append(least[0][0])
        trusted = 1 if turn + 1 < turns / 2 else len(clocks)
        known = [min(Share.of(by_clock).uncertainty for by_clock in of_clocks[:trusted]) for of_clocks in ratios]
        if turn + 1 >= MIN_REPEATS and np.quantile(known, 0.9) <= tolerance:
            break
    return [_best_known(list(map(Share.of, of_clocks)), tolerance) for of_clocks in ratios], Timing.of(whole_seconds)


def _fastest(model: PreTrainedModel, workload: Workload, mixed_precision: str, clocks: Sequence[Clock]) -> list[float]:
    """Seconds of the fastest run of a turn, by each clock."""
    with timed(model, workload, mixed_precision, *clocks) as run:
        run()
        return np.min([run() for _ in range(RUNS_PER_TURN)], axis=0).tolist()


def _best_known(shares: Sequence[Share], tolerance: float) -> Share:
    """The first share that is known well enough, else the share that is known best."""
    well = (share for share in shares if share.uncertainty <= tolerance)
    return next(well, min(shares, key=lambda share: share.uncertainty))
