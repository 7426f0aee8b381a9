"""A sub-network that is trained alone from its weights in the supernet, and kept only if it is better."""

import io
import json
import os
import signal
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification

from supernet.console.config import load_config
from supernet.data.batches import collate, training_batches
from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.models.losses import cross_entropy, kl_divergence, squared_error
from supernet.models.slicing import extract
from supernet.options.finish import TARGETS, FinishOptions
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import LayerSlice, SubNetwork
from supernet.training.finish import finish
from supernet.training.previous_run import training_of
from supernet.training.teacher import teacher_logits
from supernet.training.trainer import Trainer
from tests.fixtures import read_task
from tests.launched import dies_after, run
from tests.models import split_of, tiny_model

SUBNET = SubNetwork((LayerSlice(1, (1, 3), range(5)), LayerSlice(2, (), range(7)), LayerSlice(3, range(2), ())))
KINDS = {"sst2": {"rows": 24}, "stsb": {"rows": 24, "regression": True}, "swag": {"rows": 24, "choices": 3}}


class Killed(BaseException):
    """Stands for a process that ends at once."""


class Tokenizer:
    pad_token_id = 1


def subject(name="sst2", family="bert", subnet=SUBNET, *, dropout=0.1, dtype=torch.float32):
    """Positional arguments of `finish`: a sub-network, the full model, rows. There are no test rows."""
    choice = name == "swag"
    auto = AutoModelForMultipleChoice if choice else AutoModelForSequenceClassification
    labels = {} if choice else {"num_labels": 1 if name == "stsb" else 3}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    full = tiny_model(family, auto=auto, dtype=dtype, **labels, **rates)
    split = split_of(**KINDS[name])
    task = replace(read_task(name, max_length=30), **({"classes": ("a", "b", "c")} if name == "sst2" else {}))
    data = TaskData(split, split, None, task, None)
    return extract(full, subnet).eval(), subnet, full, data, Tokenizer()


def training(*overrides):
    return load_config("train", TrainConfig, ["train.checkpoint_every=2", *overrides])


