"""The model of a run's sub-network: the one that was evaluated, whatever the run changed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_model

from search.baselines.table import BASELINES
from search.export.weights import model_of
from search.options.search import SearchConfig
from search.rows import load_rows
from search.run import search
from search.run_folder import read_run
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.evaluation.evaluator import Evaluator
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork


def run_of(supernet_folder, output, *overrides):
    options = [f"supernet={supernet_folder}", f"output_dir={output}", *overrides]
    return search(load_config("search", SearchConfig, options))


@pytest.fixture(scope="module")
def supernet(supernet_folder):
    return load_supernet(supernet_folder)


@pytest.fixture(scope="module")
def pruned(supernet_folder, tmp_path_factory):
    return run_of(supernet_folder, tmp_path_factory.mktemp("pruned"), *KWON)


KWON = ["baseline=kwon2022", "baseline.budgets=[1.0,0.6,0.3]", "name=pruned"]


def errors_of(folder, supernet):
    """The error of each trial, evaluated again and as it is in the file."""
    run, data = read_run(folder), load_rows(supernet, load_config("search", SearchConfig, []).data)
    evaluator = Evaluator(data.validation, data.task, supernet.tokenizer)
    models = [model_of(run, trial.subnet, supernet) for trial in run.trials]
    return [evaluator.error(model) for model in models], [trial.outcome.metrics["error"] for trial in run.trials]


def test_what_mask_tuning_changed_is_kept(pruned, supernet):
    run = read_run(pruned)
    again, told = errors_of(pruned, supernet)
    assert again == told
    changed = [
        {n for n, tensor in model_of(run, trial.subnet, supernet).state_dict().items()
         if not torch.equal(tensor, extract(supernet.model, trial.subnet).state_dict()[n])}
        for trial in run.trials
    ]  # fmt: skip
    assert not changed[0]  # the full model has nothing to make good
    assert all(changed[1:])
    assert {name.rpartition(".")[2] for names in changed for name in names} == {"weight"}


def test_a_model_of_a_run_is_independent_of_the_supernet(pruned, supernet):
    run = read_run(pruned)
    before = {name: tensor.clone() for name, tensor in supernet.model.state_dict().items()}
    small = model_of(run, run.trials[1].subnet, supernet)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1)
    assert not small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BASELINES.keys() - {"kwon2022"}))
def test_a_baseline_that_changes_nothing_keeps_nothing(name, supernet_folder, supernet, tmp_path):
    folder = run_of(supernet_folder, tmp_path, f"baseline={name}", "baseline.budgets=[1.0,0.6]")
    assert not (folder / "weights").exists()
    again, told = errors_of(folder, supernet)
    assert again == told


@pytest.mark.slow
def test_a_baseline_that_was_killed_ends_with_the_same_weights(pruned, supernet_folder, tmp_path):
    folder = shutil.copytree(pruned, tmp_path / "search" / "pruned")
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text(lines[0] + lines[1][:20])
    (folder / "weights" / "1.safetensors").write_bytes(b"not whole")
    (folder / "weights" / "2.safetensors").unlink()
    assert run_of(supernet_folder, tmp_path, *KWON) == folder
    for number in range(3):
        name = f"weights/{number}.safetensors"
        assert (folder / name).read_bytes() == (pruned / name).read_bytes()


@pytest.mark.slow
def test_an_older_run_without_weights_is_refused_and_mended_by_the_same_command(
    pruned, supernet_folder, supernet, tmp_path
):
    folder = shutil.copytree(pruned, tmp_path / "search" / "pruned")
    shutil.rmtree(folder / "weights")
    run = read_run(folder)
    with pytest.raises(UserError, match=r"did not keep the weights that kwon2022 changes; run the same .* again"):
        model_of(run, run.trials[1].subnet, supernet)
    trials = (folder / "trials.jsonl").read_bytes()
    run_of(supernet_folder, tmp_path, *KWON)
    assert (folder / "trials.jsonl").read_bytes() == trials
    again, told = errors_of(folder, supernet)
    assert again == told


def test_damaged_weights_and_those_of_others_are_one_line(pruned, supernet, tmp_path):
    folder = shutil.copytree(pruned, tmp_path / "pruned")
    run = read_run(folder)
    (folder / "weights" / "1.safetensors").write_bytes(b"\0" * 99)
    with pytest.raises(UserError, match=r"1.safetensors, the weights of trial 1, cannot be used .*; start again"):
        model_of(run, run.trials[1].subnet, supernet)
    shutil.copy(folder / "weights" / "2.safetensors", folder / "weights" / "1.safetensors")
    with pytest.raises(UserError, match=r"1.safetensors, the weights of trial 1, cannot be used .*size mismatch"):
        model_of(run, run.trials[1].subnet, supernet)


def test_another_supernet_is_refused(pruned, supernet):
    run = read_run(pruned)
    other = type(supernet)(supernet.model, supernet.tokenizer, supernet.info, "0" * 16)
    with pytest.raises(UserError, match="searched another supernet: the digest of its weights is"):
        model_of(run, run.trials[0].subnet, other)


def test_a_run_that_trained_each_alone_gives_what_it_kept(pruned, supernet, tmp_path):
    folder = shutil.copytree(pruned, tmp_path / "trained")
    shutil.rmtree(folder / "weights")
    (folder / "weights").mkdir()
    told = json.loads((folder / "run.json").read_text()) | {"kind": "finetune", "label": "moasha"}
    (folder / "run.json").write_text(json.dumps(told))
    run = read_run(folder)
    trained = extract(supernet.model, run.trials[1].subnet)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    save_model(trained, folder / "weights" / "1.safetensors")
    found = model_of(run, run.trials[1].subnet, supernet)
    assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in found.state_dict().items())
    with pytest.raises(UserError, match=r"keeps the weights of its front and of the full model alone, not those of"):
        model_of(run, run.trials[2].subnet, supernet)
    with pytest.raises(UserError, match=r"trained has no trial of \(1 layers, .*\); choose one that it evaluated"):
        model_of(run, SubNetwork.uniform([2], 1, 1), supernet)
