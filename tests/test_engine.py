"""One step: the same gradients in parts as in one, with layers recomputed or compiled, in another precision."""

import importlib
import json
import math
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.data.load import load_task
from supernet.models.families import architecture_of, family_of
from supernet.models.pretrained import load_pretrained
from supernet.models.slicing import view
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.processes import accelerate_session
from supernet.space.cost import params_share
from supernet.space.spaces import search_space
from supernet.space.strategies import RULES
from supernet.training import compiling
from supernet.training import gradients as gradients_module
from supernet.training import train as training
from supernet.training import trainer as trainer_module
from supernet.training.compiling import compiled_layers
from supernet.training.teacher import load_teacher
from supernet.training.train import train
from supernet.training.trainer import Trainer


@pytest.fixture
def configure(model_folder, data_folder, tmp_path):
    def configured(*more):
        overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}"]
        overrides += [f"data.cache_dir={data_folder}/cache", "data.max_train_samples=60", "train.batch_size=11"]
        overrides += [f"output_dir={tmp_path}", "train.epochs=2", "train.learning_rate=1e-3"]
        return load_config("train", TrainConfig, [*overrides, "distillation.temperature=2.0", *more])

    return configured


@pytest.fixture
def trainer(tokenizer):
    """Makes the trainer of a configuration, one at a time; in double precision, so that rounding does not count."""

    def make(config, *, dtype=torch.float64, teacher=None, **dropout):
        folder = config.model.name_or_path
        model, _ = load_pretrained(Path(folder), config.task, seed=0, labels=np.zeros(2))
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout.get("p", 0.0)
        a = architecture_of(model.config)
        space = search_space(config.space, layers=a.layers, heads=a.heads, units=a.units)
        split = load_task(config.task, config.data, tokenizer).train
        stack.close()
        accelerator = stack.enter_context(accelerate_session(config.train.mixed_precision))
        return Trainer(config, accelerator, model.to(dtype), space, split, pad_token_id=1, teacher=teacher)

    with ExitStack() as stack:
        yield make
    assert not AcceleratorState._shared_state


def gradients(trainer, step=3):
    """Losses of a batch and its gradients, as they are before they are clipped."""
    passes = trainer._passes(step)
    rows = trainer.batches(0)[0]
    losses = trainer._gradients(rows, passes, rows=len(rows))
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    trainer.optimizer.zero_grad()
    return losses, found


@pytest.mark.slow
def test_which_steps_are_random_does_not_decide_how_large_the_nets_are(configure, trainer):
    """Both follow from the step's number; of two streams that were one, only small nets would come early."""
    short = trainer(configure("strategy=kd", "sampling=stratified", "strategy.k=1"))
    short.steps = 2000
    a = architecture_of(short.model.config)
    drawn = [(step, p) for step in range(short.steps) for p in short._passes(step) if p.kind == "random"]
    early = [params_share(a, p.subnet) for step, p in drawn if step < 600]
    late = [params_share(a, p.subnet) for step, p in drawn if step >= 1400]
    assert len(late) > 4 * len(early) > 200
    assert abs(np.mean(early) - np.mean(late)) < 0.1


def assert_equal(found, expected, **tolerance):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name in expected[1]:
        torch.testing.assert_close(found[1][name], expected[1][name], msg=name, **tolerance)


@pytest.mark.parametrize(
    ("size", "strategy"), [*((4, name) for name in sorted(RULES)), (1, "full"), (11, "full"), (50, "full")]
)
def test_gradients_of_micro_batches_are_those_of_the_batch(size, strategy, configure, trainer):
    hidden = ["distillation.hidden_weight=0.5"] if RULES[strategy].distils else []
    whole = gradients(trainer(configure(f"strategy={strategy}", *hidden)))
    parts = gradients(trainer(configure(f"strategy={strategy}", f"train.micro_batch_size={size}", *hidden)))
    assert_equal(parts, whole, rtol=0, atol=1e-11)


def limited(monkeypatch, most, error):
    """Lets no more than so many rows fit into memory; returns the sizes that were tried."""
    accumulate, tried = gradients_module.accumulate_gradients, []

    def patched(model, inputs, labels, passes, **options):
        tried.append(len(labels))
        losses = accumulate(model, inputs, labels, passes, **options)  # leaves gradients, as a real one may
        if len(labels) > most:
            raise error
        return losses

    monkeypatch.setattr(trainer_module, "accumulate_gradients", patched)
    return tried


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS)
def test_the_micro_batch_is_halved_when_memory_runs_out(error, configure, trainer, monkeypatch, capsys):
    whole = gradients(trainer(configure()))
    short = trainer(configure())
    tried = limited(monkeypatch, 3, error)
    assert_equal(gradients(short), whole, rtol=0, atol=1e-11)
    assert tried == [11, 5, 2, 2, 2, 2, 2, 1]
    assert short.micro_batch_size == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in said] == [
        "out of memory with 11 rows in a forward pass",
        "out of memory with 5 rows in a forward pass",
    ]
    tried.clear()
    gradients(short)
    assert max(tried) == 2
    assert not capsys.readouterr().err


