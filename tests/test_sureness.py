"""How sure a choice is, on rows drawn from known error rates: the set that holds the best, and what select says."""

import json

import numpy as np
import pytest

from search.choice.choose import choose
from search.choice.confidence import CONFIDENCE, compare, difference
from search.choice.resampling import RESAMPLED, resamples
from search.choice.select import select
from search.options.select import SelectConfig
from search.trials import predictions_file
from supernet.console.config import load_config
from supernet.data.metrics import METRICS, score
from supernet.runtime.errors import UserError
from tests.fake_runs import FULL, answers_of, make_run

RUNS = 200
SLACK = 2.6 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / RUNS)
"""A share of `RUNS` runs that is truly `CONFIDENCE` is lower by more in one of two hundred tests."""

GRADED = np.linspace(0.1, 0.16, 12)
"""True error rates of which the first is the best."""


@pytest.fixture
def few_resamples(monkeypatch):
    """As many as hundreds of comparisons can afford."""
    monkeypatch.setattr("search.choice.confidence.TEST", (200, 400))


def compared(rates, rows, seed):
    labels, answers = answers_of(rates, rows, np.random.default_rng(seed))
    return compare("accuracy", answers, labels)


# --- metrics on resamples ---------------------------------------------------------------------------------------------


def models_for(metric, rows, rng):
    """Labels, and answers of good, bad, perfect and constant models, with ties."""
    if metric == "spearman":
        labels = np.round(rng.uniform(0, 5, rows), 1).astype(np.float32)
        noisy = [labels + spread * rng.normal(size=rows) for spread in (0.1, 1, 5)]
        return labels, np.stack([*noisy, np.round(labels), np.zeros(rows)]).astype(np.float32)
    classes = 2 if metric == "f1" else 3
    labels = rng.integers(0, classes, rows)
    guesses = [np.where(rng.random(rows) < p, labels, rng.integers(0, classes, rows)) for p in (0, 0.5, 0.9, 1)]
    return labels, np.stack([*guesses, np.zeros(rows, int)])


def test_every_metric_can_be_resampled():
    assert RESAMPLED.keys() == METRICS.keys()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [1, 4, 60])
def test_scores_on_resamples_are_those_of_the_metric_on_the_drawn_rows(metric, rows):
    labels, answers = models_for(metric, rows, np.random.default_rng(rows))
    weights = np.concatenate([resamples(rows, 20), np.ones((1, rows), np.float32)])
    drawn = [np.repeat(np.arange(rows), w.astype(int)) for w in weights]
    expected = [[score(metric, model[i], labels[i]) for model in answers] for i in drawn]
    np.testing.assert_allclose(RESAMPLED[metric].scores(answers, labels, weights), expected, atol=1e-12)


def test_a_resample_draws_as_many_rows_as_there_are():
    drawn = resamples(50, 300)
    assert set(drawn.sum(axis=1)) == {50}
    assert abs(drawn.mean(axis=0) - 1).max() < 5 / np.sqrt(300)
    np.testing.assert_array_equal(drawn[:7], resamples(50, 7))


# --- the set that holds the best --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("rows", [200, 1000])
@pytest.mark.parametrize("rates", [GRADED, [0.1] * 8, [0.1] * 3 + [0.3] * 20, [0.04, 0.04]], ids=len)
def test_the_truly_best_is_in_the_set(rates, rows):
    found = [compared(rates, rows, [7, seed]) for seed in range(RUNS)]
    assert np.mean([f.alike_m[0] for f in found]) >= CONFIDENCE - SLACK
    seen_best = np.mean([f.best_m.argmax() == 0 for f in found])
    assert seen_best < CONFIDENCE - SLACK, "the rows alone tell which is the best: the test is too easy"


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
def test_equal_models_are_seldom_told_apart():
    found = np.array([compared([0.1] * 8, 500, [3, seed]).alike_m for seed in range(RUNS)])
    assert (found.mean(axis=0) >= CONFIDENCE - SLACK).all()


