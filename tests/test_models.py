"""Where models come from, and the one line for each folder that cannot be used."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from supernet.console.config import load_config
from supernet.models.heads import head_for, head_of
from supernet.models.pretrained import Pretrained, check_model, load_pretrained, locate
from supernet.options.model import ModelSource
from supernet.runtime.errors import UserError
from supernet.training.train import TrainConfig
from tests.fixtures import read_task
from tests.models import tiny_config


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


def source(folder, **values):
    return ModelSource(name="mine", name_or_path=str(folder), **values)


def change_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(source):
    with pytest.raises(UserError) as caught:
        load_pretrained(locate(source).folder, read_task("sst2"), seed=0, labels=np.zeros(2))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_loads_with_a_seeded_classifier(folder):
    models = [
        load_pretrained(locate(source(folder)).folder, read_task("mnli"), seed=seed, labels=np.zeros(2))[0]
        for seed in (0, 0, 1)
    ]
    first, same, other = (model.classifier.weight for model in models)
    assert first.shape == (3, 16)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    stored = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    assert torch.equal(models[0].bert.embeddings.word_embeddings.weight, stored)
    assert source(folder).label == "model"


def test_a_classifier_in_the_folder_is_not_taken_over(folder):
    model, tokenizer = load_pretrained(locate(source(folder)).folder, read_task("sst2"), seed=0, labels=np.zeros(2))
    model.config.problem_type = "regression"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    again, _ = load_pretrained(locate(source(folder)).folder, read_task("sst2"), seed=1, labels=np.zeros(2))
    assert not torch.equal(again.classifier.weight, model.classifier.weight)
    assert torch.equal(again.bert.pooler.dense.weight, model.bert.pooler.dense.weight)
    assert again.config.problem_type == "single_label_classification"


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert "has no config.json" in refused(source(folder))


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "has no weights: no model.safetensors" in refused(source(folder))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "pytorch_model.bin is a pickle, which is not read" in refused(source(folder))


def test_unknown_architecture_is_named_with_those_known(folder):
    change_config(folder, model_type="gpt2")
    assert "model architecture 'gpt2' is unknown; allowed: bert, camembert, " in refused(source(folder))
    change_config(folder, model_type="nonsense")
    assert "config.json cannot be used" in refused(source(folder))


def test_wrong_checksum(folder):
    message = refused(source(folder, sha256="0" * 64))
    assert "has sha256" in message
    assert "expected 0000" in message


def test_a_checksum_of_another_model_does_not_matter(folder):
    size = (folder / "model.safetensors").stat().st_size
    assert locate(source(folder, sha256="0" * 64, size_bytes=size + 1)) == Pretrained(folder)
    assert "has sha256" in refused(source(folder, sha256="0" * 64, size_bytes=size))


def test_damaged_weights(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "cannot be read" in refused(source(folder))


def test_weights_of_another_model(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "1 tensors are missing or of another shape, e.g. bert.encoder.layer.1.output" in refused(source(folder))


def test_no_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "has no tokenizer: none of tokenizer.json, vocab.txt" in refused(source(folder))


def test_a_tokenizer_of_another_model(folder):
    change_config(folder, vocab_size=48)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = torch.zeros(48, 16)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "has 49 tokens, its model only 48" in refused(source(folder))


def test_no_such_folder(tmp_path):
    assert "there is no such folder" in refused(source(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(source(tmp_path / "file"))


def test_rows_longer_than_the_positions():
    check_model(read_task("sst2", max_length=40), tiny_config("bert"))
    with pytest.raises(UserError, match=r"task.max_length is 39, but this model reads at most 38 tokens"):
        check_model(read_task("sst2", max_length=39), tiny_config("roberta"))


def test_multiple_choice_needs_a_model_of_that_kind():
    check_model(read_task("swag", max_length=30), tiny_config("bert"))
    with pytest.raises(UserError, match="no model of architecture deberta for multiple choice, which task=swag needs"):
        check_model(read_task("swag", max_length=30), tiny_config("deberta"))


def test_the_embedded_model_is_genuine():
    minilm = load_config("train", TrainConfig, ["task=stdlib"]).model
    if not importlib.util.find_spec(minilm.wheel.replace("-", "_")):
        pytest.skip("the embedded model is not installed")
    model, _ = load_pretrained(locate(minilm).folder, read_task("sst2"), seed=0, labels=np.zeros(2))
    assert sum(p.numel() for p in model.bert.parameters()) == 22_713_216


@pytest.mark.parametrize("name", ["sst2", "stsb", "swag"])
def test_a_model_has_the_head_that_its_task_needs(folder, name):
    task = read_task(name, max_length=30)
    model, _ = load_pretrained(locate(source(folder)).folder, task, seed=0, labels=np.array([1.0, 2.0]))
    assert head_of(model) is head_for(task)
    bias = model.classifier.bias.detach().numpy()
    np.testing.assert_array_equal(bias, np.full(len(bias), 1.5 if name == "stsb" else 0.0))


def test_an_open_task_is_not_whole():
    spec = read_task("custom")
    assert spec.is_open
    with pytest.raises(UserError, match="task 'custom' is not complete"):
        spec.resolve()