def test_a_row_that_does_not_fit_and_other_errors(configure, trainer, monkeypatch):
    limited(monkeypatch, 0, ERRORS[0])
    with pytest.raises(UserError, match=r"out of memory .* single row; use train.gradient_checkpointing=true"):
        gradients(trainer(configure()))
    limited(monkeypatch, 0, RuntimeError("mat1 and mat2"))
    with pytest.raises(RuntimeError, match="mat1"):
        gradients(trainer(configure()))


@pytest.mark.parametrize(("p", "strategy"), [*((0.3, name) for name in sorted(RULES)), (0.0, "full")])
def test_recomputed_layers_have_the_same_gradients(p, strategy, configure, trainer):
    """With dropout too: each layer is computed again with the random numbers that it had."""
    hidden = ["distillation.hidden_weight=0.5"] if RULES[strategy].distils else []
    found = []
    for checkpointing in ("false", "true"):
        config = configure(f"strategy={strategy}", f"train.gradient_checkpointing={checkpointing}", *hidden)
        its = trainer(config, p=p)
        torch.manual_seed(5)
        found.append(gradients(its))
        assert torch.equal(gradients(its)[0], found[-1][0]) == (p == 0.0)  # dropout goes on with other numbers
    assert_equal(found[1], found[0], rtol=0, atol=1e-12)


def test_layers_of_views_really_are_computed_twice(configure, trainer):
    its = trainer(configure("train.gradient_checkpointing=true"))
    small = view(its.model, its.space.middle)
    layers = family_of(small.config).layers_of(small)
    calls = []
    for layer in layers:
        layer.get_submodule("intermediate").register_forward_pre_hook(lambda *_: calls.append(1))
    leaf = its.model.get_input_embeddings()(torch.tensor([[2, 9, 12, 3]])).detach().requires_grad_()
    loss = small(inputs_embeds=leaf).logits.sum()
    assert len(calls) == len(layers)
    loss.backward()
    assert len(calls) == 2 * len(layers)


def test_bf16_is_close_to_fp32_and_leaves_nothing_behind(configure, trainer):
    fp32, bf16 = (
        gradients(trainer(configure(f"train.mixed_precision={precision}"), dtype=torch.float32))
        for precision in ("fp32", "bf16")
    )
    assert all(g.dtype == torch.float32 for g in bf16[1].values())
    torch.testing.assert_close(bf16[0], fp32[0], rtol=2e-2, atol=1e-2)
    norm = math.sqrt(sum(float(g.square().sum()) for g in fp32[1].values()))
    away = math.sqrt(sum(float((bf16[1][n] - g).square().sum()) for n, g in fp32[1].items()))
    assert 0 < away < 0.05 * norm


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP"])
def test_a_launcher_that_divides_models_is_refused(name, configure, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UserError, match=f"accelerate is set to use {name}"):
        train(configure())


def test_fp16_needs_a_gpu(configure, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"fp16 needs a GPU; use train.mixed_precision=bf16 or fp32"):
        train(configure("train.mixed_precision=fp16"))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        train(configure())


def test_without_clipping(configure, trainer, monkeypatch):
    its = trainer(configure("train.max_grad_norm=null"))
    monkeypatch.setattr(its.accelerator, "clip_grad_norm_", None)
    its.step(its.batches(0)[0], 0)


def test_batches_of_plainly_shuffled_rows(configure, trainer):
    its = trainer(configure("train.length_window=1"))
    rows = [row for batch in its.batches(0) for row in batch]
    assert sorted(rows) == list(range(len(its.split)))
    lengths = [its.split.lengths[batch] for batch in its.batches(0)]
    grouped = [its.split.lengths[batch] for batch in trainer(configure()).batches(0)]
    assert sum(map(np.ptp, lengths)) > 2 * sum(map(np.ptp, grouped))


@pytest.fixture
def teacher_folder(model_folder, tokenizer, tmp_path):
    def save(*, name="teacher", num_labels=2, words=tokenizer, **config):
        folder = tmp_path / name
        torch.manual_seed(1)
        base = AutoModelForSequenceClassification.from_pretrained(model_folder).config.to_dict()
        changed = type(AutoModelForSequenceClassification.from_pretrained(model_folder).config)(**base | config)
        changed.num_labels = num_labels
        AutoModelForSequenceClassification.from_config(changed).save_pretrained(folder)
        words.save_pretrained(folder)
        return folder

    return save


