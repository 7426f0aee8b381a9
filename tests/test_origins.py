"""A training goes on, and counts as done, only with the rows, models and precision that it began with."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from supernet.artifact import INFO_FILE, read_info
from supernet.console.config import load_config
from supernet.models.files import model_digest
from supernet.options.training import TrainConfig
from supernet.runtime.digests import differences
from supernet.runtime.errors import UserError
from supernet.runtime.processes import accelerate_session
from supernet.runtime.state import DONE, STATE_FILE, mark_running, read_state, run_lock
from supernet.training import checkpoints as checkpoints_module
from supernet.training import run as training
from supernet.training.previous_run import with_precision
from supernet.training.train import train
from supernet.training.trainer import Trainer

pytestmark = pytest.mark.slow


@pytest.fixture
def place(model_folder, data_folder, tmp_path):
    """Copies of a pre-trained model and of a task's files: training, validation and test rows in a file each."""
    shutil.copytree(model_folder, tmp_path / "tiny-bert")
    rows = (data_folder / "sst2" / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows").mkdir()
    for i, name in enumerate(("train", "validation", "test")):
        (tmp_path / "rows" / f"{name}.jsonl").write_text("".join(rows[24 * i : 24 * i + 24]))
    return tmp_path


@pytest.fixture
def configure(place):
    def configured(*more):
        fixed = ["task=custom", f"data.dir={place}/rows", f"model.name_or_path={place}/tiny-bert"]
        fixed += [f"output_dir={place}/runs", f"data.cache_dir={place}/cache", "train.epochs=2", "train.batch_size=8"]
        return load_config("train", TrainConfig, [*fixed, *more])

    return configured


@pytest.fixture
def stopped(configure, monkeypatch):
    """Trains until a step, and stops with an error."""

    def stop(number, *more):
        step = Trainer.step
        with monkeypatch.context() as patch:
            patch.setattr(
                Trainer, "step", lambda self, rows, n, **o: 1 / 0 if n == number else step(self, rows, n, **o)
            )
            with pytest.raises(ZeroDivisionError):
                train(configure(*more))

    return stop


def change_rows(place, name):
    file = place / "rows" / f"{name}.jsonl"
    first, *others = file.read_text().splitlines(keepends=True)
    row = json.loads(first)
    file.write_text(json.dumps(row | {"sentence": row["sentence"] + " fog"}) + "\n" + "".join(others))


def change_model(place, name):
    file = place / "tiny-bert" / "model.safetensors"
    weights = load_file(file)
    weights["embeddings.LayerNorm.bias"] += 1
    save_file(weights, file, {"format": "pt"})


CHANGES = [(change_rows, "train"), (change_rows, "validation"), (change_rows, "test"), (change_model, "")]


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_a_training_does_not_go_on_with_other_rows_or_another_model(change, name, configure, stopped, place):
    stopped(4)
    change(place, name)
    what = f"{name} rows" if name else "pre-trained model"
    with pytest.raises(UserError, match=rf"^{what} changed since checkpoint .*start from scratch with resume=never$"):
        train(configure())
    assert train(configure("resume=never")).exists()


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_what_was_trained_with_others_is_not_taken_for_done(change, name, configure, place, capsys):
    target = train(configure())
    assert train(configure()) == target
    assert f"already trained: {target}" in capsys.readouterr().err
    change(place, name)
    what = f"{name} rows" if name else "pre-trained model"
    with pytest.raises(UserError, match=rf"^{what} changed since .* was trained; overwrite=true"):
        train(configure())
    train(configure("overwrite=true"))
    assert train(configure()) == target


def test_classes_that_are_called_otherwise_are_others(configure, place, stopped):
    def rename(classes):
        for file in (place / "rows").iterdir():
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            file.write_text("".join(json.dumps(row | {"label": classes[row["label"]]}) + "\n" for row in rows))

    rename({0: "neg", 1: "pos"})
    train(configure())
    stopped(4, "seed=1")
    rename({"neg": "bird", "pos": "cat"})
    with pytest.raises(UserError, match=r"^classes changed since .* was trained; overwrite=true"):
        train(configure())
    with pytest.raises(UserError, match=r"^classes changed since checkpoint"):
        train(configure("seed=1"))


def test_every_file_of_weights_is_a_part_of_a_model(place):
    folder = place / "tiny-bert"
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    before = model_digest(folder)
    with (folder / "part.safetensors").open("ab") as file:
        file.write(b"more")
    assert model_digest(folder) != before


def test_a_teacher_is_one_of_the_models(configure, place, capsys):
    teacher = train(configure("seed=1"))
    shutil.copytree(teacher, place / "teacher")
    given = f"distillation.teacher={place}/teacher"
    info = read_info(train(configure(given)))
    assert info.begun_with == {
        "pre-trained model": model_digest(place / "tiny-bert"),
        "teacher": model_digest(place / "teacher"),
    }
    weights = load_file(place / "teacher" / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, place / "teacher" / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"^teacher changed since"):
        train(configure(given))
    shutil.rmtree(place / "teacher")
    train(configure(given))
    assert f"could not be checked: {given}: no such folder" in capsys.readouterr().err


def test_what_cannot_be_compared_is_said(configure, place, capsys):
    target = train(configure())
    (place / "rows").rename(place / "away")
    assert train(configure()) == target
    assert "whether the rows and the model are still the same could not be checked: " in capsys.readouterr().err
    (place / "away").rename(place / "rows")
    old = json.loads((target / INFO_FILE).read_text())
    for name in ("begun_with", "precision", "test_run"):
        del old[name]
    (target / INFO_FILE).write_text(json.dumps(old))
    assert train(configure()) == target
    assert "an older version trained it and did not record with which model" in capsys.readouterr().err
    change_rows(place, "test")
    with pytest.raises(UserError, match=r"^test rows changed since"):
        train(configure())


def test_what_changed_is_told_in_words():
    was = {"train rows": "a", "test rows": "b", "teacher": "c"}
    assert differences(was, was) == ""
    assert differences({"train rows": "b", "test rows": "c"}, was) == "train rows, test rows and teacher"


def test_the_precision_is_decided_before_the_folder_has_a_name(configure, monkeypatch):
    names = {with_precision(configure(f"train.mixed_precision={name}")).folder for name in ("auto", "fp32", "bf16")}
    assert len(names) == 2
    with pytest.raises(ValueError, match="has to be decided"):
        _ = configure().folder
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert with_precision(configure()).folder == with_precision(configure("train.mixed_precision=bf16")).folder
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UserError, match=r"mixed precision fp8, which is not supported; use train\.mixed_precision="):
        with_precision(configure())


