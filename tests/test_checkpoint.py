"""A supernet folder is whole or not there; what is wrong with one is said in a line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from supernet.artifact import Supernet, find_supernet, load_supernet, save_supernet
from supernet.runtime.errors import UserError
from tests.fake_supernets import info
from tests.models import tiny_model


@pytest.fixture
def saved(tokenizer, tmp_path):
    folder = tmp_path / "train" / "run" / "supernet"
    folder.parent.mkdir(parents=True)
    save_supernet(folder, Supernet(tiny_model("bert", num_labels=2, dtype=torch.float32), tokenizer, info()))
    return folder


def refused(folder):
    with pytest.raises(UserError) as caught:
        load_supernet(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_saved_is_loaded(saved):
    supernet = load_supernet(saved)
    expected = tiny_model("bert", num_labels=2, dtype=torch.float32).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in supernet.model.state_dict().items())
    assert supernet.info == info(trained_at=supernet.info.trained_at)
    assert (supernet.space.name, supernet.space.layers, supernet.space.units) == ("medium", 4, 10)


@pytest.mark.parametrize("name", ["supernet.json", "config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder(saved, name):
    (saved / name).unlink()
    assert f"is incomplete: no {name}; train it again" in refused(saved)


def test_damaged_files(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert "cannot be read" in refused(saved)
    (saved / "supernet.json").write_text("{")
    assert "supernet.json cannot be used" in refused(saved)
    (saved / "supernet.json").write_text(json.dumps({"format": 99}))
    assert "another version" in refused(saved)


def test_weights_that_lack_a_tensor(saved):
    weights = load_file(saved / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, saved / "model.safetensors", {"format": "pt"})
    assert "1 tensors are missing or of another shape, e.g. classifier.weight" in refused(saved)


def test_a_failing_save_leaves_what_was_there(saved, tokenizer):
    class Broken(torch.nn.Module):
        def save_pretrained(self, folder):
            (folder / "config.json").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_supernet(saved, Supernet(Broken(), tokenizer, info()))
    load_supernet(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["supernet"]


def test_the_newest_is_found_and_either_folder_may_be_named(saved, tmp_path):
    newer = tmp_path / "train" / "a-newer-run" / "supernet"
    shutil.copytree(saved, newer)
    values = json.loads((newer / "supernet.json").read_text())
    (newer / "supernet.json").write_text(json.dumps(values | {"trained_at": "2999-01-01T00:00:00+00:00"}))
    assert find_supernet(None, tmp_path) == newer
    broken = tmp_path / "train" / "broken" / "supernet"
    broken.mkdir(parents=True)
    (broken / "supernet.json").write_text("{")
    assert find_supernet(None, tmp_path) == newer
    assert find_supernet(str(saved), tmp_path) == find_supernet(str(saved.parent), tmp_path) == saved


def test_search_before_training(tmp_path):
    with pytest.raises(UserError, match=r"there is no trained supernet in .*train one first"):
        find_supernet(None, tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        find_supernet(str(tmp_path / "nowhere"), tmp_path)
