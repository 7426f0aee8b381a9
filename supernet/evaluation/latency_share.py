"""What a model takes of another one's time, the same on a quiet machine and on a busy one.

Other programs come and go, so the milliseconds of one moment do not compare with those of another. A share does: the
two models run one right after the other, again and again, and what counts is the median of the ratios.
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
    """What tells the time of a model that runs on a device in this process, the best first.

    A thread alone takes as much of its processor as it takes time, less what other programs have of that processor. Of
    several threads the processor's time leaves out that they wait for each other, so it is second to the time that
    passes: good where that one scatters.
    """
    if torch.device(device).type != "cpu":
        return (time.perf_counter,)
    return (time.thread_time,) if torch.get_num_threads() == 1 else (time.perf_counter, time.process_time)


@dataclass(frozen=True)
class Share:
    """What a model takes of another's time, by turns that each ran both.

    Attributes:
        median: Of the turns' ratios.
        low, high: Their first and third quartile.
        turns: How many there were.
        uncertainty: How well the median is known, as a share of it: twice the standard error of the ratios. Of a few
            turns the quartiles can be close by chance.
    """

    median: float
    low: float
    high: float
    turns: int
    uncertainty: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Share:
        """Of the ratios of all turns."""
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
    """What each model takes of the time of `whole`, each in turns with it, so that it is the same on a busy machine.

    In a turn each of the two runs once to warm up, and then `RUNS_PER_TURN` times, of which the fastest counts: what
    disturbs a run only makes it longer. Which of the two is first is left to chance.

    Args:
        models: Make the models.
        whole: Of which the share is; it is where they run.
        workload: The batch to run them on.
        mixed_precision: As in `measure_latency`.
        turns: The most turns of each.
        tolerance: `Share.uncertainty` that is enough in nine of ten models. If the first clock does not come to it in
            half of the turns, another one counts that does, and at last the one that comes nearest.
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
    """The first one that is known well enough, or else the one that is known best."""
    well = (share for share in shares if share.uncertainty <= tolerance)
    return next(well, min(shares, key=lambda share: share.uncertainty))
