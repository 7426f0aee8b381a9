"""Scores of predictions, higher is better, and the error that the project minimises: 1 - score.

Computed with scikit-learn and scipy, so that no network is needed. This module imports no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from supernet.options.task import Task
from supernet.runtime.errors import unknown


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows that are right, 0 to 1."""
    return float(np.mean(predictions == labels))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1 against class 0, 0 to 1; 0.0 if no row has class 1 and none is predicted."""
    return float(f1_score(labels, predictions, pos_label=1, average="binary", zero_division=0.0))


def matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews correlation, -1 to 1; 0.0 for constant predictions or labels."""
    return float(matthews_corrcoef(labels, predictions))


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation, -1 to 1; 0.0 by convention if a side is constant or holds NaN.

    It is undefined in these cases. They occur: the smallest sub-network predicts the same for every row. Its error is
    then 1.0.
    """
    if np.isnan(predictions).any() or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(spearmanr(predictions, labels).statistic)


METRICS: MappingProxyType[str, Callable[[np.ndarray, np.ndarray], float]] = MappingProxyType(
    {"accuracy": accuracy, "f1": f1, "matthews": matthews, "spearman": spearman}
)
"""Metric by name; each takes (predictions, labels)."""


def score(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The score of predictions, higher is better.

    Args:
        metric: A name of `METRICS`.
        predictions: (n,). Label ids; for regression any numbers.
        labels: (n,). True label ids or numbers.

    Raises:
        UserError: if the metric is unknown.
        ValueError: if there are no rows, or the two are not of the same length.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(f"predictions {predictions.shape} and labels {labels.shape} must both be (n,) with n >= 1")
    # Degenerate predictions are ordinary for small sub-networks: their score is defined above; no warning is needed.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return METRICS[metric](predictions, labels)


def error(metric: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    """1 - score: 0.0 is perfect. Above 1.0 for a negative correlation. Arguments and errors as for `score`."""
    return 1.0 - score(metric, predictions, labels)


def majority_score(task: Task, labels: np.ndarray, *, known: np.ndarray) -> float:
    """The score on `labels` of the trivial predictor: it always predicts what suits the labels `known` best.

    Matthews and Spearman correlations of a constant prediction are 0. Its F1 is 0 unless it predicts class 1.

    Args:
        labels: (n,). True labels.
        known: (k,). Labels of the rows that the prediction is chosen by; not test rows.
    """
    prediction = task.labels.trivial_prediction(known, len(task.answers))
    return score(task.metric, np.broadcast_to(prediction, labels.shape), labels)


def majority_error(task: Task, labels: np.ndarray) -> float:
    """The error of the trivial predictor that knows these labels: what any model has to beat. 1.0 for regression.

    Args:
        labels: (n,). True labels.
    """
    return 1.0 - majority_score(task, labels, known=labels)


def prior_loss(task: Task, labels: np.ndarray) -> float:
    """The mean loss of a predictor that knows how often each label occurs: their entropy; for regression the variance.

    Args:
        labels: (n,). True labels.
    """
    return task.labels.prior_loss(labels)
