"""A search on several processes: the trials of one process, and what happens if one of them dies."""

import json
import os
import signal

import pytest

import search.cli
from search.evaluation.measure import WeightSharedEvaluator
from search.options.search import SearchConfig
from search.run import search as run_search
from search.run_folder import read_run
from supernet.console.config import load_config
from tests.fake_runs import trials_in
from tests.launched import run_two


def second_process_dies():
    """In its third evaluation."""
    evaluate, done = WeightSharedEvaluator.__call__, []

    def dies(self, subnet, bound):
        done.append(subnet)
        if os.environ["RANK"] == "1" and len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(self, subnet, bound)

    WeightSharedEvaluator.__call__ = dies
    search.cli.main()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(supernet_folder, tmp_path):
    overrides = [f"supernet={supernet_folder}", "searcher=random", "max_evaluations=9"]  # the last round has one trial
    one = run_search(load_config("search", SearchConfig, [*overrides, f"output_dir={tmp_path / 'one'}"]))
    done = run_two(search.cli.main, *overrides, f"output_dir={tmp_path / 'two'}")
    assert done.returncode == 0, done.stderr
    two = tmp_path / "two" / "search" / one.name
    assert [row["subnet"] for row in trials_in(two)] == [row["subnet"] for row in trials_in(one)]
    for a, b in zip(trials_in(two), trials_in(one), strict=True):
        assert a["metrics"] == pytest.approx(b["metrics"])
    names = [sorted(path.name for path in folder.glob("predictions/*")) for folder in (one, two)]
    assert names[0] == names[1] == sorted(["labels.npy", *(f"{number}.npz" for number in range(9))])
    fronts = [json.loads((folder / "front.json").read_text())["front"] for folder in (one, two)]
    assert [row["text"] for row in fronts[0]] == [row["text"] for row in fronts[1]]
    assert done.stdout.count("9 evaluations") == 1


@pytest.mark.slow
def test_a_process_that_dies_ends_the_search_and_nothing_is_lost(supernet_folder, tmp_path):
    overrides = [f"supernet={supernet_folder}", "searcher=random", "max_evaluations=9", f"output_dir={tmp_path}"]
    done = run_two(second_process_dies, *overrides, "name=dying")
    assert done.returncode != 0
    assert "error: another process of this run has ended" in done.stderr
    record = read_run(tmp_path / "search" / "dying")
    assert len(record.trials) == 4  # two rounds of two
    goes_on = run_search(load_config("search", SearchConfig, [*overrides, "name=dying"]))
    whole = run_search(load_config("search", SearchConfig, [*overrides, "name=whole"]))
    assert [t.subnet for t in read_run(goes_on).trials] == [t.subnet for t in read_run(whole).trials]


@pytest.mark.slow
def test_proposals_for_two_processes_differ(supernet_folder, tmp_path):
    given = [f"supernet={supernet_folder}", "searcher=ehvi", "max_evaluations=12", f"output_dir={tmp_path}"]
    done = run_two(search.cli.main, *given)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "search").iterdir()
    subnets = [trial.subnet for trial in read_run(folder).trials]
    assert len(set(subnets)) == len(subnets) == 12


@pytest.mark.slow
def test_latency_is_not_measured_by_processes_that_share_a_cpu(supernet_folder, tmp_path):
    given = [f"supernet={supernet_folder}", "objectives=[error,latency_ms]", f"output_dir={tmp_path}"]
    done = run_two(search.cli.main, *given)
    assert done.returncode != 0
    assert "error: objective latency_ms cannot be measured by several processes that share a CPU" in done.stderr
    assert not (tmp_path / "search").exists()
