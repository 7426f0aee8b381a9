"""A baseline in stage two: the same files and the same report as a search."""

import json

import numpy as np
import pytest

from search.baselines.table import BASELINES
from search.choice.choose import choose
from search.options.search import SearchConfig
from search.report.results import read_results
from search.run import search
from search.run_folder import read_run
from search.trials import predictions_file
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.models.families import architecture_of
from supernet.space.cost import params_share

pytestmark = pytest.mark.slow


def run(supernet_folder, output, *overrides):
    return search(
        load_config("search", SearchConfig, [f"supernet={supernet_folder}", f"output_dir={output}", *overrides])
    )


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_baseline_gives_a_run_like_a_search(name, supernet_folder, tmp_path, capsys):
    folder = run(supernet_folder, tmp_path, f"baseline={name}", "baseline.budgets=[1.0,0.8,0.5,0.02]")
    record, a = read_run(folder), architecture_of(load_supernet(supernet_folder).model.config)
    assert (record.info.kind, record.info.label) == ("baseline", name)
    assert "searcher" not in record.info.settings
    shares = [trial.outcome.metrics["params_share"] for trial in record.trials]
    assert shares == [params_share(a, trial.subnet) for trial in record.trials]
    assert shares == sorted(set(shares), reverse=True)
    assert all(min(b for b in (1.0, 0.8, 0.5, 0.02) if share <= b) for share in shares)
    front = json.loads((folder / "front.json").read_text())
    assert 0 < front["hypervolume"] < 1
    said = capsys.readouterr().out
    assert ("cannot prune to 2% of the encoder" in said) == (name == "head_pruning")


def test_a_baseline_goes_on_where_it_was_interrupted(supernet_folder, tmp_path):
    overrides = ["baseline=kwon2022", "baseline.budgets=[1.0,0.6,0.3]"]
    whole = run(supernet_folder, tmp_path, *overrides, "name=whole")
    part = run(supernet_folder, tmp_path, *overrides, "name=part")
    lines = (part / "trials.jsonl").read_text().splitlines(keepends=True)
    (part / "trials.jsonl").write_text(lines[0] + lines[1][:20])
    run(supernet_folder, tmp_path, *overrides, "name=part")
    runs = [read_run(folder) for folder in (whole, part)]
    assert [t.subnet for t in runs[0].trials] == [t.subnet for t in runs[1].trials]
    for one, two in zip(*(r.trials for r in runs), strict=True):
        assert one.outcome.metrics == pytest.approx(two.outcome.metrics)
    fronts = [json.loads((folder / "front.json").read_text())["front"] for folder in (whole, part)]
    assert np.isclose(fronts[0][0]["test_accuracy"], fronts[1][0]["test_accuracy"])


def test_a_baseline_without_the_full_net_is_compared_with_the_supernet_s(supernet_folder, tmp_path, capsys):
    supernet = load_supernet(supernet_folder)
    with_full = run(supernet_folder, tmp_path, "baseline=layer_dropping", "baseline.budgets=[1.0,0.5]")
    without = run(supernet_folder, tmp_path, "baseline=layer_dropping", "baseline.budgets=[0.5]")
    assert "this run did not evaluate the full model, so the supernet's is shown" in capsys.readouterr().out
    assert len(read_run(without).trials) == 1  # it is measured, and no trial
    assert [predictions_file(f, None).exists() for f in (with_full, without)] == [False, True]
    choices = [choose(read_run(f), {"params": "0.5"}) for f in (with_full, without)]
    assert choices[0].against_full == choices[1].against_full is not None
    results = [read_results(read_run(folder)) for folder in (with_full, without)]
    assert [r.full_is_supernets for r in results] == [False, True]
    assert {r.full.evaluated.subnet for r in results} == {supernet.space.largest}
    assert results[0].full.test_score == results[1].full.test_score
    assert results[0].full.evaluated.metrics["error"] == results[1].full.evaluated.metrics["error"]
    assert [r.validation_rows for r in results] == [60, 60]
