"""How sure a choice is: which models cannot be told apart from the best one on the rows at hand, by a paired bootstrap.

Two models that answer the same rows make many of the same mistakes. So their difference is known better than the error
of each, and rows are drawn again for all models at once.

Shape letters: m models, n rows, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from search.choice.answers import Answers
from search.choice.resampling import RESAMPLED, resamples
from search.trials import Evaluated
from supernet.space.subnetwork import SubNetwork

CONFIDENCE = 0.9
"""Of every statement: it is wrong in at most one of ten runs."""

TEST, FIRST = (200, 2000), (10, 50)
"""The fewest and the most resamples: of the test, and to see which models are far behind."""

FAR = 5.0
"""Standard errors behind the best model that need no test."""

_ROWS, _PAIRS = 2e7, 1e8
"""How large B * n and B * m * m may be."""

_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Comparison:
    """What rows say of several models.

    Attributes:
        alike_m: Whether each model may be the best: the others are not better than it beyond chance.
        best_m: Share of resamples in which each has the least error; models that are equally good share it.
    """

    alike_m: np.ndarray
    best_m: np.ndarray


@dataclass(frozen=True, eq=False)
class Sureness:
    """What rows say of the sub-networks within the limits.

    Attributes:
        alike: Those that may be the best: the truly best one is among them with a probability of `CONFIDENCE`.
        best: For each sub-network, the share of resamples of the rows in which it is the best.
        rows: Number of rows.
    """

    alike: tuple[Evaluated, ...]
    best: Mapping[SubNetwork, float]
    rows: int


@dataclass(frozen=True)
class Interval:
    """A difference of two errors.

    Attributes:
        value: On all rows.
        low, high: Where it may lie, with `CONFIDENCE`.
    """

    value: float
    low: float
    high: float


def how_sure(within: Sequence[Evaluated], answers: Answers, metric: str) -> Sureness | None:
    """What rows say of sub-networks; None if the answers of one of them are not known.

    Args:
        within: The sub-networks, one or more.
        answers: What is known of their answers.
        metric: The error is 1 - metric.
    """
    if not all(e.subnet in answers.of for e in within):
        return None
    found = compare(metric, np.stack([answers.of[e.subnet].answers_n for e in within]), answers.labels_n)
    alike = tuple(e for e, is_alike in zip(within, found.alike_m, strict=True) if is_alike)
    best = {e.subnet: float(share) for e, share in zip(within, found.best_m, strict=True)}
    return Sureness(alike, best, len(answers.labels_n))


def against(e: Evaluated, other: Evaluated, answers: Answers, metric: str) -> Interval | None:
    """How much larger the error of a sub-network is than another's; None if the answers of one are not known."""
    if not {e.subnet, other.subnet} <= answers.of.keys():
        return None
    return difference(metric, answers.of[e.subnet].answers_n, answers.of[other.subnet].answers_n, answers.labels_n)


def compare(metric: str, answers_mn: np.ndarray, labels_n: np.ndarray) -> Comparison:
    """Finds the models that may be the best: a set that holds the truly best one with a probability of `CONFIDENCE`.

    For each model the hypothesis "no other is truly better" is tested: by the largest lead of another one over it, in
    standard errors of that lead, against the same maximum over resamples in which every true lead is made 0. The set
    has all models that pass. Only the test of the truly best model could leave it out, so the set misses it no more
    often than one test errs, however many models there are. Others that are clearly worse than the model do not count
    in the maximum, since they would only blur it.

    The probability holds as rows grow. With some hundred rows it is still within a point or two if all models are
    exactly equally good, which is the worst case, and larger otherwise.

    Args:
        metric: The error is 1 - metric.
        answers_mn: Ids of classes or choices; for regression numbers.
        labels_n: The true ones.

    Source:
        Hansen, "A Test for Superior Predictive Ability", Journal of Business & Economic Statistics 23, 2005: the test,
        with its threshold sqrt(2 log log n); inverted to a set as in Hansen, Lunde & Nason, "The Model Confidence Set",
        Econometrica 79, 2011.
    """
    errors_m = _errors(metric, answers_mn, labels_n, np.ones((1, len(labels_n)), np.float32))[0]
    near_m = _near(metric, answers_mn, labels_n, errors_m)
    errors_Bm = _resampled_errors(metric, answers_mn[near_m], labels_n, TEST)
    alike_m, best_m = np.zeros(len(errors_m), bool), np.zeros(len(errors_m))
    alike_m[near_m] = _may_be_best(errors_m[near_m], errors_Bm, len(labels_n))
    least_Bm = errors_Bm <= errors_Bm.min(axis=1, keepdims=True) + _TIE
    best_m[near_m] = (least_Bm / least_Bm.sum(axis=1, keepdims=True)).mean(axis=0)
    return Comparison(alike_m, best_m)


