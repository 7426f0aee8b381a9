"""The hub, with the real clients of it, against a small one in this process (`tests/local_hub.py`)."""

import io

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem, constants

from supernet.data import load_rows
from supernet.models import load_pretrained, locate
from supernet.options import DataOptions, ModelSource
from tests.conftest import read_task
from tests.local_hub import LocalHub


def parquet(rows):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def reviews(good="good", count=12):
    """Files of a data set with a training and a validation split."""
    rows = [{"sentence": f"{good if i % 2 else 'bad'} {i}", "label": i % 2, "idx": i} for i in range(count)]
    names = {"train": rows, "validation": rows[:4]}
    files = {f"sst2/{name}-00000-of-00001.parquet": parquet(part) for name, part in names.items()}
    card = "configs:\n- config_name: sst2\n  data_files:\n" + "".join(
        f"  - split: {name}\n    path: sst2/{name}-*\n" for name in names
    )
    return files | {"README.md": f"---\n{card}---\n".encode()}


@pytest.fixture(scope="module")
def model_files(model_folder):
    return {path.name: path.read_bytes() for path in model_folder.iterdir()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that this process's clients ask, with a cache of its own."""
    with LocalHub() as hub:
        use(monkeypatch, hub, tmp_path / "home")
        yield hub
        huggingface_hub.close_session()


def use(monkeypatch, hub, home):
    """What HF_ENDPOINT and HF_HOME would do, which the clients read when they are imported."""
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_XET_CACHE": str(home / "xet"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name, value in {
        "HF_ENDPOINT": hub.url,
        "HF_DATASETS_CACHE": home / "datasets",
        "HF_MODULES_CACHE": home / "modules",
        "DOWNLOADED_DATASETS_PATH": str(home / "datasets" / "downloads"),
        "HF_UPDATE_DOWNLOAD_COUNTS": False,
    }.items():
        monkeypatch.setattr(datasets.config, name, value)
    HfFileSystem.clear_instance_cache()


def bert(**values):
    return ModelSource("tiny", name_or_path="some/bert", **values)


SST2 = "datasets/nyu-mll/glue"


def rows(**options):
    return load_rows(read_task("sst2"), DataOptions(**options))


def test_a_model_is_fetched_once(hub, model_files, capfd):
    commit = hub.put("models/some/bert", model_files)
    found = locate(bert())
    assert found.revision == commit
    load_pretrained(found.folder, read_task("sst2"), seed=0)
    assert capfd.readouterr().err == "fetching model 'some/bert' from the hub\n"
    hub.asked.clear()
    assert locate(bert()) == found
    assert set(hub.asked) == {"GET /api/models/some/bert"}
    assert capfd.readouterr().err == ""


def test_rows_are_those_of_the_hub(hub, capfd):
    commit = hub.put(SST2, reviews())
    data = rows()
    assert data.found.revision == commit
    assert sorted([*data.train.columns[0], *data.validation.columns[0]])[:2] == ["bad 0", "bad 10"]
    assert capfd.readouterr().err == "fetching data set nyu-mll/glue from the hub\n"
