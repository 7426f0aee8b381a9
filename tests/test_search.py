"""Stage two on a tiny supernet: trials as they end, resuming, the front, and the test set read once."""

import csv
import json
import shutil

import numpy as np
import pytest

from search.loop import read_trials, run_search
from search.objectives import Objectives
from search.report import costs_of, front_of
from search.run import SearchConfig, search
from supernet.checkpoint import load_supernet
from supernet.config import load_config
from supernet.cost import encoder_params, total_params
from supernet.errors import UserError
from supernet.evaluate import Evaluator
from supernet.families import architecture_of
from supernet.options import TrainConfig
from supernet.runs import only_writer
from supernet.slicing import extract
from supernet.train import train

EVALUATIONS = 14


@pytest.fixture(scope="module")
def supernet_folder(model_folder, data_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("supernet")
    overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"output_dir={output}"]
    overrides += [f"data.cache_dir={output}/cache", "train.epochs=4", "train.batch_size=8", "train.learning_rate=3e-3"]
    return train(load_config("train", TrainConfig, overrides))


def run(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", f"max_evaluations={EVALUATIONS}"]
    return search(load_config("search", SearchConfig, [*fixed, *overrides]))


def trials_in(folder):
    """Everything of the trials but how long they took."""
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.parametrize("searcher", ["searcher=random", "searcher=ehvi", "searcher.known_cost=false"])
def test_a_search_from_start_to_report(searcher, supernet_folder, tmp_path, capsys):
    folder = run(supernet_folder, tmp_path, searcher)
    supernet, trials = load_supernet(supernet_folder), read_trials(folder / "trials.jsonl")
    space, a = supernet.space, architecture_of(supernet.model.config)
    assert [t.subnet for t in trials[:3]] == [space.largest, space.smallest, space.middle]
    assert len({t.subnet for t in trials}) == EVALUATIONS
    for t in trials:
        assert t.measurements.params == encoder_params(a, t.subnet)
        assert t.measurements.total_params == total_params(a, t.subnet)

    front = json.loads((folder / "front.json").read_text())
    costs, members = costs_of(trials), costs_of(front_of(trials))
    dominated = [(((costs <= row).all(axis=1)) & ((costs < row).any(axis=1))).any() for row in costs]
    assert {tuple(row) for row in members} == {tuple(r) for r, d in zip(costs, dominated, strict=True) if not d}
    assert [(m["error"], m["params_share"]) for m in front["front"]] == [tuple(row) for row in members]
    assert 0 < front["hypervolume"] < 1
    assert all(0 <= m["test_accuracy"] <= 1 for m in front["front"])
    with (folder / "front.csv").open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == [m["text"] for m in front["front"]]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert str(supernet_folder) in said
    assert f"{EVALUATIONS} evaluations, {len(front['front'])} on the front" in said


@pytest.mark.parametrize("searcher", ["random", "ehvi"])
def test_resumed_equals_uninterrupted(searcher, supernet_folder, tmp_path):
    whole = run(supernet_folder, tmp_path / "whole", f"searcher={searcher}")
    part = run(supernet_folder, tmp_path / "part", f"searcher={searcher}", "max_evaluations=6")
    with (part / "trials.jsonl").open("a") as file:
        file.write('{"trial": 6, "subnet": [[0, 1')  # what a killed process may leave
    assert run(supernet_folder, tmp_path / "part", f"searcher={searcher}") == part
    assert trials_in(part) == trials_in(whole)
    assert json.loads((part / "front.json").read_text()) == json.loads((whole / "front.json").read_text())


def test_another_seed_searches_elsewhere(supernet_folder, tmp_path):
    first, second = (run(supernet_folder, tmp_path, "searcher=random", f"seed={seed}") for seed in (0, 1))
    assert first != second
    assert trials_in(first)[:3] == trials_in(second)[:3]
    assert trials_in(first)[3:] != trials_in(second)[3:]


def test_a_space_may_be_exhausted(model_folder, data_folder, tmp_path, capsys):
    overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"output_dir={tmp_path}"]
    overrides += [f"data.cache_dir={tmp_path}/cache", "train.epochs=1", "space=layer"]
    train(load_config("train", TrainConfig, overrides))
    folder = search(load_config("search", SearchConfig, [f"output_dir={tmp_path}", "searcher=random"]))
    assert len(trials_in(folder)) == 16
    assert "all 16 sub-networks of space layer are evaluated" in capsys.readouterr().out


def test_what_is_evaluated_is_what_is_extracted_and_only_once(supernet_folder):
    supernet, calls = load_supernet(supernet_folder), []

    class Counting(Evaluator):
        def __init__(self):
            pass

        def error(self, model):
            calls.append(model)
            return 0.5

    objectives = Objectives(supernet, Counting())
    subnet = supernet.space.middle
    assert objectives(subnet) is objectives(subnet)
    assert len(calls) == 1
    counted = sum(p.numel() for p in calls[0].parameters())
    assert (
        counted
        == objectives(subnet).total_params
        == sum(p.numel() for p in extract(supernet.model, subnet).parameters())
    )


def test_the_data_may_have_moved(supernet_folder, data_folder, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    (data_folder / "sst2").rename(moved / "sst2")
    try:
        with pytest.raises(UserError, match=r"no file of task 'sst2'"):
            run(supernet_folder, tmp_path, "searcher=random")
        here = run(supernet_folder, tmp_path, "searcher=random", f"data.dir={moved}")
    finally:
        (moved / "sst2").rename(data_folder / "sst2")
    assert trials_in(here) == trials_in(run(supernet_folder, tmp_path / "again", "searcher=random"))


def test_other_rows_than_those_of_the_training_are_refused(supernet_folder, data_folder, tmp_path):
    shutil.copytree(data_folder, tmp_path / "changed")
    file = tmp_path / "changed" / "sst2" / "validation.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"are not those that the supernet was trained with \(other files\): test;"):
        run(supernet_folder, tmp_path, f"data.dir={tmp_path / 'changed'}")


def test_two_searches_do_not_write_the_same_trials(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    with only_writer(folder), pytest.raises(UserError, match="another process is writing in"):
        run(supernet_folder, tmp_path, "searcher=random")


def test_fewer_evaluations_report_all_there_are(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    before = (folder / "front.json").read_text()
    assert run(supernet_folder, tmp_path, "searcher=random", "max_evaluations=3") == folder
    assert (folder / "front.json").read_text() == before


def test_a_broken_line_of_trials_is_named(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "searcher=random")
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join([lines[0], "{nonsense\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"trials.jsonl:2 is no JSON"):
        run(supernet_folder, tmp_path, "searcher=random")
    (folder / "trials.jsonl").write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=r"trials.jsonl:2 is trial 2, expected 1"):
        run(supernet_folder, tmp_path, "searcher=random")


def test_a_trial_is_on_the_disk_before_the_next_begins(tmp_path, supernet_folder):
    supernet, path = load_supernet(supernet_folder), tmp_path / "trials.jsonl"
    rng = np.random.default_rng(0)

    class Searcher:
        def ask(self):
            return supernet.space.sample(rng)

        def tell(self, subnet, metrics):
            assert set(metrics) == {"error", "params_share"}

    def evaluate(subnet):
        written.append(len(read_trials(path)))
        if len(written) == 3:
            raise RuntimeError("out of memory")
        return Objectives(supernet, evaluator)(subnet)

    class Half:
        def error(self, model):
            return 0.5

    written, evaluator = [], Half()
    with pytest.raises(RuntimeError, match="out of memory"):
        run_search(Searcher(), evaluate, trials_path=path, max_evaluations=5)
    assert written == [0, 1, 2]
