"""The stages as Python functions: the same results as the commands', without printing."""

import json
import pkgutil
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import plm_supernet
import plm_supernet.classifier
from search.options.search import SearchConfig
from search.run_folder import read_run
from supernet.console.command import Command
from supernet.console.config import load_config
from supernet.console.keywords import config_from
from supernet.export import verify
from supernet.options.training import TrainConfig
from supernet.runtime.commands import COMMANDS
from supernet.runtime.errors import UserError
from tests.test_exporting import forked
from tests.user_data import records, write

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(supernet_folder, tmp_path_factory):
    """A short search of the tiny supernet."""
    output = tmp_path_factory.mktemp("runs")
    return plm_supernet.search(supernet_folder, searcher="random", max_evaluations=6, output_dir=output)


def test_keywords_give_the_options_of_the_command_line():
    ours = config_from(
        "train", TrainConfig, {"task": "sst2", "experiment": "best", "train_epochs": 2, "data_dir": Path("a/b")}
    )
    assert ours == load_config("train", TrainConfig, ["task=sst2", "experiment=best", "train.epochs=2", "data.dir=a/b"])
    assert config_from("search", SearchConfig, {"objectives": ("loss", "flops"), "workload.length": 7}) == load_config(
        "search", SearchConfig, ["objectives=[loss,flops]", "workload.length=7"]
    )


def test_a_value_is_an_instance_of_its_type_whatever_holds_it():
    values = {"train_epochs": np.int64(3), "train_learning_rate": np.float32(0.5), "train_compile": True}
    config = config_from("train", TrainConfig, values | {"train_max_grad_norm": None, "data_ignore_labels": -1})
    train = config.train
    assert (train.epochs, train.learning_rate, train.compile, train.max_grad_norm) == (3, 0.5, True, None)
    assert config.data.ignore_labels == ("-1",)


@settings(max_examples=30)  # a configuration takes a tenth of a second
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(min_size=1))
def test_any_characters_are_taken_as_they_are(text, other):
    if "???" in (text, other):  # OmegaConf's mark of a missing value
        return
    values = {"data_dir": text, "data_text": [text, "x" + text], "data_label": other}
    config = config_from("train", TrainConfig, values)
    assert (config.data.dir, config.data.text, config.data.label) == (text, (text, "x" + text), other)


def test_it_works_in_a_program_that_uses_hydra_itself(tmp_path):
    (tmp_path / "theirs.yaml").write_text("theirs: 1")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        assert config_from("train", TrainConfig, {"task": "rte", "train_epochs": 31}).train.epochs == 31
        assert config_from("train", TrainConfig, {"task": "cola"}).task.name == "cola"
        assert hydra.compose("theirs").theirs == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_options_have_the_same_keyword(name):
    command = Command(name, pkgutil.resolve_name(COMMANDS[name].options))
    keywords = [key.replace(".", "_") for key in {*command.keys, *command.groups}]
    assert len(keywords) == len(set(keywords))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 3}, "option 'epochs' of train is unknown; did you mean train_epochs?"),
        ({"batchsize": 3}, "did you mean train_batch_size?"),
        ({"colour": 3}, "option 'colour' of train is unknown; 'plm-supernet train --help' shows all"),
        ({"task": "sst3"}, "did you mean sst2"),
        ({"train_epochs": "many"}, "train.epochs 'many' must be a whole number"),
        ({"train": 3}, "key 'train' stands for several"),
        ({"data_dir": object}, "data_dir is <class 'object'>; give text"),
    ],
)
def test_mistakes_are_errors_with_the_nearest_names(values, message):
    with pytest.raises(UserError) as error:
        config_from("train", TrainConfig, values)
    assert message in str(error.value)


def test_the_package_is_light():
    code = "import sys, plm_supernet; print({'torch', 'transformers', 'pandas', 'sklearn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
def test_train_and_search_print_nothing_and_skip_what_is_done(model_folder, data_folder, tmp_path, capfd):
    values = {"data_dir": data_folder, "model_name_or_path": model_folder, "experiment": None, "train_epochs": 1}
    values |= {"output_dir": tmp_path, "data_cache_dir": tmp_path / "cache", "train_batch_size": 16}
    net = plm_supernet.train("sst2", **values)
    assert net.task.classes == ("negative", "positive")
    assert plm_supernet.train("sst2", **values) == net
    first = plm_supernet.search(net, searcher="random", max_evaluations=4)
    assert first.folder.parent == tmp_path / "search"
    assert len(plm_supernet.search(net, searcher="random", max_evaluations=6).trials()) == 6
    assert capfd.readouterr() == ("", "")
    assert net.model().config.num_labels == 2


def test_trials_are_a_frame(run):
    trials, record = run.trials(), read_run(run.folder)
    assert list(trials.index) == list(range(6))
    assert list(trials["error"]) == [trial.outcome.metrics["error"] for trial in record.trials]
    assert list(trials["subnet"]) == [trial.subnet for trial in record.trials]
    assert trials["failure"].isna().all()


