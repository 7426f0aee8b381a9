"""Fixtures of all tests, and the tasks of conf/task."""

import gc
import json
import signal
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, BertTokenizerFast

from supernet.console.config import load_config
from supernet.options.task import TaskSpec
from supernet.options.training import TrainConfig
from supernet.training.train import train
from tests.local_hub import LocalHub
from tests.models import tiny_model

THREADS = 1  # the models are tiny: more threads would only wait for each other
torch.set_num_threads(THREADS)

# The libraries are some million objects, which stay: the collector need not look at them again and again.
gc.freeze()
gc.set_threshold(20_000, 20, 20)

TASK_FOLDER = Path(__file__).parent.parent / "conf" / "task"
TASK_NAMES = sorted(file.stem for file in TASK_FOLDER.glob("*.yaml"))


def read_task(name, **values):
    """A task of the task table, with some values changed."""
    spec = TaskSpec(**(yaml.safe_load((TASK_FOLDER / f"{name}.yaml").read_text()) | values)).normalised()
    return spec if spec.is_open else spec.resolve()


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heard():
    """Tests that are run in the background are deaf to SIGINT, and so would be all that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _as_many_threads_as_before():
    """A launcher's variables give a process its share of the cores, which is not to last beyond the test."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _pictures_are_not_drawn(request, monkeypatch):
    """Drawing takes longer than a tiny search. Tests that are marked `pictures` draw."""
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", _not_drawn)


def _not_drawn(figure, path, **_):
    Path(path).write_bytes(b"not drawn")


@pytest.fixture(scope="session")
def tokenizer():
    """A WordPiece tokenizer of 49 pieces that spells words out, and whose padding is token 1."""
    letters = "etaoinshrdlucmfgpwybvk"
    pieces = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)})


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tokenizer):
    """A tiny pre-trained BERT, without a classifier that fits any task, as a folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = tiny_model("bert", dtype=torch.float32, max_position_embeddings=160, **no_dropout)
    model.base_model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dropout_folder(model_folder, tokenizer, tmp_path_factory):
    """The tiny BERT, with dropout."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    config = AutoConfig.from_pretrained(model_folder, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    AutoModel.from_pretrained(model_folder, config=config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    """Files of sst2 and stsb: 200 training and 40 validation rows whose label is easy to see."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 200), ("validation", 40)):
        for task in ("sst2", "stsb"):
            rows = []
            for i in range(count):
                text = " ".join(rng.choice(["tree", "rain", "land", "fog"], int(rng.integers(2, 9))))
                good = "nice " * (i % 2)
                pair = {"sentence1": good + text, "sentence2": text, "label": 5.0 * (i % 2)}
                rows.append(pair if task == "stsb" else {"sentence": good + text, "label": i % 2})
            file = root / task / f"{split}.jsonl"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="session")
def supernet_folder(model_folder, data_folder, tmp_path_factory):
    """A supernet made of the tiny BERT, trained a little, with 60 validation rows."""
    output = tmp_path_factory.mktemp("supernet")
    overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"output_dir={output}"]
    overrides += [f"data.cache_dir={output}/cache", "train.epochs=4", "train.batch_size=8", "train.learning_rate=3e-3"]
    return train(load_config("train", TrainConfig, overrides))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that this process's clients ask, with a cache of its own; between two attempts they do not wait."""
    with LocalHub() as hub:
        _use(monkeypatch, hub, tmp_path / "home")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        huggingface_hub.close_session()  # one of another test may go through a proxy
        yield hub
        huggingface_hub.close_session()


def _use(monkeypatch, hub, home):
    """What HF_ENDPOINT and HF_HOME would do, which the clients read when they are imported."""
    import datasets
    from huggingface_hub import HfFileSystem, constants

    for module, values in {
        constants: {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_XET_CACHE": str(home / "xet"),
            "HF_HUB_OFFLINE": False,
        },
        datasets.config: {
            "HF_ENDPOINT": hub.url,
            "HF_DATASETS_CACHE": home / "datasets",
            "HF_MODULES_CACHE": home / "modules",
            "DOWNLOADED_DATASETS_PATH": str(home / "datasets" / "downloads"),
            "HF_HUB_OFFLINE": False,
        },
    }.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    HfFileSystem.clear_instance_cache()
