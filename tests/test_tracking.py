"""What a training records and shows: metrics.jsonl, trackers, lines, the table at the end."""

import importlib.util
import io
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from supernet.console.config import load_config
from supernet.console.progress import WorkProgress, duration, show_progress
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.training import tracking
from supernet.training.previous_run import with_precision
from supernet.training.summary import print_summary, search_command, step_text
from supernet.training.tracking import peak_memory_gib
from supernet.training.train import train
from supernet.training.trainer import Trainer


@pytest.fixture
def configure(model_folder, data_folder, tmp_path):
    def configured(*more):
        overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}"]
        overrides += [f"data.cache_dir={data_folder}/cache", "data.max_train_samples=60", "train.batch_size=8"]
        overrides += [f"output_dir={tmp_path}", "train.epochs=2", "train.checkpoint_every=2"]
        return load_config("train", TrainConfig, [*overrides, *more])

    return configured


def test_every_line_says_what_there_is_to_know(configure, capsys):
    folder = train(configure())
    lines = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step" in line]
    assert [line["step"] for line in steps] == [0, 5, 6, 11]
    known = {"loss_largest", "loss_smallest", "loss_random", "learning_rate", "samples_per_second", "memory_gib"}
    assert all(known <= line.keys() for line in steps)
    assert all(0 < line["memory_gib"] < 100 and line["samples_per_second"] > 0 for line in steps)
    epochs = [line for line in lines if "epoch" in line]
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert list(epochs[0]["validation_error"]) == ["largest", "middle", "smallest"]
    said = capsys.readouterr().err
    for expected in (
        "2, each of 6 steps", "rows/s", "GiB in the main process", "last loss, smallest sub-network", "best epoch",
        "validation error, middle sub-network", "with 100.0% of the encoder", f"supernet saved in {folder}",
    ):  # fmt: skip
        assert expected in said
    assert not list(folder.parent.glob("tensorboard"))


