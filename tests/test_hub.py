"""The hub, with its real clients, against a small one in this process (`tests/local_hub.py`)."""

import io
import json
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save

from search.finetune.tuner import Finetuning
from search.options.search import SearchConfig
from search.run import search
from supernet.artifact import load_supernet, read_info
from supernet.console.config import load_config
from supernet.data.load import load_rows, load_task
from supernet.models.pretrained import load_pretrained, locate
from supernet.options.data import DataOptions
from supernet.options.model import ModelSource
from supernet.options.training import TrainConfig
from supernet.runtime import hub as hub_client
from supernet.runtime.errors import UserError
from supernet.training.train import train
from tests.fixtures import read_task
from tests.launched import ROOT, as_launched

BERT, GLUE = "models/some/bert", "datasets/nyu-mll/glue"
UNKNOWN_COMMIT = "0123456789" * 4


def parquet(rows):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def card(config, splits):
    """README.md of a data set whose files lie in a folder named after its one configuration."""
    lines = [f"- config_name: {config}", "  data_files:"]
    lines += [line for name in splits for line in (f"  - split: {name}", f"    path: {config}/{name}-*")]
    return "\n".join(["---", "configs:", *lines, "---", ""]).encode()


def data_set(config, **splits):
    """Files of a data set with one configuration."""
    files = {f"{config}/{name}-00000-of-00001.parquet": parquet(rows) for name, rows in splits.items()}
    return files | {"README.md": card(config, splits)}


def sst2(good="good"):
    rows = [{"sentence": f"{good if i % 2 else 'bad'} {i}", "label": i % 2, "idx": i} for i in range(12)]
    return data_set("sst2", train=rows, validation=rows[:4])


def mnli(word="tree"):
    rows = [{"premise": word * (1 + i % 3), "hypothesis": f"rain {i}", "label": i % 3, "idx": i} for i in range(90)]
    return data_set("mnli", train=rows, validation_matched=rows[:30], validation_mismatched=rows[:30])


@pytest.fixture(scope="module")
def model_files(model_folder):
    return {path.name: path.read_bytes() for path in model_folder.iterdir()}


def model(**values):
    return locate(ModelSource("tiny", **{"name_or_path": "some/bert"} | values))


def rows(task="sst2", **options):
    return load_rows(read_task(task), DataOptions(**options))