def difference(metric: str, answers_n: np.ndarray, others_n: np.ndarray, labels_n: np.ndarray) -> Interval:
    """How much larger the error of a model is than another's, with percentiles of a paired bootstrap.

    Args:
        metric: The error is 1 - metric.
        answers_n, others_n: Of the two models.
        labels_n: The true ones.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    answers_2n, rows = np.stack([answers_n, others_n]), len(labels_n)
    (value,) = -np.diff(_errors(metric, answers_2n, labels_n, np.ones((1, rows), np.float32))[0])
    errors_B2 = _resampled_errors(metric, answers_2n, labels_n, TEST)
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.quantile(errors_B2[:, 0] - errors_B2[:, 1], [beyond, 1 - beyond])
    return Interval(float(value), float(low), float(high))


def _errors(metric: str, answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    return 1.0 - RESAMPLED[metric].scores(answers_mn, labels_n, weights_Bn)


def _near(metric: str, answers_mn: np.ndarray, labels_n: np.ndarray, errors_m: np.ndarray) -> np.ndarray:
    """(m,) whether a model is less than `FAR` standard errors behind the best, by a few resamples."""
    errors_Bm, best = _resampled_errors(metric, answers_mn, labels_n, FIRST), errors_m.argmin()
    return errors_m - errors_m[best] <= FAR * (errors_Bm - errors_Bm[:, best : best + 1]).std(axis=0) + _TIE


def _resampled_errors(metric: str, answers_mn: np.ndarray, labels_n: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """(B, m) errors on as many resamples as about a second is enough for, but no fewer and no more than the limits.

    Their number depends on sizes, not on a clock, so that the answer is always the same.
    """
    models, rows = answers_mn.shape
    affordable = min(_ROWS / rows, RESAMPLED[metric].products / (models * rows), _PAIRS / models**2)
    return _errors(metric, answers_mn, labels_n, resamples(rows, int(np.clip(affordable, *limits))))


def _may_be_best(errors_m: np.ndarray, errors_Bm: np.ndarray, rows: int) -> np.ndarray:
    """(m,) whether each model passes the test of `compare`.

    Args:
        errors_m: On all rows.
        errors_Bm: On resamples.
        rows: n.
    """
    chance_Bm, passes_m = errors_Bm - errors_m, np.ones(len(errors_m), bool)
    clearly_worse = -math.sqrt(2 * math.log(math.log(max(rows, 16))))
    for i in np.flatnonzero(errors_m > errors_m.min() + _TIE):
        chance_lead_Bm = chance_Bm[:, i : i + 1] - chance_Bm
        lead_m, variance_m = errors_m[i] - errors_m, chance_lead_Bm.var(axis=0)
        rivals_m = lead_m >= clearly_worse * np.sqrt(variance_m) - _TIE  # the model itself among them, with a lead of 0
        # A variance is uncertain, too: of many leads, one would look sure just because its variance is too small.
        scale_m = np.sqrt((variance_m[rivals_m] + variance_m[rivals_m].mean()) / 2) + _TIE
        by_chance_B = (chance_lead_Bm[:, rivals_m] / scale_m).max(axis=1)
        passes_m[i] = np.mean(by_chance_B >= (lead_m[rivals_m] / scale_m).max() - _TIE) > 1 - CONFIDENCE
    return passes_m