@pytest.mark.usefixtures("few_resamples")
def test_more_rows_tell_more_apart():
    few, more, many = (
        np.mean([compared(GRADED, rows, [5, seed]).alike_m.sum() for seed in range(15)]) for rows in (150, 1000, 6000)
    )
    assert few > 1.5 * more > 2 * many
    assert many < 3


@pytest.mark.parametrize("metric", METRICS)
def test_other_metrics_tell_good_models_from_bad(metric):
    rng = np.random.default_rng(0)
    labels, answers = models_for(metric, 800, rng)
    if metric == "spearman":
        best = labels + 0.3 * rng.normal(size=(2, 800))
    else:
        best = np.where(rng.random((2, 800)) < 0.95, labels, 1 - np.minimum(labels, 1))
    bad = answers[1:3] if metric == "spearman" else answers[[0, 1, 4]]
    found = compare(metric, np.concatenate([best, bad]), labels)
    assert found.alike_m[:2].all()
    assert not found.alike_m[2:].any()
    assert found.best_m.sum() == pytest.approx(1)
    assert (found.best_m[2:] == 0).all()


def test_equal_answers_share_being_the_best():
    labels, answers = answers_of([0.1, 0.3], 300, np.random.default_rng(0))
    found = compare("accuracy", answers[[0, 0, 1, 0, 0]], labels)
    np.testing.assert_array_equal(found.alike_m, [True, True, False, True, True])
    np.testing.assert_allclose(found.best_m, [0.25, 0.25, 0, 0.25, 0.25])


@pytest.mark.parametrize(("more", "apart"), [(1, False), (2, False), (12, True)])
def test_a_row_or_two_tell_nothing_apart(more, apart):
    labels = np.zeros(400, int)
    answers = np.zeros((2, 400), int)
    answers[:, :30] = 1
    answers[1, 30 : 30 + more] = 1
    assert compare("accuracy", answers, labels).alike_m[1] == (not apart)


def test_the_same_rows_give_the_same_answer():
    one, two = (compared(GRADED, 300, 4) for _ in range(2))
    np.testing.assert_array_equal(one.best_m, two.best_m)
    np.testing.assert_array_equal(one.alike_m, two.alike_m)


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
def test_the_interval_holds_the_true_difference():
    held = []
    for seed in range(RUNS):
        labels, (one, other) = answers_of([0.15, 0.12], 600, np.random.default_rng([8, seed]))
        between = difference("accuracy", one, other, labels)
        held.append(between.low <= 0.03 <= between.high)
        assert between.value == pytest.approx(np.mean(one != labels) - np.mean(other != labels))
    assert np.mean(held) >= CONFIDENCE - SLACK
    assert np.mean(held) < 1


# --- what select says -------------------------------------------------------------------------------------------------


def config(*overrides):
    return load_config("select", SelectConfig, list(overrides))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("sure") / "run", evaluations=60, rows=900, greed=0.5)


def chosen_of(run, *overrides):
    given = config(*overrides)
    return choose(run, given.budgets, given.max_error_increase)


def test_select_says_which_cannot_be_told_apart(run, capsys):
    choice = chosen_of(run, "max_params=0.6")
    sure, within = choice.known.sure, choice.known.within
    assert 1 < len(sure.alike) < len(within)
    assert choice.chosen in sure.alike
    shares = sorted(e.metrics["params_share"] for e in sure.alike)
    assert (choice.smallest.metrics["params_share"], choice.largest.metrics["params_share"]) == (shares[0], shares[-1])
    assert choice.as_good == max(e.metrics["error"] for e in sure.alike)
    select(config(f"run={run.folder}", "max_params=0.6"))
    said = capsys.readouterr().out
    assert (
        f"{len(sure.alike)} of the {len(within)} sub-networks within the limits cannot be told apart on these 900 rows "
        f"(90%): {shares[0]:.1%} to {shares[-1]:.1%} of the encoder; the chosen one is the best in "
        f"{sure.best[choice.chosen.subnet]:.0%} of resamples"
    ) in said
    between = choice.against_full
    assert between.low <= between.value <= between.high
    assert between.value == pytest.approx(choice.chosen.metrics["error"] - choice.full.metrics["error"])
    assert (
        f"validation error against the full model: {100 * between.value:+.1f} points "
        f"(90%: {100 * between.low:+.1f} to {100 * between.high:+.1f})"
    ) in said
    assert "smallest as good" in said
    assert "largest as good" in said
    assert "standard error" not in said