@pytest.mark.slow
def test_a_fixed_teacher_is_learned_from(configure, trainer, teacher_folder, tokenizer):
    folder = teacher_folder(num_hidden_layers=2)
    config = configure(f"distillation.teacher={folder}")
    without = trainer(configure())
    device = without.accelerator.device
    teacher = load_teacher(config.distillation, config.task, without.model, tokenizer, device=device)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    own, taught = gradients(without), gradients(trainer(config, teacher=teacher.double()))
    assert own[0][0] == pytest.approx(float(taught[0][0]))
    assert float(own[0][1]) != pytest.approx(float(taught[0][1]))
    assert (train(config) / "supernet.json").is_file()


def test_teachers_that_do_not_fit(configure, tokenizer, teacher_folder):
    other_words = type(tokenizer)(vocab={**tokenizer.get_vocab(), "tree": len(tokenizer)})
    mistakes = [
        ({"num_labels": 3}, [], "has 3 outputs, task 'sst2' needs 2"),
        ({"words": other_words, "vocab_size": 51}, [], "another vocabulary"),
        ({"hidden_size": 32}, ["distillation.hidden_weight=1"], "hidden size of 32, the model 16"),
    ]
    for i, (values, more, message) in enumerate(mistakes):
        folder = teacher_folder(name=f"teacher{i}", **values)
        with pytest.raises(UserError, match=message):
            train(configure(f"distillation.teacher={folder}", *more))
    with pytest.raises(UserError, match="no such folder"):
        train(configure("distillation.teacher=/nowhere"))
    with pytest.raises(UserError, match="strategy 'sandwich' does not distil"):
        configure("strategy=sandwich", "distillation.teacher=/nowhere")


def weights_of(folder):
    """Without the biases of keys: softmax does not see them, so their gradient is rounding, which Adam blows up."""
    return {
        name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if not name.endswith("key.bias")
    }


@pytest.mark.slow
def test_all_of_it_together_trains_as_a_plain_training(configure, tmp_path):
    others = ["train.length_window=1", "train.max_grad_norm=null", "sampling=stratified", "train.epochs=3"]
    spared = configure(*others, "train.gradient_checkpointing=true", "train.micro_batch_size=4")
    spared, plain = train(spared), train(configure(*others, f"output_dir={tmp_path}/plain"))
    torch.testing.assert_close(weights_of(spared), weights_of(plain), rtol=1e-4, atol=2e-5)
    lines = [json.loads(line) for line in (spared.parent / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss_largest"] for line in lines if "loss_largest" in line]
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "steps"), [("eager", range(2)), pytest.param("aot_eager", range(4), marks=pytest.mark.nightly)], ids=str
)
def test_compiled_layers_have_the_same_gradients_and_few_graphs(backend, steps, configure, trainer):
    """Traced as for a compiler, but run by torch's kernels, and recomputed. At night backward is traced as well."""
    its = trainer(configure("train.gradient_checkpointing=true"))
    expected = [gradients(its, step) for step in steps]
    kinds = [type(layer) for layer in family_of(its.model.config).layers_of(its.model)]
    torch._dynamo.reset()
    counters = importlib.import_module("torch._dynamo.utils").counters
    counters.clear()
    with compiled_layers(its.model, backend=backend):
        for step in steps:
            assert_equal(gradients(its, step), expected[step], rtol=0, atol=1e-11)
        assert 1 <= counters["stats"]["unique_graphs"] <= 20
        graphs = counters["stats"]["unique_graphs"]
        for step in steps:
            gradients(its, step)
        assert counters["stats"]["unique_graphs"] == graphs
    assert [type(layer) for layer in family_of(its.model.config).layers_of(its.model)] == kinds
    torch._dynamo.reset()


@pytest.mark.slow
def test_layers_of_too_many_forms_are_told(configure, trainer, monkeypatch):
    its = trainer(configure())
    monkeypatch.setattr(compiling, "GRAPHS", 1)
    torch._dynamo.reset()
    with (
        pytest.raises(UserError, match="the layers need more than 1 graphs"),
        compiled_layers(its.model, backend="eager"),
    ):
        gradients(its)
    torch._dynamo.reset()


def test_compiling_needs_a_compiler(configure, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler and there is no 'no-such-compiler'"):
        train(configure("train.compile=true"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.nightly)])
def test_a_compiled_training_equals_an_uncompiled_one(backend, configure, monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(training, "compiled_layers", partial(compiled_layers, backend=backend))
    compiled, plain = (train(configure("train.epochs=1", f"train.compile={value}")) for value in ("true", "false"))
    assert compiled != plain
    torch.testing.assert_close(weights_of(compiled), weights_of(plain), rtol=1e-4, atol=2e-5)
    assert load_supernet(compiled).model.config.architectures == ["BertForSequenceClassification"]
    torch._dynamo.reset()
