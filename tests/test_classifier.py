"""The estimator of scikit-learn."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

import plm_supernet.classifier
from plm_supernet import SupernetClassifier, UserError

CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)
"""scikit-learn's checks that need no fitting. The others fit tables of numbers, which this estimator refuses, as its
tags say (`check_estimator` skips it). What they ask that means something for texts is asked below: a fit returns the
estimator, changes no parameter and gives the same again; other orders and parts of the rows, pickling, wrong inputs.
n_features_in_ is the width of a table; there is none."""


@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_scikit_learn(check):
    run = getattr(estimator_checks, check, None) or getattr(estimator_checks, f"{check}s")
    run("SupernetClassifier", SupernetClassifier())


def test_the_tags_say_that_it_takes_texts():
    tags = SupernetClassifier().__sklearn_tags__()
    assert (tags.estimator_type, tags.input_tags.string, tags.input_tags.two_d_array) == ("classifier", True, False)


TEXTS = [f"{'nice ' * (i % 2)}{['tree', 'rain', 'land', 'fog'][i % 4]} {'a' * (i % 7)}" for i in range(160)]
LABELS = np.array(["good" if "nice" in text else "bad" for text in TEXTS], dtype=object)


@pytest.fixture(scope="module")
def estimator(model_folder, tmp_path_factory):
    """Small and not fitted."""
    output = tmp_path_factory.mktemp("classifier")
    options = {"model_name_or_path": str(model_folder), "experiment": None, "data_cache_dir": str(output / "cache")}
    options |= {"train_epochs": 4, "train_batch_size": 8, "train_learning_rate": 3e-3, "task_max_length": 20}
    return SupernetClassifier({"max_params": 0.8}, options=options, searcher="random", max_evaluations=5)


@pytest.fixture(scope="module")
def fitted(estimator):
    return clone(estimator).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("budget", "searcher"), [(0.5, "ehvi"), ({"max_latency_ms": "50%"}, "nsga2"), ({"max_memory_mb": 9}, "ehvi")]
)
def test_the_searcher_needs_no_extra(monkeypatch, budget, searcher):
    class Searched(Exception):
        """Ends a fit with the arguments of the search."""

    def search(net, **values):
        raise Searched(values)

    monkeypatch.setattr(plm_supernet.classifier, "train", lambda *values, **more: None)
    monkeypatch.setattr(plm_supernet.classifier, "search", search)
    with pytest.raises(Searched) as caught:
        SupernetClassifier(budget).fit(TEXTS, LABELS)
    assert caught.value.args[0]["searcher"] == searcher


@pytest.mark.slow
def test_it_learns_texts(fitted):
    assert list(fitted.classes_) == ["bad", "good"]
    assert fitted.score(TEXTS, LABELS) > 0.9
    assert fitted.predict(np.array(TEXTS[:3])).tolist() == fitted.predict(TEXTS[:3]).tolist()


@pytest.mark.slow
def test_probabilities_belong_to_the_predictions_and_each_row_stands_alone(fitted):
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (160, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (fitted.classes_[probabilities.argmax(1)] == fitted.predict(TEXTS)).all()
    order = np.random.default_rng(0).permutation(160)
    np.testing.assert_allclose(fitted.predict_proba([TEXTS[i] for i in order]), probabilities[order], atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(TEXTS[:1]), probabilities[:1], atol=1e-6)
    assert fitted.predict_proba([]).shape == (0, 2)


@pytest.mark.slow
def test_it_survives_pickling(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(TEXTS[:4]), fitted.predict_proba(TEXTS[:4]))


@pytest.mark.slow
def test_a_fit_keeps_the_parameters_and_is_the_same_again(estimator, fitted, tmp_path, capfd):
    again = clone(estimator).set_params(output_dir=tmp_path)
    before = again.get_params()
    assert again.fit(TEXTS, LABELS) is again
    assert again.get_params() == before
    np.testing.assert_array_equal(again.predict_proba(TEXTS[:4]), fitted.predict_proba(TEXTS[:4]))
    assert len(list(tmp_path.glob("train/*/supernet/supernet.json"))) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_labels_may_be_numbers(estimator):
    fitted = clone(estimator).set_params(options=estimator.options | {"train_epochs": 1})
    fitted.fit(TEXTS, np.arange(160) % 2 * 7)
    assert fitted.classes_.tolist() == [0, 7]
    assert set(fitted.predict(TEXTS)) <= {0, 7}


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, LABELS[:-1], "inconsistent numbers of samples"),
        (np.zeros((4, 2)), LABELS[:4], "takes texts"),
        (TEXTS[:4], np.linspace(0, 1, 4), "Unknown label type"),
        (TEXTS[:4], ["a"] * 4, "two classes or more"),
        ([], [], "two classes or more"),
    ],
)
def test_wrong_rows_are_value_errors(texts, labels, message):
    with pytest.raises(ValueError, match=message):
        SupernetClassifier().fit(texts, labels)


def test_a_wrong_budget_or_option_is_said_before_any_work(tmp_path):
    with pytest.raises(UserError, match="did you mean max_params"):
        SupernetClassifier({"max_parms": 0.5}).fit(TEXTS, LABELS)
    with pytest.raises(UserError, match="did you mean train_epochs"):
        SupernetClassifier(options={"epochs": 1}, output_dir=tmp_path).fit(TEXTS, LABELS)


def test_it_does_not_predict_before_a_fit():
    with pytest.raises(NotFittedError):
        SupernetClassifier().predict(TEXTS)
