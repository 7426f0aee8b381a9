"""The contest of ways to small models: its entrants on a tiny supernet, its arithmetic, and that it resumes."""

import json

import pytest

from benchmarks import contest, entrants
from benchmarks.contest import Cell, compete, errors_of, measure, recipe_of, table
from benchmarks.entrants import ENTRANTS, SIZES, Ground
from search.options.search import SearchConfig
from supernet.console.config import load_config


def row(entrant, error, *, size=0.5, task="sst2", seed=0):
    errors = {"validation": 0.5, "test": error}
    cell = Cell(task, seed, entrant, size, recipe_of(entrant))
    return vars(cell) | {"found": errors, "finished": errors, "latency_share": 0.5}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(contest, "RESULTS", tmp_path / "contest.jsonl")
    return tmp_path / "contest.jsonl"


@pytest.mark.parametrize("name", ENTRANTS)
def test_every_entrant_s_options_compose(name):
    load_config("search", SearchConfig, [value for value in ENTRANTS[name].depends if isinstance(value, str)])
    assert len(recipe_of(name)) == 8


def test_differences_are_paired():
    rows = [row("ours", 0.2), row("ours", 0.3, seed=1), row("ours", 0.9, seed=2)]
    rows += [row("kwon2022", 0.22), row("kwon2022", 0.36, seed=1), row("kwon2022", 0.1) | {"recipe": "old"}]
    shown = table(rows, "found")
    cells = list(shown.columns[1].cells)
    assert cells[list(ENTRANTS).index("kwon2022")] == "0.2900 (+0.0400 ± 0.0200, 2)"
    assert errors_of(rows, "found")["kwon2022", 0.5] == {("sst2", 0): 0.22, ("sst2", 1): 0.36}


def test_what_is_measured_is_not_measured_again(results, monkeypatch):
    made = []
    fake = entrants.Entrant(lambda ground: made.append(ground) or (lambda size: None))
    monkeypatch.setitem(ENTRANTS, "kwon2022", fake)
    results.write_text(json.dumps(row("kwon2022", 0.1, size=0.25)) + "\n")
    for _ in range(2):
        compete("sst2", 0, ["kwon2022"], "nowhere", "nowhere")
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted(line["size"] for line in lines) == sorted(SIZES)
    assert len(made) == 1
    assert contest.cell_of(lines[-1]) == Cell("sst2", 0, "kwon2022", 0.06, recipe_of("kwon2022"))


@pytest.mark.slow
def test_the_entrants_on_a_tiny_supernet(supernet_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Ground, "folder", supernet_folder)
    ground = Ground("sst2", 0, entrants.SUPERNET, "nowhere", str(tmp_path))
    monkeypatch.setitem(ENTRANTS, "ours", entrants.entrant_of_search("max_evaluations=20"))
    monkeypatch.setattr(entrants, "OURS", ENTRANTS["ours"])
    for name in ("ours", "uniform_width", "head_pruning", "trained alone"):
        for_size = ENTRANTS[name].make(ground)
        found = measure(ground, for_size(0.25), finishes=ENTRANTS[name].finishes)
        if name == "head_pruning":
            assert found == {"found": None}  # the units alone are more
        else:
            assert 0 < found["share"] <= 0.25
            assert set(found["found"]) == set(found["finished"]) == {"validation", "test"}
            assert found["finished"]["validation"] <= found["found"]["validation"]
