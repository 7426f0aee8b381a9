"""A search killed at any moment goes on to the same trials as one that was left alone."""

import json

import pytest

from tests import kill_job
from tests.fake_runs import trials_in
from tests.launched import run as run_forked

KILLS, EVALUATIONS = 10, 50


def night(searcher):
    return pytest.param(searcher, marks=pytest.mark.nightly)


@pytest.mark.slow
@pytest.mark.parametrize("searcher", ["ehvi", night("morea"), night("random"), night("nsga2")])
def test_sigkill_at_ten_random_moments_changes_no_trial(searcher, supernet_folder, tmp_path):
    overrides = [
        f"searcher={searcher}",
        f"supernet={supernet_folder}",
        f"output_dir={tmp_path}",
        f"max_evaluations={EVALUATIONS}",
    ]

    def run(kills, name):
        done = run_forked(kill_job.main, kills, 7, *overrides, f"name={name}")
        assert done.returncode == 0, done.stderr
        return [int(n) for n in done.stdout.splitlines()[-1].split()]

    run(0, "whole")
    killed_at = run(KILLS, "killed")
    assert len(killed_at) == KILLS
    assert killed_at == sorted(killed_at)
    assert killed_at[-1] < EVALUATIONS
    assert len(set(killed_at)) > KILLS // 2
    folders = {name: tmp_path / "search" / name for name in ("whole", "killed")}
    assert trials_in(folders["killed"]) == trials_in(folders["whole"])
    fronts = [json.loads((folder / "front.json").read_text())["front"] for folder in folders.values()]
    assert fronts[0] == fronts[1]