def test_auto_does_not_begin_anew_what_was_begun_in_another_precision(configure, stopped):
    stopped(4, "train.mixed_precision=bf16")
    with pytest.raises(
        UserError, match=r"was started in bf16 .*auto is fp32 here; resume it with .*=bf16, or start from"
    ):
        train(configure())
    bf16 = train(configure("train.mixed_precision=bf16"))
    assert read_info(bf16).precision == "bf16"
    assert train(configure()) != bf16


def test_auto_goes_on_with_its_own_precision_whatever_was_begun_beside(configure, stopped, capsys):
    stopped(4, "train.mixed_precision=bf16")
    stopped(4, "train.mixed_precision=fp32")
    train(configure())
    assert "resuming after step 3 of 6" in capsys.readouterr().err


def test_a_checkpoint_of_another_precision_is_refused(configure, stopped):
    stopped(4)
    folders = [with_precision(configure(f"train.mixed_precision={name}")).folder for name in ("fp32", "bf16")]
    folders[0].rename(folders[1])
    with pytest.raises(UserError, match=r"was trained in fp32, this training is in bf16; resume with"):
        train(configure("train.mixed_precision=bf16"))


def test_other_threads_and_versions_are_told(configure, stopped, monkeypatch, capsys):
    stopped(4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(checkpoints_module, "version", lambda name: f"{name} 99")
    train(configure())
    said = capsys.readouterr().err
    assert "changed since the checkpoint: threads 7 (was 1), torch torch 99 (was" in said
    assert "the last digits of the result may differ" in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MIXED_PRECISION", "bf16", "precision bf16 comes from accelerate launch; change it with mixed_precision=fp32"),
        ("DYNAMO_BACKEND", "INDUCTOR", "accelerate is set to compile models (dynamo_backend): INDUCTOR, which has no"),
        ("GRADIENT_ACCUMULATION_STEPS", "4", "accelerate is set to accumulate gradients: 4, which has no effect here"),
        ("DYNAMO_BACKEND", "NO", ""),
    ],
)
def test_what_becomes_of_the_launchers_settings_is_said(name, value, said, monkeypatch, capsys):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with accelerate_session("auto", key="mixed_precision") as accelerator:
        assert accelerator.gradient_accumulation_steps == 1
    assert said in capsys.readouterr().err
    if not said:
        assert capsys.readouterr().err == ""


def test_a_launcher_that_divides_models_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "true")
    with pytest.raises(UserError, match="set to use MEGATRON_LM, which divides a model among processes"):
        accelerate_session("auto").__enter__()


@pytest.mark.parametrize(
    ("number", "at"), [(1, "it has no checkpoint yet"), (4, "its last checkpoint is step-00000003")]
)
def test_an_interrupted_overwrite_is_told(number, at, configure, stopped, capsys):
    target = train(configure())
    old = (target / "model.safetensors").read_bytes()
    stopped(number, "overwrite=true")
    capsys.readouterr()
    assert train(configure()) == target
    said = capsys.readouterr().err
    assert f"already trained: {target}" in said
    assert "this is the old supernet. The training that replaces it (overwrite=true) was stopped at" in said
    assert f"{at}: overwrite=true resumes it" in said
    assert (target / "model.safetensors").read_bytes() == old
    train(configure("overwrite=true"))
    assert ("resuming after step 3 of 6" in capsys.readouterr().err) == (number == 4)
    train(configure())
    assert "this supernet is the old one" not in capsys.readouterr().err


def test_a_training_that_runs_elsewhere_is_told(configure):
    config = configure()
    folder = with_precision(config).folder
    folder.mkdir(parents=True)
    with run_lock(folder):
        mark_running(folder)
        with pytest.raises(UserError, match=r"the training in .* has been running since .*; wait until it has ended"):
            train(config)
        state = json.loads((folder / STATE_FILE).read_text())
        (folder / STATE_FILE).write_text(json.dumps(state | {"host": "another"}))  # it may be dead: the lock decides
        with pytest.raises(UserError, match=r"another process is writing in .*: it has been running .* on another"):
            train(config)


@pytest.mark.parametrize("before", ["mark_done", "remove_checkpoints"])
def test_a_supernet_whose_process_is_killed_after_saving_is_done(before, configure, monkeypatch, capsys):
    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(training, before, kill)
        with pytest.raises(KilledError):
            train(configure())
    for _ in range(2):
        target = train(configure())
        assert "the old one" not in capsys.readouterr().err
    assert read_state(target.parent).state == DONE
