"""An interrupted training ends with the very weights of an uninterrupted one."""

import json
import os
import random
import signal
import sys

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

import supernet.cli
from supernet.artifact import read_info
from supernet.console.config import load_config
from supernet.evaluation.evaluator import Evaluator
from supernet.options.training import TrainConfig
from supernet.runtime.state import DONE, read_state
from supernet.training import checkpoints as checkpoints_module
from supernet.training import run as training
from supernet.training.previous_run import with_precision
from supernet.training.train import train
from supernet.training.trainer import Trainer
from tests.launched import dies_after, run

pytestmark = pytest.mark.slow

CALLS = 1_000_000
"""A fifth of the calls and returns of functions in the training that is killed."""


class Killed(BaseException):
    """Stands for a process that ends at once."""


def options(model_folder, data_folder, output, *more):
    """3 epochs of 4 steps, with a checkpoint after each third step."""
    return [
        "task=sst2",
        f"model.name_or_path={model_folder}",
        f"data.dir={data_folder}",
        f"data.cache_dir={data_folder}/cache",
        "data.max_train_samples=40",
        f"output_dir={output}",
        "train.epochs=3",
        "train.batch_size=8",
        "train.learning_rate=1e-3",
        "train.checkpoint_every=3",
        *more,
    ]


@pytest.fixture
def configure(dropout_folder, data_folder, tmp_path):
    """The configuration of a training."""
    return lambda *more: load_config("train", TrainConfig, options(dropout_folder, data_folder, tmp_path, *more))


@pytest.fixture(scope="module")
def expected(dropout_folder, data_folder, tmp_path_factory):
    """The supernet of a training that nothing interrupts."""
    output = tmp_path_factory.mktemp("whole")
    return train(load_config("train", TrainConfig, options(dropout_folder, data_folder, output)))


@pytest.fixture
def at_step(monkeypatch):
    """Calls something before the step of a number is made, once."""
    step = Trainer.step

    def patch(number, what):
        def patched(self, rows_B, its_number, **options):
            if its_number == number and (number, what) not in done:
                done.append((number, what))
                what(self)
            return step(self, rows_B, its_number, **options)

        done = []
        monkeypatch.setattr(Trainer, "step", patched)

    return patch


def kill(*_, **__):
    raise Killed


def weights(folder):
    return load_file(folder / "model.safetensors")


def lines(folder):
    found = [json.loads(line) for line in (folder.parent / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("samples_per_second", "memory_gib")} for line in found]


def checkpoints(config):
    return sorted(path.name for path in (with_precision(config).folder / "checkpoints").iterdir())


def assert_same(folder, expected):
    found, expected_weights = weights(folder), weights(expected)
    assert all(torch.equal(found[name], expected_weights[name]) for name in expected_weights)
    assert lines(folder) == lines(expected)
    assert not (folder.parent / "checkpoints").exists()
    best, expected_best = (f.parent / "supernet-best" for f in (folder, expected))
    assert best.exists() == expected_best.exists()
    assert not list(folder.parent.glob(".*partial"))


@pytest.mark.parametrize("number", [1, 5, 8, 11])
def test_a_training_killed_at_a_step_ends_as_one_that_was_not(number, configure, expected, at_step, capsys):
    at_step(number, kill)
    with pytest.raises(Killed):
        train(configure())
    folder = train(configure())
    assert_same(folder, expected)
    goes_on = {1: None, 5: 4, 8: 8, 11: 9}[number]
    said = capsys.readouterr().err
    assert f"resuming after step {goes_on} of 12" in said if goes_on else "resuming" not in said


def test_a_training_killed_between_its_last_epoch_and_saving(configure, expected, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingRun, "finish", kill)
        with pytest.raises(Killed):
            train(configure())
    monkeypatch.setattr(Trainer, "step", kill)  # no step is left to be done
    assert_same(train(configure()), expected)


