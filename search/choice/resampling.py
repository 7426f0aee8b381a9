"""Scores of many models on many resamples of the same rows, at once; the metrics are those of `supernet.data.metrics`.

A resample draws as many rows as there are, with replacement. It is written as weights: how often each row was drawn.

Shape letters: m models, n rows, B resamples, g groups of rows with equal values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

SEED = 0
"""Of the resamples: the same rows give the same answer each time."""


def resamples(rows: int, count: int) -> np.ndarray:
    """(B, n) float32. How often each of `rows` rows was drawn in each of `count` resamples; always the same ones."""
    rng = np.random.default_rng(SEED)
    drawn = (np.bincount(rng.integers(rows, size=rows, dtype=np.int32), minlength=rows) for _ in range(count))
    return np.stack(list(drawn)).astype(np.float32)


def accuracy(answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    """(B, m) the weighted share of rows that are right."""
    return _summed(answers_mn == labels_n, weights_Bn) / _rows(weights_Bn)


def f1(answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    """(B, m) weighted F1 of class 1 against class 0; 0.0 if no row has class 1 and none is predicted."""
    both = _summed((answers_mn == 1) & (labels_n == 1), weights_Bn)
    either = _summed(answers_mn == 1, weights_Bn) + _summed((labels_n == 1)[None], weights_Bn)
    return _divided(2 * both, either)


def matthews(answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    """(B, m) weighted Matthews correlation of any number of classes; 0.0 for constant predictions or labels.

    Source:
        Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    """
    n, right = _rows(weights_Bn), _summed(answers_mn == labels_n, weights_Bn)
    agree, answered, labelled = right * n, np.zeros_like(n), np.zeros_like(n)
    for c in np.union1d(answers_mn, labels_n):
        of_answers, of_labels = _summed(answers_mn == c, weights_Bn), _summed((labels_n == c)[None], weights_Bn)
        agree = agree - of_answers * of_labels
        answered, labelled = answered + of_answers**2, labelled + of_labels**2
    return _divided(agree, np.sqrt((n**2 - answered) * (n**2 - labelled)))


def spearman(answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    """(B, m) weighted rank correlation, a row of weight w counting as w equal rows; 0.0 if a side is constant."""
    return np.concatenate([_spearman(answers_mn, labels_n, part) for part in _parts(weights_Bn)])


def _spearman(answers_mn: np.ndarray, labels_n: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    weights_nB = np.ascontiguousarray(weights_Bn.T, dtype=np.float64)
    labels_nB = _centred_ranks(labels_n, weights_nB)
    spread_B = np.einsum("nb,nb->b", weights_nB * labels_nB, labels_nB)

    def score(answers_n: np.ndarray) -> np.ndarray:
        ranks_nB = _centred_ranks(answers_n, weights_nB)
        weighted_nB = weights_nB * ranks_nB
        shared_B, own_B = (np.einsum("nb,nb->b", weighted_nB, side_nB) for side_nB in (labels_nB, ranks_nB))
        return _divided(shared_B, np.sqrt(spread_B * own_B))

    return np.stack([score(answers_n) for answers_n in answers_mn], axis=1)


def _parts(weights_Bn: np.ndarray) -> list[np.ndarray]:
    """Resamples in parts that fit into a processor's cache."""
    count, rows = weights_Bn.shape
    return np.array_split(weights_Bn, math.ceil(count / max(16, 100_000 // rows)))


@dataclass(frozen=True)
class Resampled:
    """A metric on resamples.

    Attributes:
        scores: From (m, n) answers, (n,) labels and (B, n) weights to (B, m) scores.
        products: How large m * B * n may be, to take about a second.
    """

    scores: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    products: float = 1e10


RESAMPLED: MappingProxyType[str, Resampled] = MappingProxyType(
    {
        "accuracy": Resampled(accuracy),
        "f1": Resampled(f1),
        "matthews": Resampled(matthews, products=3e9),
        "spearman": Resampled(spearman, products=3e7),
    }
)
"""A row for each metric of `supernet.data.metrics.METRICS`."""


def _summed(rows_mn: np.ndarray, weights_Bn: np.ndarray) -> np.ndarray:
    """(B, m) weighted sums over rows. Sums of counts are exact in float32, so they do not depend on their order."""
    return (weights_Bn @ rows_mn.T.astype(np.float32)).astype(np.float64)


def _rows(weights_Bn: np.ndarray) -> np.ndarray:
    """(B, 1) the number of rows of each resample."""
    return weights_Bn.sum(axis=1, dtype=np.float64)[:, None]


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient; 0.0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)


def _centred_ranks(values_n: np.ndarray, weights_nB: np.ndarray) -> np.ndarray:
    """(n, B) the rank of each row's value among the rows of each resample, minus the mean rank. Equals share a rank."""
    order_n = np.argsort(values_n, kind="stable")
    sorted_n = values_n[order_n]
    first_n = np.concatenate([[True], sorted_n[1:] != sorted_n[:-1]])  # of its group of equal values
    of_group_gB = np.add.reduceat(weights_nB[order_n], np.flatnonzero(first_n), axis=0)
    ranks_gB = np.cumsum(of_group_gB, axis=0) - of_group_gB / 2 - weights_nB.sum(axis=0) / 2
    group_n = np.empty(len(values_n), np.intp)
    group_n[order_n] = np.cumsum(first_n) - 1
    return ranks_gB[group_n]
