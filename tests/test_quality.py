"""The arithmetic of the comparison of recipes, against its definition; the training itself is too long for a test."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import quality
from benchmarks.quality import RECIPES, Cell, Point, cell_of, error_at, hypervolume, recipe_digest, table
from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.space.subnetwork import SubNetwork


def front(*points):
    return [Point(SubNetwork(()), share, validation, test) for share, validation, test in points]


def test_hypervolume_is_what_a_user_with_each_budget_gets():
    members = front((0.1, 0.4, 0.45), (0.3, 0.3, 0.2), (0.8, 0.25, 0.3))
    budgets = (np.arange(100_000) + 0.5) / 100_000
    gained = [max(0.5 - error_at(members, b), 0) if b >= 0.1 else 0.0 for b in budgets[::10]]
    assert hypervolume(members, 0.5) == pytest.approx(np.mean(gained) / 0.5, abs=1e-3)
    assert hypervolume(front((0.0, 0.5, 0.6)), 0.5) == 0.0
    assert hypervolume(front((0.0, 0.1, 0.0)), 0.5) == 1.0


def test_the_member_is_chosen_on_validation():
    members = front((0.1, 0.4, 0.1), (0.5, 0.3, 0.6), (0.9, 0.2, 0.5))
    assert [error_at(members, budget) for budget in (0.2, 0.5, 0.8, 1.0)] == [0.1, 0.6, 0.6, 0.5]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_composes(recipe):
    load_config("train", TrainConfig, [*RECIPES[recipe], "task=sst2"])


def test_what_is_measured_is_not_measured_again(tmp_path, monkeypatch, capsys):
    done = Cell("paper", recipe_digest("paper"), "sst2", 0, 3600, 3)
    result = {"hypervolume": 0.3, "full_error": 0.2, "errors": dict.fromkeys(("100%", "75%", "50%", "25%"), 0.2)}
    other = replace(done, recipe="best", digest="before")  # the recipe has changed since: measured again
    rows = [json.dumps(vars(cell) | result) + "\n" for cell in (done, other)]
    (tmp_path / "quality.jsonl").write_text("".join(rows))
    monkeypatch.setattr(quality, "RESULTS", tmp_path / "quality.jsonl")
    monkeypatch.setattr(quality, "measure", lambda cell, data: measured.append(cell) or result)
    measured = []
    monkeypatch.setattr("sys.argv", ["quality.py", "--tasks", "sst2", "--recipes", "paper", "best", "--seeds", "0"])
    quality.main()
    assert measured == [Cell("best", recipe_digest("best"), "sst2", 0, 3600, 3)]
    quality.main()
    assert len(measured) == 1
    lines = (tmp_path / "quality.jsonl").read_text().splitlines()
    assert [cell_of(json.loads(line)) for line in lines] == [done, other, *measured]
    assert "as it was" in capsys.readouterr().out
    assert table([]).row_count == 0