def test_a_tracker_that_is_not_installed_is_told_before_the_work(configure, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(UserError, match=r"tracking.to=wandb: not installed; use 'pip install wandb'"):
        train(configure("tracking.to=[wandb]"))
    with pytest.raises(UserError, match=r"tracking.to 'tensorbord' is unknown; .*did you mean tensorboard"):
        configure("tracking.to=[tensorbord]")


@pytest.mark.slow
def test_tensorboard_goes_on_where_it_was(configure, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    step = Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, rows, n, **o: 1 / 0 if n == 8 else step(self, rows, n, **o))
        with pytest.raises(ZeroDivisionError):
            train(configure("tracking.to=[tensorboard]"))
    folder = train(configure("tracking.to=[tensorboard]")).parent
    assert folder == with_precision(configure()).folder
    events = EventAccumulator(str(folder / "tensorboard" / "plm-supernet")).Reload()
    assert [event.step for event in events.Scalars("loss_largest")] == [0, 5, 6, 11]
    assert [event.step for event in events.Scalars("validation_error.middle")] == [5, 11]
    train(configure("tracking.to=[tensorboard]", "overwrite=true"))
    events = EventAccumulator(str(folder / "tensorboard" / "plm-supernet")).Reload()
    assert [event.step for event in events.Scalars("loss_largest")] == [0, 5, 6, 11]


def test_a_tracker_that_cannot_start_gives_one_line(configure, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("accelerate.Accelerator.init_trackers", lambda *a: (_ for _ in ()).throw(OSError("no\nlogin")))
    with pytest.raises(UserError, match=r"tracking.to=tensorboard cannot start \(no\); fix this or leave it out"):
        train(configure("tracking.to=[tensorboard]"))


def test_a_line_says_how_far_it_is_and_how_long_it_will_take():
    now = [0.0]
    with show_progress(
        Console(file=io.StringIO(), quiet=True),
        "epoch 1/2",
        100,
        unit="steps",
        done=10,
        later=100,
        clock=lambda: now[0],
    ) as progress:
        assert progress.line == "epoch 1/2: 10/100 steps"
        for i in range(40):
            now[0] += 2.0
            assert progress.is_stale == (i in (2, 3, 4) or i > 7)
            progress.advance("loss: largest 0.500" if i in (4, 5) else None)
    assert progress.line == "epoch 1/2: 50/100 steps  loss: largest 0.500  about 0:05:00 left"


def test_what_was_known_before_does_not_tell_the_pace():
    now = [0.0]
    with show_progress(Console(file=io.StringIO(), quiet=True), "random", 10, clock=lambda: now[0]) as progress:
        for i in range(5):
            now[0] += 10.0 if i > 2 else 0.001
            progress.advance(worked=i > 2)
    assert progress.left == pytest.approx(50)


class Waiting(io.StringIO):
    """Tells that something was written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        super().write(text)
        self.written.set()
        return len(text)


def test_off_a_terminal_lines_come_while_a_single_item_takes_long(monkeypatch):
    monkeypatch.setattr("supernet.console.progress.LINE_EVERY", 0.001)
    out = Waiting()
    with show_progress(Console(file=out), "importance", 4, unit="batches"):
        assert out.written.wait(60)
    assert out.getvalue().splitlines()[0] == "importance: 0/4 batches"
    out = Waiting()
    with show_progress(Console(file=out), "loading [the] rows", clock=lambda: 5.0):
        assert out.written.wait(60)
    assert out.getvalue().splitlines()[0] == "loading [the] rows: for 0:00:00 so far"
    assert [thread.name for thread in threading.enumerate() if "(print_lines)" in thread.name] == []


def test_losses_in_words():
    assert step_text({"step": 1, "loss_largest": 0.5, "learning_rate": 1e-4, "samples_per_second": 7.2}) == (
        "loss: largest 0.500  lr 1.0e-04  7 rows/s"
    )


def test_losses_are_looked_at_anew_where_steps_are_slow(configure, monkeypatch, capsys):
    """What is recorded does not depend on how fast the machine is."""
    said, advance = [], WorkProgress.advance

    def listening(self, text=None, **options):
        said.append(text)
        return advance(self, text, **options)

    monkeypatch.setattr(WorkProgress, "advance", listening)
    monkeypatch.setattr("supernet.console.progress.FRESH", -1.0)
    folder = train(configure())
    assert len([text for text in said if text and text.startswith("loss: largest")]) == 12
    lines = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [0, 5, 6, 11]


def test_importance_shows_how_far_it_is(configure, monkeypatch, capsys):
    shown, advance = [], WorkProgress.advance

    def listening(self, text=None, **options):
        advance(self, text, **options)
        shown.append(self.line)

    monkeypatch.setattr(WorkProgress, "advance", listening)
    train(configure("order=importance", "order.batches=3"))
    assert "measuring the importance of heads and units on 3 training batches" in capsys.readouterr().err
    assert [line.partition("  ")[0] for line in shown[:3]] == [f"importance: {i}/3 batches" for i in (1, 2, 3)]


def test_on_a_terminal_a_bar():
    out = io.StringIO()
    with show_progress(Console(file=out, force_terminal=True), "epoch 1/2", 4, unit="steps") as progress:
        for _ in range(4):
            progress.advance()
    assert "4/4" in out.getvalue()
    assert "epoch 1/2: " not in out.getvalue()


def test_a_training_ends_with_the_next_command(configure, tmp_path, monkeypatch, capsys):
    config = with_precision(configure())
    monkeypatch.setattr(sys, "argv", ["train_supernet.py"])
    train(config)
    command = f"next: python search.py searcher=ehvi supernet={config.folder} output_dir={tmp_path}\n"
    assert command in capsys.readouterr().err
    train(config)
    assert command in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["/usr/bin/plm-supernet"])
    command = search_command(replace(config, output_dir="runs"))
    assert command == f"plm-supernet search searcher=ehvi supernet=runs/train/{config.folder.name}"
    assert "'supernet=my runs/" in search_command(replace(config, output_dir="my runs"))


def test_a_test_run_says_so(configure, capsys):
    folder = train(configure("test_run=true"))
    assert "note: this is a test run (debug=fast)" in capsys.readouterr().err
    assert json.loads((folder / "supernet.json").read_text())["test_run"]
    assert load_config("train", TrainConfig, ["debug=fast"]).test_run


def test_the_summary_is_a_table_and_the_folder_is_not_cut():
    out, folder = io.StringIO(), Path("/a" * 60)
    print_summary(
        Console(file=out, width=80, soft_wrap=True), title="sst2", facts={"time": duration(3723.4)},
        errors={"largest": 0.125}, shares={"largest": 1.0}, folder=folder,
    )  # fmt: skip
    assert "1:02:03" in out.getvalue()
    assert "0.1250 with 100.0% of the encoder" in out.getvalue()
    assert out.getvalue().splitlines()[-1] == f"supernet saved in {folder}"


def test_memory_is_in_gib():
    before = peak_memory_gib(torch.device("cpu"))
    block = torch.ones(2**26)  # 0.25 GiB
    assert 0.01 < before <= peak_memory_gib(torch.device("cpu")) < 64
    assert len(block)


def test_names_of_nested_values():
    flat = tracking._loggable({"train": {"epochs": 2, "dir": None}, "seed": 1, "to": ("a",)})
    assert flat == {"train.epochs": 2, "train.dir": "None", "seed": 1, "to": "('a',)"}