def test_a_training_killed_between_saving_and_removing_its_checkpoints(configure, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(training, "remove_checkpoints", kill)
        with pytest.raises(Killed):
            train(configure())
    config = configure()
    assert checkpoints(config) == ["step-00000009", "step-00000012"]
    train(configure("overwrite=true"))  # trains again, and does not take the old training for an interrupted one
    assert "resuming" not in capsys.readouterr().err
    assert train(config) == with_precision(config).folder / "supernet"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_saves_and_ends_and_the_same_command_goes_on(name, configure, expected, at_step, capsys):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    at_step(6, lambda _: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as ended:
        train(configure())
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == before
    assert checkpoints(configure())[-1] == "step-00000006"
    assert f"stopped by {name} after step 6 of 12; the same command resumes from there" in capsys.readouterr().err
    assert read_state(with_precision(configure()).folder).why == name
    assert_same(train(configure()), expected)
    assert read_state(with_precision(configure()).folder).state == DONE


@pytest.mark.parametrize(
    ("number", "size"),
    [
        (1, None),
        (2, 3),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in [(1, 3), (2, None), (4, None), (4, 3)]),
    ],
)
def test_a_signal_within_a_step_is_obeyed_after_the_backward_pass_in_hand(
    number, size, configure, expected, at_step, monkeypatch
):
    """The step, which draws random numbers for dropout in each pass, is given up and made again as a whole."""
    backward, calls = Accelerator.backward, []

    def counted(self, loss, **options):
        calls.append(loss)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(self, loss, **options)

    more = [] if size is None else [f"train.micro_batch_size={size}"]
    with monkeypatch.context() as patch:
        at_step(6, lambda _: patch.setattr(Accelerator, "backward", counted))
        with pytest.raises(SystemExit):
            train(configure(*more))
    assert len(calls) == number
    assert checkpoints(configure())[-1] == "step-00000006"
    folder = train(configure(*more))
    if size is None:
        assert_same(folder, expected)
        return
    whole = weights(folder)
    again = weights(train(configure(*more, "overwrite=true")))
    assert all(torch.equal(whole[name], again[name]) for name in again)


def test_a_signal_while_validating_is_obeyed_after_the_sub_network_in_hand(configure, expected, monkeypatch, capsys):
    error, calls = Evaluator.error, []

    def counted(self, model):
        calls.append(model)
        if len(calls) == 4:  # the first one after the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return error(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "error", counted)
        with pytest.raises(SystemExit):
            train(configure())
    assert len(calls) == 4
    assert "stopped by SIGTERM after step 8 of 12" in capsys.readouterr().err
    assert_same(train(configure()), expected)


def test_after_a_signal_resume_never_has_to_be_left_out(configure, expected, at_step, capsys):
    at_step(6, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(configure("resume=never"))
    assert "after step 6 of 12; the same command with resume=auto resumes from there" in capsys.readouterr().err
    assert_same(train(configure("resume=auto")), expected)


def damage_by_cutting(path):
    with (path / "optimizer.safetensors").open("r+b") as file:
        file.truncate(1000)


def damage_by_flipping_a_bit(path):
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "model.safetensors").write_bytes(content)


def damage_by_removing(path):
    (path / "state.json").unlink()


def damage_the_manifest(path):
    (path / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_by_cutting, "optimizer.safetensors has 1000 bytes instead of"),
        (damage_by_flipping_a_bit, "the checksum of model.safetensors is wrong"),
        (damage_by_removing, "state.json is missing"),
        (damage_the_manifest, "it cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(damage, message, configure, expected, at_step, capsys):
    at_step(10, kill)
    with pytest.raises(Killed):
        train(configure())
    assert checkpoints(configure()) == ["step-00000008", "step-00000009"]
    damaged = with_precision(configure()).folder / "checkpoints" / "step-00000009"
    damage(damaged)
    folder = train(configure())
    said = capsys.readouterr().err
    assert f"checkpoint {damaged} is damaged and is skipped: {message}" in said
    assert "resuming after step 8 of 12" in said
    assert_same(folder, expected)


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_it_starts_anew_if_no_checkpoint_is_whole_or_it_is_told_to(resume, configure, expected, at_step, capsys):
    at_step(10, kill)
    with pytest.raises(Killed):
        train(configure())
    for manifest in with_precision(configure()).folder.glob("checkpoints/*/manifest.json") if resume == "auto" else ():
        manifest.unlink()
    assert_same(train(configure(f"resume={resume}")), expected)
    assert "resuming" not in capsys.readouterr().err


def test_checkpoints_only_at_the_end_of_epochs(configure, at_step):
    at_step(10, kill)
    with pytest.raises(Killed):
        train(configure("train.checkpoint_every=null", "train.keep_checkpoints=3"))
    assert checkpoints(configure()) == ["step-00000004", "step-00000008"]  # the run folder is the same one


def test_what_does_not_change_the_result_does_not_change_the_folder(configure):
    same = ["train.checkpoint_every=7", "train.keep_checkpoints=1", "resume=never", "tracking.project=mine"]
    same += ["train.micro_batch_size=2", "train.gradient_checkpointing=true"]
    assert {with_precision(configure(override)).folder for override in same} == {with_precision(configure()).folder}
    assert with_precision(configure("train.length_window=1")).folder != with_precision(configure()).folder


@pytest.mark.parametrize(("before", "now", "then"), [("null", "3", 3), ("2", "3", 2), ("3", "null", 3)])
def test_smaller_micro_batches_can_be_asked_for_when_it_goes_on(before, now, then, configure, at_step):
    at_step(5, kill)
    with pytest.raises(Killed):
        train(configure(f"train.micro_batch_size={before}"))
    sizes = []
    at_step(5, lambda trainer: sizes.append(trainer.micro_batch_size))
    train(configure(f"train.micro_batch_size={now}"))
    assert sizes == [then]


@pytest.mark.parametrize(
    ("per_rank", "reason"), [(False, "only dropout and rounding will"), (True, "dropout, rounding and the sub-")]
)
def test_another_number_of_processes_is_told_truly(per_rank, reason, configure, at_step, monkeypatch, capsys):
    config = configure(f"sampling.per_rank={per_rank}")
    at_step(10, kill)
    with pytest.raises(Killed):
        train(config)
    file = with_precision(config).folder / "checkpoints" / "step-00000009" / "random.safetensors"
    save_file({"random": load_file(file)["random"].repeat(2, 1)}, file)
    monkeypatch.setattr(checkpoints_module, "_damage", lambda path: None)
    train(config)
    said = " ".join(capsys.readouterr().err.split())
    assert "written by 2 process(es), now there are 1" in said
    assert reason in said


@pytest.mark.parametrize(
    ("number", "more", "message"),
    [
        (1, [], "1 of 12; the same command starts from scratch"),
        (10, [], "10 of 12; the same command resumes after step 9, from the last checkpoint"),
        (10, ["resume=never"], "10 of 12; the same command with resume=auto resumes after step 9"),
    ],
)
def test_ctrl_c_says_what_is_not_lost(number, more, message, configure, at_step, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    at_step(number, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(configure(*more))
    assert f"stopped by Ctrl-C after step {message}" in capsys.readouterr().err


def test_the_micro_batch_size_goes_on_as_it_was(configure, expected, at_step):
    sizes = []

    def halve(trainer):
        trainer.micro_batch_size = 4

    at_step(1, halve)
    step = Trainer.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, rows, n, **o: kill() if n == 5 else step(self, rows, n, **o))
        with pytest.raises(Killed):
            train(configure())
    at_step(4, lambda trainer: sizes.append(trainer.micro_batch_size))
    folder = train(configure())
    assert sizes == [4]
    assert lines(folder) != lines(expected)  # by dropout


def test_the_best_epoch_is_kept_beside_the_last(configure, monkeypatch):
    means = iter([0.5, 0.25, 0.75])

    def validate(run):
        mean = next(means)
        return {"largest": mean - 0.1, "middle": mean, "smallest": mean + 0.1}

    monkeypatch.setattr(training.TrainingRun, "_validate", validate)
    folder = train(configure())
    best, last = read_info(folder.parent / "supernet-best"), read_info(folder)
    assert best.validation_error["middle"] == 0.25
    assert last.validation_error["middle"] == 0.75
    means = iter([0.5, 0.25, 0.25])  # of equals the later
    folder = train(configure("overwrite=true"))
    assert not (folder.parent / "supernet-best").exists()


def killed_at_a_moment():
    """At a call of a function after the first step began, or at the N-th file written to the disk; 0: not at all."""
    calls, syncs = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    step, fsync, done = Trainer.step, os.fsync, []

    def first_step(self, rows_B, number, **options):
        if calls and not done:
            done.append(number)
            sys.setprofile(dies_after(calls))
        return step(self, rows_B, number, **options)

    def counted(descriptor):
        done.append(descriptor)
        if syncs and len(done) == syncs:
            os.kill(os.getpid(), signal.SIGKILL)
        return fsync(descriptor)

    Trainer.step = first_step
    if syncs:
        os.fsync = counted
    supernet.cli.main()


def test_sigkill_at_any_moment_costs_no_bit(dropout_folder, data_folder, tmp_path):
    """Two of the five moments lie in the midst of writing a file, three anywhere in the training."""
    more = ["train.epochs=8", "train.checkpoint_every=1"]
    whole = train(load_config("train", TrainConfig, options(dropout_folder, data_folder, tmp_path / "whole", *more)))
    overrides = options(dropout_folder, data_folder, tmp_path / "runs", *more)
    rng = random.Random(0)
    moments = [(0, rng.randint(5, 60)) for _ in range(2)] + [(rng.randrange(CALLS), 0) for _ in range(3)]
    done = [run(killed_at_a_moment, *moment, *overrides) for moment in [*moments, (0, 0)]]
    assert [each.returncode for each in done] == [-signal.SIGKILL] * 5 + [0], done[-1].stderr
    assert_same(with_precision(load_config("train", TrainConfig, overrides)).folder / "supernet", whole)