def test_select_says_it_as_json(run, capsys):
    choice = chosen_of(run, "max_params=0.6")
    select(config(f"run={run.folder}", "max_params=0.6", "format=json"))
    told = json.loads(capsys.readouterr().out)
    sure = choice.known.sure
    assert told["sure"] == {
        "confidence": 0.9,
        "rows": 900,
        "alike": [e.to_json() for e in sure.alike],
        "chosen_is_best": sure.best[choice.chosen.subnet],
    }
    assert told["within_limits"] == len(choice.known.within)
    assert told["error_against_full"]["low"] == choice.against_full.low
    assert told["largest_as_good"]["subnet"] == choice.largest.subnet.to_json()
    assert told["smallest_as_good"]["subnet"] == choice.smallest.subnet.to_json()
    assert told["as_good_error"] == choice.as_good


def test_the_cheapest_may_not_be_among_the_best(run, capsys):
    choice = chosen_of(run, "max_error_increase=0.05")
    assert choice.chosen not in choice.known.sure.alike
    select(config(f"run={run.folder}", "max_error_increase=0.05"))
    said = capsys.readouterr().out
    assert "; the chosen one, the cheapest, is less accurate" in said
    assert "validation error against the full model: +" in said


def test_only_one_within_the_limits(run, capsys):
    smallest = min(e.metrics["params_share"] for e in chosen_of(run, "max_params=1").known.within)
    assert len(chosen_of(run, f"max_params={smallest + 1e-6}").known.within) == 1
    select(config(f"run={run.folder}", f"max_params={smallest + 1e-6}"))
    assert "no other sub-network is within the limits" in capsys.readouterr().out


def test_the_full_model_is_not_compared_with_itself(tmp_path, capsys):
    run = make_run(tmp_path / "run", evaluations=2, rows=400)
    choice = chosen_of(run, "max_params=1")
    assert choice.chosen.subnet == FULL
    assert choice.against_full is None
    select(config(f"run={run.folder}", "max_params=1"))
    assert "against the full model" not in capsys.readouterr().out


def test_a_run_that_keeps_the_answers_of_some_only_says_so(tmp_path, capsys):
    run = make_run(tmp_path / "run", evaluations=20, rows=400)
    for number in (2, 5):
        predictions_file(run.folder, number).unlink()
    choice = chosen_of(run, "max_params=1")
    assert choice.known.sure is None
    select(config(f"run={run.folder}", "max_params=1"))
    said = capsys.readouterr().out
    assert "one standard error" in said
    assert "the run keeps the answers of 18 of the 20 within the limits" in said
    select(config(f"run={run.folder}", "max_params=1", "format=json"))
    assert json.loads(capsys.readouterr().out)["sure"] is None


def test_answers_of_other_rows_are_not_compared(tmp_path):
    run, other = (make_run(tmp_path / name, evaluations=6, rows=rows) for name, rows in (("a", 300), ("b", 301)))
    predictions_file(run.folder, 3).write_bytes(predictions_file(other.folder, 3).read_bytes())
    with pytest.raises(UserError, match=r"3\.npz cannot be used \(answers is .*301.*shape \[1, 300\].*remove "):
        chosen_of(run, "max_params=1")