def test_the_front_is_a_frame(run):
    front = run.front()
    rows = [row for row in json.loads((run.folder / "front.json").read_text())["front"] if row["on_front"]]
    assert list(front["params"]) == [row["params"] for row in rows]
    assert list(front["test_accuracy"]) == [row["test_accuracy"] for row in rows]
    assert front["error"].is_monotonic_increasing


def test_no_front_before_the_end_of_a_search(run, tmp_path):
    for name in ("run.json", "trials.jsonl"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    with pytest.raises(UserError, match="has no front yet"):
        plm_supernet.Run(tmp_path).front()


def test_a_choice_is_within_its_limits_and_becomes_a_model(run):
    choice = run.select(max_params=0.9)
    full = run.trials()["params"].max()
    assert choice.metrics["params"] <= 0.9 * full
    model = choice.model()
    kept = sum(p.numel() for p in model.parameters())
    assert kept == choice.metrics["total_params"]
    ids = torch.tensor([[2, 5, 6, 3]])
    assert model(ids).logits.shape == (1, 2)


def test_a_choice_stays_as_it_is_whatever_the_run_finds_later(run):
    choice = run.select(max_params=0.9)
    others = [e for trial in read_run(run.folder).trials for e in trial.evaluated if e.subnet != choice.subnet]
    earlier = replace(choice, details=replace(choice.details, chosen=others[0]))
    kept = sum(p.numel() for p in earlier.model().parameters())
    assert kept == others[0].metrics["total_params"] != choice.metrics["total_params"]
    for name in ("trial", "max_flops"):
        with pytest.raises(UserError, match=f"{name} cannot be given here, as the choice is made"):
            choice.model(**{name: 1})


def test_a_choice_needs_a_limit(run):
    with pytest.raises(UserError, match="no budget is given"):
        run.select()
    with pytest.raises(UserError, match="did you mean max_params"):
        run.select(max_parms=0.5)


@pytest.fixture
def forks(monkeypatch):
    """An export is verified in a fork instead of a new interpreter."""
    monkeypatch.setattr(verify, "TURNS", 2)
    monkeypatch.setattr(verify, "run_fresh", forked)


@pytest.mark.slow
def test_an_export_predicts_and_is_not_made_twice(run, forks, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    choice = run.select(max_params=0.9)
    report = choice.export("small", workload_length=8, threads=1)
    assert report.name == "small"
    assert choice.export(tmp_path / "small", workload_length=8, threads=1) == report
    with pytest.raises(UserError, match=r"length is 9, was 8.*overwrite=true"):
        choice.export("small", workload_length=9, threads=1)
    loaded = plm_supernet.load(Path("small"), threads=1)
    texts = ["nice land", "fog"]
    supernet = plm_supernet.Supernet(Path(read_run(run.folder).info.supernet))
    inputs = supernet.tokenizer()(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = choice.model()(**inputs).logits.argmax(-1)
    assert loaded.predict(texts) == [supernet.task.classes[i] for i in expected]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_choice_may_be_trained_alone(run, capfd):
    choice = run.select(max_params=0.9)
    plain, again = choice.model().state_dict(), choice.model(finetune_epochs=0).state_dict()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    finished = choice.model(finetune_epochs=2, finetune_learning_rate=3e-3, finetune_batch_size=8)
    assert {name: p.shape for name, p in finished.state_dict().items()} == {n: p.shape for n, p in plain.items()}
    assert not finished.training
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UserError, match="option 'epochs' of export is unknown; did you mean finetune_epochs"):
        choice.model(epochs=2)


@pytest.fixture
def tiny_everywhere(forks, model_folder, tmp_path, monkeypatch):
    """Trainings and searches of seconds, in a folder with the file that the document names."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "reviews.csv", records(120))
    values = {"experiment": None, "model_name_or_path": model_folder, "data_cache_dir": tmp_path / "cache"}
    values |= {"train_epochs": 1, "train_batch_size": 16, "task_max_length": 16}
    train, search = plm_supernet.train, plm_supernet.search
    for module in (plm_supernet, plm_supernet.classifier):
        monkeypatch.setattr(module, "train", lambda task, **more: train(task, **(more | values)))
        monkeypatch.setattr(module, "search", lambda net, **more: search(net, **(more | {"max_evaluations": 4})))


@pytest.mark.slow
def test_the_document_runs_as_written(tiny_everywhere, capsys):
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "api.md").read_text("utf-8"), re.DOTALL | re.M):
        exec(block, names)
    printed = capsys.readouterr().out
    assert "did you mean train_epochs?" in printed
    assert names["model"].predict(["fog"])[0] in ("bad", "good")
    assert names["report"].origin["finished"]["epochs"] == 2
    assert set(names["classifier"].classes_) == {"bad", "good"}
