import warnings

import numpy as np
import pytest

from supernet.data.metrics import METRICS, error, majority_error, majority_score, score
from supernet.options.task import METRIC_NAMES
from supernet.runtime.errors import UserError
from tests.fixtures import read_task

LABELS = np.array([1, 1, 1, 0, 0, 1])
PREDICTIONS = np.array([1, 1, 0, 1, 0, 1])  # 3 true positives, 1 false positive, 1 false negative, 1 true negative


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("accuracy", 4 / 6), ("f1", 6 / 8), ("matthews", (3 * 1 - 1 * 1) / 8), ("spearman", 0.25)],
)
def test_scores_equal_hand_made_answers(metric, expected):
    assert score(metric, PREDICTIONS, LABELS) == pytest.approx(expected)
    assert error(metric, PREDICTIONS, LABELS) == pytest.approx(1 - expected)


def test_every_metric_that_a_task_may_name_is_there():
    assert set(METRICS) == set(METRIC_NAMES)


def test_spearman_looks_at_ranks_only():
    labels = np.array([0.0, 1.0, 2.5, 5.0])
    assert score("spearman", labels**3, labels) == pytest.approx(1.0)
    assert error("spearman", -labels, labels) == pytest.approx(2.0)


@pytest.mark.parametrize("metric", ["matthews", "spearman"])
@pytest.mark.parametrize("constant", [0, 1])
def test_constant_predictions_correlate_with_nothing_and_warn_nobody(metric, constant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(metric, np.full(6, constant), LABELS) == 0.0
        assert score(metric, LABELS, np.full(6, constant)) == 0.0


def test_predictions_with_nan_rank_nothing():
    assert score("spearman", np.array([0.1, np.nan, 0.3]), np.array([0.0, 1.0, 2.0])) == 0.0


def test_f1_without_any_positive_is_zero_and_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score("f1", np.zeros(3, int), np.zeros(3, int)) == 0.0


@pytest.mark.parametrize(("predictions", "labels"), [([], []), ([1, 0], [1]), ([[1], [0]], [[1], [0]])])
def test_rows_that_do_not_match_are_refused(predictions, labels):
    with pytest.raises(ValueError, match="must both be"):
        score("accuracy", np.array(predictions), np.array(labels))


def test_unknown_metric_names_the_nearest():
    with pytest.raises(UserError, match=r"metric 'acuracy' is unknown; .*did you mean accuracy"):
        score("acuracy", LABELS, LABELS)


def test_majority_error_is_that_of_the_majority_class():
    assert majority_error(read_task("sst2"), LABELS) == pytest.approx(2 / 6)
    assert majority_error(read_task("mrpc"), LABELS) == pytest.approx(1 - 8 / 10)
    assert majority_error(read_task("mrpc"), 1 - LABELS) == 1.0  # F1 of never answering "yes"
    assert majority_error(read_task("cola"), LABELS) == 1.0
    assert majority_error(read_task("stsb"), np.array([0.5, 5.0])) == 1.0


def test_the_trivial_prediction_is_chosen_by_other_rows_than_it_is_measured_on():
    known, labels = np.array([1, 1, 0]), np.array([0, 0, 0, 1])
    assert majority_score(read_task("sst2"), labels, known=known) == 0.25
    assert majority_score(read_task("mrpc"), labels, known=known) == pytest.approx(2 / 5)
    assert majority_score(read_task("mrpc"), labels, known=labels) == 0.0
    assert majority_score(read_task("cola"), labels, known=known) == 0.0
    assert majority_score(read_task("stsb"), np.array([0.5, 5.0]), known=np.array([1.0, 2.5])) == 0.0
