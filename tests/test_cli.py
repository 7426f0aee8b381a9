"""The commands as a user types them, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def command(script, *arguments, cwd=ROOT):
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env=hidden,
    )


def one_line(done):
    """The single line of an error, which is all that is printed."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert not done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.slow
def test_train_then_search_from_any_folder(model_folder, data_folder, tmp_path):
    """Relative folders are those of the working folder, and Hydra leaves nothing of its own behind."""
    (tmp_path / "model").symlink_to(model_folder)
    (tmp_path / "glue").symlink_to(data_folder)
    few = ["task=sst2", "model.name_or_path=model", "data.dir=glue", "data.cache_dir=cache", "train.epochs=1"]
    done = command("train_supernet.py", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "supernet saved in runs/train/sst2-" in done.stderr
    done = command("search.py", "searcher=random", "max_evaluations=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "supernet runs/train/sst2-" in done.stdout
    assert "Pareto front of sst2" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "glue", "model", "runs"]


@pytest.mark.slow
def test_a_sweep_runs_every_combination(model_folder, data_folder, tmp_path):
    few = [f"model.name_or_path={model_folder}", f"data.dir={data_folder}", "data.cache_dir=cache", "train.epochs=1"]
    done = command("train_supernet.py", "-m", "task=sst2,stsb", "seed=0,1", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/train/*/supernet/supernet.json"))) == 4


@pytest.mark.slow
def test_mistakes_give_one_line_and_no_traceback(data_folder, tmp_path):
    assert "task 'mnil' is unknown" in one_line(command("train_supernet.py", "task=mnil"))
    assert "there is no trained supernet" in one_line(command("search.py", f"output_dir={tmp_path}"))
    missing = command("train_supernet.py", "task=rte", f"data.dir={data_folder}", f"output_dir={tmp_path}")
    assert "no file of task 'rte' for the split train" in one_line(missing)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train_supernet.py", "search.py"])
def test_help_can_be_read(script):
    done = command(script, "--help")
    assert done.returncode == 0
    assert "Choices (name=value)" in done.stdout
    assert "Hydra" not in done.stdout