def one_line(function, *args, **kwargs):
    """The one line of the user's mistake."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 420, line
    return line


# What is there


def test_a_model_is_fetched_once(hub, model_files, capfd):
    commit = hub.put(BERT, model_files)
    found = model()
    assert found.revision == commit
    load_pretrained(found.folder, read_task("sst2"), seed=0, labels=np.zeros(2))
    assert capfd.readouterr() == ("", "fetching model 'some/bert' from the hub, 0.1 MB\n")
    hub.asked.clear()
    assert model() == found
    assert set(hub.asked) == {"GET /api/models/some/bert"}
    assert capfd.readouterr() == ("", "")


def test_rows_are_fetched_once(hub, capfd):
    commit = hub.put(GLUE, sst2())
    found = rows()
    assert found.provenance.revision == commit
    assert sorted([*found.train.columns[0], *found.validation.columns[0]])[:2] == ["bad 0", "bad 10"]
    assert found.test.columns[0] == ["bad 0", "good 1", "bad 2", "good 3"]
    assert capfd.readouterr() == ("", "fetching data set 'nyu-mll/glue' from the hub\n")
    hub.asked.clear()
    assert rows().train.columns == found.train.columns
    assert not [request for request in hub.asked if request.startswith("GET") and "parquet" in request]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_branch_a_tag_or_a_commit(hub, model_files):
    first, second = hub.put(GLUE, sst2()), hub.put(GLUE, sst2("fine"), ref="v2")
    assert (rows().provenance.revision, rows(hub_revision="v2").provenance.revision) == (first, second)
    assert "fine 1" in rows(hub_revision=second).test.columns[0]
    first, second = hub.put(BERT, model_files), hub.put(BERT, model_files | {"more.txt": b"more"}, ref="v2")
    assert [model(revision=name).revision for name in (None, "main", "v2", second)] == [first, first, second, second]


def test_a_folder_of_the_same_name_is_not_taken_for_the_data_set(hub, tmp_path, monkeypatch):
    hub.put(GLUE, sst2())
    (tmp_path / "here" / "nyu-mll" / "glue").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert len(rows().test) == 4


# What goes wrong


def status(number):
    """Every request is answered with this status."""

    def answer(handler):
        handler.send(number, b"no", {})
        return True

    return answer


def only(ending, trouble):
    """Only the requests whose path has this ending are in trouble."""
    return lambda handler: ending in handler.path and trouble(handler)


def silence(handler):
    """No answer as long as the hub runs."""
    return handler.server.closing.wait()


def broken_off(handler, *, reset=True):
    """Half of a file, whatever part of it was asked for; then the connection is reset, or ended as if all was well."""
    if handler.command != "GET" or "/resolve/" not in handler.path:
        return False
    send = handler.send
    handler.send = lambda code, content, headers: send(code, content, headers, cut=len(content) // 2, reset=reset)
    try:
        handler.answer()
    finally:
        del handler.send
    return True


@dataclass(frozen=True)
class Case:
    """Something that goes wrong, and words of the line that says so."""

    name: str
    words: tuple[str, ...]
    refusal: str = ""
    trouble: object = None
    revision: str | None = None

    def __str__(self):
        return self.name


LOG_IN = "log in with 'hf auth login' or set HF_TOKEN, or give "
CASES = [
    Case("missing", ("there is no such repository, or it is private; check the name, or ", LOG_IN), "missing"),
    Case("private", ("there is no such repository, or it is private; check the name, or ", LOG_IN), "private"),
    Case("gated", ("access to it is granted on request; ask for it at http://127.0.0.1:", LOG_IN), "gated"),
    Case(
        "no such branch",
        ("at v9 cannot be fetched", "it has no branch, tag or commit 'v9'; check {option}"),
        revision="v9",
    ),
    Case("no such commit", ("it has no branch, tag or commit '0123456789",), revision=UNKNOWN_COMMIT),
    Case("error", ("the hub at http://127.0.0.1:", " answers with status 500; try again later"), trouble=status(500)),
    Case("busy", (" answers with status 503; try again later",), trouble=only("/resolve/", status(503))),
    Case("asked too often", ("the hub was asked too often; wait some minutes",), trouble=status(429)),
    Case("no answer", (" does not answer; try again",), trouble=silence),
    Case("no answer later", (" does not answer; try again",), trouble=only("/tree/", silence)),
    Case("broken off", ("the connection to the hub at http://127.0.0.1:", "; try again"), trouble=broken_off),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kind", ["model", "data set"])
def test_one_line(kind, case, hub, model_files, monkeypatch, capfd):
    name, files = (BERT, model_files) if kind == "model" else (GLUE, sst2())
    load = (lambda: model(revision=case.revision)) if kind == "model" else lambda: rows(hub_revision=case.revision)
    hub.put(name, files)
    hub.repositories[name].refusal, hub.trouble = case.refusal, case.trouble
    with monkeypatch.context() as patched:
        if "no answer" in case.name:
            patched.setattr(hub_client, "HUB_TIMEOUT_S", 0.2)
            patched.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        line = one_line(load)
    assert line.startswith(f"{kind} '{name.partition('/')[2]}'")
    option = "model.revision" if kind == "model" else "data.hub_revision"
    assert not [words for words in case.words if words.format(option=option) not in line], line
    assert ("model.name_or_path=FOLDER" if kind == "model" else "data.dir=FOLDER") in line
    said = capfd.readouterr()
    assert (said.out, len(said.err.splitlines()) <= 2) == ("", True), said.err
    if case.revision is None:  # nothing that is left behind is taken for the whole
        hub.repositories[name].refusal, hub.trouble = "", None
        load()


def test_a_token_opens_what_is_private(hub, model_files, monkeypatch):
    hub.put(BERT, model_files)
    hub.put(GLUE, sst2())
    monkeypatch.setenv("HF_TOKEN", "an-expired-one")
    for load in (model, rows):
        assert "the hub does not accept the token; log in with 'hf auth login' or set HF_TOKEN again" in (
            one_line(load)
        )
    hub.repositories[BERT].refusal, hub.repositories[GLUE].refusal = "private", "gated"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert model().revision
    assert rows().provenance.revision


def test_half_of_a_file_is_never_taken_for_the_whole(hub, model_files, capfd):
    """What arrived before the connection ended is kept, and the rest is asked for; the user hears of it once."""
    hub.put(BERT, model_files)
    broken = []

    def once(handler):
        first = "model.safetensors" in handler.path and handler.command == "GET" and not broken
        return bool(first and (broken.append(handler.path) or broken_off(handler, reset=False)))

    hub.trouble = once
    found = model()
    assert broken
    assert (found.folder / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    assert capfd.readouterr().err.splitlines() == [
        "fetching model 'some/bert' from the hub, 0.1 MB",
        "some/bert: the hub does not answer properly; retrying a few times",
    ]


def test_a_cache_that_cannot_be_written(hub, model_files, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    hub.put(BERT, model_files)
    assert "the cache cannot be written ([Errno 20] Not a directory: " in one_line(model)


def test_what_cannot_be_meant(hub, model_folder):
    hub.put(GLUE, sst2())
    assert f"model.revision=v1 is for models of the hub, and {model_folder} is a folder here" in (
        one_line(model, name_or_path=str(model_folder), revision="v1")
    )
    assert "'some--bert/x' is no name of a repository; check it: OWNER/NAME" in (
        one_line(model, name_or_path="some--bert/x")
    )
    assert "has no configuration 'rte'; name a configuration with data.hub=nyu-mll/glue data.hub_config=NAME: sst2" in (
        one_line(rows, "rte")
    )
    for given in (["task=stdlib"], ["task=sst2", "data.dir=here"]):
        assert "data.hub_revision=v1 is for rows from the hub, but the rows are not from there" in (
            one_line(load_config, "train", TrainConfig, [*given, "data.hub_revision=v1"])
        )


# What might be executed


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickled_weights_are_refused_unread(hub, model_files, tmp_path):
    mark = tmp_path / "mark"
    files = {name: content for name, content in model_files.items() if not name.endswith(".safetensors")}
    hub.put(BERT, files | {"pytorch_model.bin": pickle.dumps(Bomb(mark)), "tf_model.h5": b"weights"})
    assert "model 'some/bert' has no weights that can be read, no model.safetensors: pytorch_model.bin is a pickle" in (
        one_line(model)
    )
    assert not mark.exists()
    assert not [request for request in hub.asked if "pytorch_model.bin" in request]
    safe = hub.put(BERT, files | {"model.safetensors": model_files["model.safetensors"]}, ref="refs/pr/1")
    assert model(revision="refs/pr/1").revision == safe


@pytest.mark.parametrize("known", [True, False])
def test_code_of_a_model_is_not_executed(known, hub, model_files, tmp_path):
    config = json.loads(model_files["config.json"]) | {
        "auto_map": {"AutoConfig": "its.Config", "AutoModel": "its.Model"}
    }
    if not known:
        config["model_type"] = "its_own"
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n".encode()
    hub.put(BERT, model_files | {"config.json": json.dumps(config).encode(), "its.py": code})
    if known:
        assert (
            load_pretrained(model().folder, read_task("sst2"), seed=0, labels=np.zeros(2))[0].config.model_type
            == "bert"
        )
    else:
        assert "model_type 'its_own' needs the code beside it, which is not executed" in one_line(model)
    assert not (tmp_path / "mark").exists()
    assert not [request for request in hub.asked if "its.py" in request]


def test_a_loading_script_is_not_executed(hub, tmp_path):
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\n".encode()
    hub.put(GLUE, {"glue.py": code})
    assert "Dataset scripts are no longer supported, but found glue.py; give data.dir=FOLDER" in one_line(rows)
    assert not (tmp_path / "mark").exists()


# Without the hub


@pytest.fixture(params=["gone", "offline", "refused"])
def away(request, hub, monkeypatch):
    """Makes the hub go away."""

    def go():
        if request.param == "gone":
            hub.stop()
        elif request.param == "offline":
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        else:
            for repository in hub.repositories.values():
                repository.refusal = "private"

    return go


@pytest.mark.slow
def test_the_cache_stands_in_for_the_hub(away, hub, model_files, capfd):
    commits = hub.put(BERT, model_files), hub.put(GLUE, sst2())
    before = model(), rows().test.columns
    away()
    capfd.readouterr()
    assert (model(), rows().test.columns) == before
    assert f"model 'some/bert' is taken from the cache, commit {commits[0][:12]}: " in capfd.readouterr().err
    assert rows().provenance.notes[0].startswith(f"nyu-mll/glue is of commit {commits[1][:12]}, from the cache: ")


@pytest.mark.slow
def test_the_cache_gives_the_very_commit_or_nothing(away, hub, model_files):
    """Also where another commit came later, and for a configuration that was never fetched."""
    first = hub.put(GLUE, sst2())
    rows()
    second = hub.put(GLUE, sst2("fine"))
    assert "fine 1" in rows().test.columns[0]
    third = hub.put(GLUE, sst2("great"), ref="v3")
    away()
    assert "good 1" in rows(hub_revision=first).test.columns[0]
    assert rows().provenance.revision == rows(hub_revision=second).provenance.revision == second
    for options in ({"hub_revision": third}, {"hub_revision": "v3"}):
        assert "data set 'nyu-mll/glue' at" in one_line(rows, **options)
    assert "data set 'nyu-mll/glue' cannot be fetched from the hub" in one_line(rows, "rte")
    assert "model 'some/bert' cannot be fetched from the hub" in one_line(model)


@pytest.mark.slow
def test_what_others_left_in_the_cache_is_made_whole(away, hub, model_files):
    """Another program may have asked for the configuration alone, which tells nothing of the other files."""
    hub.put(BERT, model_files)
    for name in ("config.json", "tokenizer.json"):
        huggingface_hub.hf_hub_download("some/bert", name)
    found = model()
    assert (found.folder / "model.safetensors").read_bytes() == model_files["model.safetensors"]
    hub.put("models/some/other", model_files)
    huggingface_hub.hf_hub_download("some/other", "config.json")
    away()
    assert model() == found
    assert "model 'some/other' cannot be fetched from the hub" in one_line(model, name_or_path="some/other")


def test_an_incomplete_model_in_the_cache_is_refused(away, hub, model_files):
    hub.put(BERT, model_files)
    hub.trouble = only("model.safetensors", status(500))
    one_line(model)
    hub.trouble = None
    away()
    assert "model 'some/bert' cannot be fetched from the hub" in one_line(model)


# Whole


def test_another_revision_is_another_run():
    given = ["task=mnli", "model=bert-base-uncased", "model.revision=a", "train.mixed_precision=fp32"]
    config = load_config("train", TrainConfig, given)
    others = [replace(config, model=replace(config.model, revision=revision)) for revision in (None, "b")]
    others.append(replace(config, data=replace(config.data, hub_revision="a")))
    assert len({each.folder for each in (config, *others)}) == 4


COMMAND = ["task=mnli", "model=bert-base-uncased", "debug=fast", "data.cache_dir=cache"]


def launched(hub, home, folder):
    """The first command of a user in an empty folder, as `accelerate launch` starts it."""
    started, variables = as_launched(ROOT / "train_supernet.py", *COMMAND)
    hidden = {key: value for key, value in variables.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
    hidden |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)}
    command = [sys.executable, *started]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=hidden)


@pytest.mark.slow
def test_the_command_as_typed(hub, model_files, tmp_path, monkeypatch):
    """Then a search of what it made: at the commits of the training, though the hub has others since."""
    name = "models/google-bert/bert-base-uncased"
    commits = {"model": hub.put(name, model_files), "data": hub.put(GLUE, mnli())}
    done = launched(hub, tmp_path / "home", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fetching model 'google-bert/bert-base-uncased' from the hub" in done.stderr
    assert "supernet saved in runs/train/mnli-bert-base-uncased-small-full-seed0-" in done.stderr
    assert not [words for words in ("it/s", "Downloading", "Warning", "unauthenticated") if words in done.stderr]
    (folder,) = tmp_path.glob("runs/train/*/supernet")
    info = read_info(folder)
    assert info.revisions == commits
    assert f"nyu-mll/glue is of commit {commits['data'][:12]}" in done.stderr

    other = load_file(io_file(tmp_path / "other.safetensors", model_files["model.safetensors"]))
    hub.put(name, model_files | {"model.safetensors": save({key: tensor + 1 for key, tensor in other.items()})})
    hub.put(GLUE, mnli("fog"))
    monkeypatch.chdir(tmp_path)
    line = one_line(train, load_config("train", TrainConfig, COMMAND))
    assert "train rows, validation rows, test rows and pre-trained model changed since" in line
    assert f"commit of the hub, model: {commits['model'][:12]} then, " in line
    few = [f"supernet={folder}", f"output_dir={tmp_path}/runs", "evaluator=finetune"]
    job = finetuning(load_config("search", SearchConfig, few), folder).job()
    assert torch.equal(embeddings(job.model), other["embeddings.word_embeddings.weight"])
    few = [*few[:2], "searcher=random", "max_evaluations=2"]
    assert (search(load_config("search", SearchConfig, few)) / "front.json").exists()
    hub.stop()
    assert search(load_config("search", SearchConfig, [*few, "seed=1"])).exists()


def io_file(path, content):
    path.write_bytes(content)
    return path


def embeddings(model):
    return model.bert.embeddings.word_embeddings.weight


def finetuning(config, folder):
    """What trains sub-networks alone."""
    supernet = load_supernet(folder)
    options = replace(supernet.info.data, hub_revision=supernet.info.revisions["data"])
    data = load_task(supernet.info.task, options, supernet.tokenizer)
    return Finetuning(config, "no", folder, supernet, data, weight_shared=None, folder=folder.parent)