def finished(given, folder, *, train=(), seed=0, said=None, **options):
    """2 epochs of 3 steps."""
    values = FinishOptions(**{"epochs": 2, "learning_rate": 1e-2, "batch_size": 8} | options)
    console = Console(file=io.StringIO() if said is None else said, width=200)
    return finish(*given, training=training(*train), options=values, folder=Path(folder), seed=seed, console=console)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lines(folder):
    (file,) = Path(folder).glob("finish-*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


# --- what it learns from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", KINDS)
def test_it_learns_from_labels_predictions_or_both(name, targets, tmp_path):
    small, _, full, data, _ = given = subject(name, dropout=0.0)
    finished(given, tmp_path, epochs=1, targets=targets, temperature=3.0)
    found = lines(tmp_path)[0]["loss_largest"]
    with torch.no_grad():
        batch = collate(data.train, training_batches(data.train, 8, seed=0, epoch=0)[0], 1)
        student, teacher = small(**batch.inputs).logits, full(**batch.inputs).logits
    regression = name == "stsb"
    by_labels = (squared_error if regression else cross_entropy)(student, batch.labels)
    soft = (student - teacher).square().sum() if regression else kl_divergence(student, teacher, temperature=3.0)
    expected = {"labels": by_labels, "logits": soft, "both": by_labels + soft}[targets]
    assert found == pytest.approx(expected.item() / 8, rel=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_what_it_learns_from_makes_a_difference(name, tmp_path, monkeypatch):
    monkeypatch.setattr("supernet.training.finish._is_better", lambda scores, than: True)
    found = [weights(finished(subject(name), tmp_path, targets=targets).model) for targets in TARGETS]
    assert not any(same(a, b) for a, b in [found[:2], found[1:], found[::2]])


FAMILIES = [("bert", SUBNET), ("bert", SubNetwork(())), ("deberta-v2", SUBNET), ("deberta-v2", SubNetwork(()))]


@pytest.mark.parametrize(("family", "subnet"), [*FAMILIES, ("modernbert", SUBNET)])
def test_what_was_given_stays_as_it_was(family, subnet, tmp_path, monkeypatch):
    monkeypatch.setattr("supernet.training.finish._is_better", lambda scores, than: True)
    small, _, full, data, tokenizer = given = subject(family=family, subnet=subnet)
    before = weights(small), weights(full)
    result = finished(given, tmp_path)
    assert same(weights(small), before[0])
    assert same(weights(full), before[1])
    trained = weights(result.model)
    assert not same(trained, before[0])
    assert {p.data_ptr() for p in result.model.parameters()}.isdisjoint(
        p.data_ptr() for m in (small, full) for p in m.parameters()
    )
    assert not any(model.training for model in (result.model, full, small))
    assert Evaluator(data.validation, data.task, tokenizer).evaluate(result.model) == result.after


# --- the full model's predictions -------------------------------------------------------------------------------------


@pytest.fixture
def any_is_better(monkeypatch):
    """The weights after the last epoch are the result."""
    monkeypatch.setattr("supernet.training.finish._is_better", lambda scores, than: True)


@pytest.fixture
def predicted(monkeypatch):
    """Numbers of rows that a teacher has been asked about."""
    rows = []

    def asked(teacher, data, *rest, **options):
        rows.append(len(data.train))
        return teacher_logits(teacher, data, *rest, **options)

    monkeypatch.setattr("supernet.training.teacher.teacher_logits", asked)
    return rows


@pytest.mark.parametrize("name", KINDS)
def test_predictions_made_once_teach_as_a_model_in_each_step(name, tmp_path, monkeypatch, any_is_better, predicted):
    """The second training runs the full model on each batch; micro-batches take their own rows of the predictions."""
    options = {"targets": "logits", "train": ["train.micro_batch_size=3"], "learning_rate": 1e-3}
    once = finished(subject(name, dtype=torch.float64), tmp_path / "once", **options)
    assert predicted == [24]
    given = subject(name, dtype=torch.float64)
    monkeypatch.setattr("supernet.training.finish._Job.predictions", lambda *_: given[2])
    each = finished(given, tmp_path / "each", **options)
    assert predicted == [24]
    for key, tensor in weights(each.model).items():
        torch.testing.assert_close(once.model.state_dict()[key], tensor, rtol=0, atol=1e-9, msg=key)
    assert not same(weights(once.model), weights(given[0]))


def test_several_finishings_share_the_predictions(tmp_path, any_is_better, predicted):
    small, subnet, full, data, tokenizer = given = subject()
    logits = teacher_logits(full, data, tokenizer)
    assert logits.shape == (24, 3)
    alone = finished(given, tmp_path / "alone")
    assert predicted == [24]
    shared = finished((small, subnet, logits, data, tokenizer), tmp_path / "shared")
    assert predicted == [24]
    assert same(weights(shared.model), weights(alone.model))
    with pytest.raises(ValueError, match="of 23 rows; there are 24 rows"):
        finished((small, subnet, logits[1:], data, tokenizer), tmp_path / "shared")
    finished((small, subnet, logits + 1, data, tokenizer), tmp_path / "shared")
    assert len([*(tmp_path / "shared").iterdir()]) == 3  # other predictions, another training


def test_labels_alone_need_no_predictions(tmp_path, predicted):
    finished(subject(), tmp_path, targets="labels")
    assert not predicted
    finished(subject(), tmp_path, targets="both")
    assert predicted


def test_predictions_are_shown_kept_and_read_again(tmp_path, monkeypatch, predicted, expected):
    shown = []
    monkeypatch.setattr("supernet.training.teacher.show_progress", lambda _, text: shown.append(text) or nullcontext())
    with monkeypatch.context() as patch:
        at_step(patch, 0, kill)
        with pytest.raises(Killed):
            finished(subject(), tmp_path)
    assert (shown, predicted) == (["the full model's predictions of 24 rows"], [24])
    (file,) = tmp_path.glob("*/checkpoints/teacher.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"teacher.npz cannot be used .*; remove it, and the predictions are computed"):
        finished(subject(), tmp_path)
    file.write_bytes(whole)
    assert_same(finished(subject(), tmp_path), tmp_path, expected)
    assert predicted == [24]


# --- kept only if it is better ----------------------------------------------------------------------------------------


def test_off_means_the_weights_of_the_supernet(tmp_path):
    small, _, _, data, tokenizer = given = subject()
    before = weights(small)
    result = finished(given, tmp_path, epochs=0)
    assert (result.model, result.epoch, result.better) == (small, 0, False)
    assert same(weights(small), before)
    assert result.before == result.after == Evaluator(data.validation, data.task, tokenizer).evaluate(small)
    assert not [*tmp_path.iterdir()]


NAN = float("nan")


@pytest.mark.parametrize(
    ("seen", "best"),
    [
        ([(0.3, 1.0), (0.2, 2.0), (0.2, 1.9), (0.2, 1.9)], 2),  # equal errors: the loss; equal losses: the earlier
        ([(0.3, 1.0), (0.3, 0.9), (0.4, 0.1), (0.3, 0.95)], 1),
        ([(0.3, 1.0), (0.3, 1.0), (0.31, 0.1), (0.4, 0.1)], 0),
        ([(0.3, 1.0), (NAN, NAN), (0.3, NAN), (0.3, 0.9)], 3),
    ],
)
def test_the_best_of_the_start_and_of_each_epoch_is_kept(seen, best, tmp_path, monkeypatch):
    given, scores, models = subject(), iter(seen), []

    def evaluate(self, model):
        models.append(weights(model))
        return Scores(*next(scores), 24)

    monkeypatch.setattr(Evaluator, "evaluate", evaluate)
    said = io.StringIO()
    result = finished(given, tmp_path, epochs=3, said=said)
    assert (result.epoch, result.better) == (best, best > 0)
    assert same(weights(result.model), models[best])
    assert (result.model is given[0]) == (best == 0)
    assert ((result.before.error, result.before.loss), (result.after.error, result.after.loss)) == (seen[0], seen[best])
    last = said.getvalue().splitlines()[-1]
    assert (f"epoch {best} is the best" if best else "the training has not helped") in last


def test_a_result_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    result = finished(subject(), tmp_path)
    left = sorted(path.name for path in next(tmp_path.iterdir()).iterdir())
    assert left == [".lock", "best.safetensors", "config.json", "finished.json", "metrics.jsonl", "state.json"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", None)
        again = finished(subject(), tmp_path)
        assert same(weights(result.model), weights(again.model))
        assert (again.epoch, again.before, again.after) == (result.epoch, result.before, result.after)
        for other in ({"targets": "labels"}, {"seed": 1}, {"temperature": 3.0}, {"train": ["train.weight_decay=0.5"]}):
            with pytest.raises(TypeError):
                finished(subject(), tmp_path, **other)
        changed = subject()
        with torch.no_grad():
            changed[2].classifier.bias.add_(1)
        with pytest.raises(TypeError):
            finished(changed, tmp_path)
    (next(tmp_path.glob("*/finished.json")).parent / "best.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be used .*; remove .*, and the sub-network is trained again"):
        finished(subject(), tmp_path)


# --- interrupted ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return finished(subject(), folder), folder


def assert_same(result, folder, expected):
    whole, its_folder = expected
    assert same(weights(result.model), weights(whole.model))
    assert (result.epoch, result.before, result.after) == (whole.epoch, whole.before, whole.after)
    clock = ("samples_per_second", "memory_gib")
    found, wanted = ([{k: v for k, v in x.items() if k not in clock} for x in lines(f)] for f in (folder, its_folder))
    assert found == wanted
    assert not [*Path(folder).glob("*/checkpoints")]


def at_step(monkeypatch, number, what):
    step = Trainer.step

    def patched(self, rows_B, its_number, **options):
        if its_number == number:
            what()
        return step(self, rows_B, its_number, **options)

    monkeypatch.setattr(Trainer, "step", patched)


def kill():
    raise Killed


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_killed_at_a_step_it_ends_with_the_same_bits(number, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, number, kill)
        with pytest.raises(Killed):
            finished(subject(), tmp_path)
    said = io.StringIO()
    assert_same(finished(subject(), tmp_path, said=said), tmp_path, expected)
    goes_on = {1: None, 2: 2, 4: 4, 5: 4}[number]
    assert (f"resuming after step {goes_on} of 6" in said.getvalue()) == (goes_on is not None)
    assert "resume=never" not in said.getvalue()


@pytest.mark.parametrize("before", ["write_weights", "write_json", "remove_checkpoints"])
def test_killed_between_two_files_it_ends_with_the_same_bits(before, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(f"supernet.training.finish.{before}", lambda *_: kill())
        with pytest.raises(Killed):
            finished(subject(), tmp_path)
    assert_same(finished(subject(), tmp_path), tmp_path, expected)


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", None)])
def test_a_signal_says_how_to_go_on(name, status, expected, tmp_path, monkeypatch):
    said = io.StringIO()
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), getattr(signal, name)))
        with pytest.raises(SystemExit if status else KeyboardInterrupt) as ended:
            finished(subject(), tmp_path, said=said)
    if status:
        assert ended.value.code == status
        assert "stopped by SIGTERM after step 3 of 6; the same command resumes from there" in said.getvalue()
    else:
        assert "stopped by Ctrl-C after step 3 of 6; the same command resumes after step 3" in said.getvalue()
    assert_same(finished(subject(), tmp_path), tmp_path, expected)


def killed_at_a_moment():
    calls, folder = int(sys.argv[1]), sys.argv[2]
    step = Trainer.step

    def first_step(self, rows_B, number, **options):
        if calls and number == 0:
            sys.setprofile(dies_after(calls))
        return step(self, rows_B, number, **options)

    Trainer.step = first_step
    finished(subject(), folder)


@pytest.mark.slow
def test_sigkill_at_any_moment_costs_no_bit(expected, tmp_path):
    for calls in (2_000, 40_000, 90_000):
        assert run(killed_at_a_moment, calls, tmp_path).returncode == -signal.SIGKILL
    assert run(killed_at_a_moment, 0, tmp_path).returncode == 0
    assert_same(finished(subject(), tmp_path), tmp_path, expected)


# --- what is not possible ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": -1}, r"finetune.epochs is -1; it must be 0 or more; 0 is off"),
        ({"targets": "label"}, r"finetune.targets 'label' is unknown; .*did you mean labels"),
        ({"learning_rate": 0.0}, r"finetune.learning_rate is 0.0; it must be a number greater than 0"),
        ({"batch_size": 0}, r"finetune.batch_size is 0; it must be 1 or more"),
        ({"temperature": 0.0}, r"finetune.temperature is 0.0; it must be from 0.01 to 1000"),
    ],
)
def test_wrong_values_get_one_line(values, message):
    with pytest.raises(UserError, match=f"^{message}") as error:
        FinishOptions(**values)
    assert "\n" not in str(error.value)


def test_a_training_that_diverges_names_its_own_learning_rate(tmp_path):
    with pytest.raises(UserError, match=r"the loss is not finite at step .* lower finetune.learning_rate \(1e\+30\)$"):
        finished(subject(), tmp_path, epochs=40, learning_rate=1e30)


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(UserError, match=r"finetune.epochs=2 trains in one process, and accelerate has started 2; "):
        finished(subject(), tmp_path)


def test_the_other_values_are_those_of_the_supernets_training(tmp_path):
    assert training_of(tmp_path / "supernet") is None
    (tmp_path / "config.json").write_text(json.dumps(asdict(training("train.warmup=0.3"))))
    assert training_of(tmp_path / "supernet").train == training("train.warmup=0.3").train
    assert training_of(tmp_path / "elsewhere") is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json .*; remove it, and the default values of a training are used"):
        training_of(tmp_path / "supernet")
