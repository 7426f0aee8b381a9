"""Several processes do what one does: the same losses, the same weights, one all-reduce in a step."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from safetensors.torch import load_file

import supernet.cli
from supernet.console import terminal
from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.space.strategies import RULES
from supernet.training.previous_run import with_precision
from supernet.training.train import train
from supernet.training.trainer import Trainer
from tests import distributed_job
from tests.launched import HIDDEN, ROOT, as_launched, run, run_two

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = [*LAUNCH, "--config_file", str(ROOT / "launch" / "accelerate" / "cpu_2_processes.yaml")]


def options(model_folder, data_folder, output, *more):
    """10 steps; of the last batch of an epoch, which has a single row, the second process gets none."""
    return [
        "task=sst2",
        f"model.name_or_path={model_folder}",
        f"data.dir={data_folder}",
        f"data.cache_dir={output}/cache",
        "data.max_train_samples=48",
        f"output_dir={output}",
        "train.epochs=2",
        "train.batch_size=8",
        "train.learning_rate=1e-3",
        "distillation.temperature=2.0",
        *more,
    ]


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = ("loss_", "step", "validation_error")
    return [{key: value for key, value in line.items() if key.startswith(kept)} for line in lines]


CASES = {name: [f"strategy={name}"] for name in sorted(RULES)}
CASES["per_rank"] = ["strategy=full", "sampling.per_rank=true"]
CASES["micro_batches"] = ["strategy=full", "train.micro_batch_size=3"]


DROPOUT = {"whole": [], "in two parts": ["interrupted"]}


@pytest.fixture(scope="module")
def two_processes(model_folder, dropout_folder, data_folder, tmp_path_factory):
    """Every case, trained by two processes in one launch: the run folders, and what was counted."""
    output = tmp_path_factory.mktemp("two")
    # A folder each: how large the micro-batches are is not in a run's name.
    configurations = [options(model_folder, data_folder, output / name, *more) for name, more in CASES.items()]
    configurations += [
        options(dropout_folder, data_folder, output / name, "train.checkpoint_every=2", *more)
        for name, more in DROPOUT.items()
    ]
    (output / "configurations.json").write_text(json.dumps(configurations))
    done = run_two(distributed_job.main, output / "calls.jsonl", output / "configurations.json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2 process(es)") == len(CASES) + 3
    assert done.stderr.count("resuming after step 6 of 10") == 1
    assert done.stderr.count("supernet saved in") == len(CASES) + 2
    calls = [json.loads(line) for line in (output / "calls.jsonl").read_text().splitlines()]
    folders = [
        with_precision(load_config("train", TrainConfig, [o for o in overrides if o != "interrupted"])).folder
        for overrides in configurations
    ]
    return dict(zip([*CASES, *DROPOUT], zip(folders, calls, strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "per_rank"])
def test_two_processes_equal_one(name, two_processes, model_folder, data_folder, tmp_path):
    """Without dropout, in float32: the sums of two processes differ from those of one in their order only."""
    folder, _ = two_processes[name]
    one = train(load_config("train", TrainConfig, options(model_folder, data_folder, tmp_path, *CASES[name]))).parent
    for ours, theirs in zip(losses(folder), losses(one), strict=True):
        assert ours.pop("validation_error", None) == theirs.pop("validation_error", None)
        assert ours == pytest.approx(theirs, rel=1e-5)
    two_weights, one_weights = (load_file(f / "supernet" / "model.safetensors") for f in (folder, one))
    for key in one_weights:
        if not key.endswith("key.bias"):  # softmax does not see it: its gradient is rounding, which Adam blows up
            torch.testing.assert_close(two_weights[key], one_weights[key], rtol=1e-4, atol=2e-5, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_a_step_makes_one_all_reduce(name, two_processes):
    assert two_processes[name][1]["all_reduces"] == [1] * 10


@pytest.mark.slow
def test_two_processes_go_on_to_the_very_same_weights(two_processes):
    """With dropout, whose random numbers each process has of its own."""
    whole, parts = (two_processes[name][0] for name in DROPOUT)
    expected, found = (load_file(folder / "supernet" / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert losses(parts) == losses(whole)


@pytest.mark.slow
def test_processes_draw_their_own_sub_networks_if_they_are_told_to(two_processes):
    (first, second), (same, as_first) = (two_processes[name][1]["drawn"][0] for name in ("per_rank", "full"))
    assert first != second
    assert same == as_first
    lines = losses(two_processes["per_rank"][0])
    assert lines[-2]["loss_largest"] < lines[0]["loss_largest"]


@pytest.mark.slow
def test_two_processes_stop_at_a_signal_and_another_number_goes_on(model_folder, data_folder, tmp_path):
    """The real launcher, told by a file to start two, hands SIGTERM on. One process then does the work of two."""
    long = ["train.epochs=14", "train.checkpoint_every=null"]
    overrides = options(model_folder, data_folder, tmp_path / "runs", *long)
    command = [*TWO, str(ROOT / "train_supernet.py"), *overrides]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ | HIDDEN) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("epoch 2/14"):
                process.send_signal(signal.SIGTERM)
    said = "".join(said)
    assert process.returncode != 0
    assert "2 process(es) on cpu" in said
    assert "stopped by SIGTERM after step" in said
    config = load_config("train", TrainConfig, overrides)
    assert len(list((with_precision(config).folder / "checkpoints").iterdir())) == 2
    folder = train(config).parent
    whole = train(
        load_config("train", TrainConfig, options(model_folder, data_folder, tmp_path / "whole", *long))
    ).parent
    for ours, theirs in zip(losses(folder), losses(whole), strict=True):
        for key in theirs.keys() - {"validation_error"}:
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3)


def second_process_interrupts_itself():
    """In the second pass of its fourth step."""
    step, backward, calls = Trainer.step, Accelerator.backward, []

    def fourth(self, rows_B, number, **options):
        if number == 3 and os.environ["RANK"] == "1":
            Accelerator.backward = interrupted
        return step(self, rows_B, number, **options)

    def interrupted(self, loss, **options):
        calls.append(loss)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert len(calls) <= 2
        return backward(self, loss, **options)

    Trainer.step = fourth
    supernet.cli.main()


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_within_a_step_stops_both_before_it(dropout_folder, data_folder, tmp_path):
    more = ["train.checkpoint_every=null"]
    overrides = options(dropout_folder, data_folder, tmp_path / "runs", *more)
    done = run_two(second_process_interrupts_itself, *overrides)
    assert done.returncode != 0
    assert "stopped by SIGTERM after step 3 of 10; the same command resumes from there" in done.stderr
    done = run_two(supernet.cli.main, *overrides)
    assert "resuming after step 3 of 10" in done.stderr
    whole = options(dropout_folder, data_folder, tmp_path / "whole", *more)
    assert run_two(supernet.cli.main, *whole).returncode == 0
    found, expected = (
        load_file(with_precision(load_config("train", TrainConfig, o)).folder / "supernet" / "model.safetensors")
        for o in (overrides, whole)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def second_process_fails():
    def fails(*_, **__):
        raise UserError("no memory")

    terminal.GRACE_S = 3.0  # the other process waits for its end
    if os.environ["RANK"] == "1":
        Trainer.step = fails
    supernet.cli.main()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        (supernet.cli.main, ["train.learning_rate=1e30"], "error: the loss is not finite"),
        (supernet.cli.main, ["task=rte"], "error: .*: no file of task 'rte'"),
        (second_process_fails, [], "process 1: error: no memory"),
    ],
)
def test_a_mistake_is_told_once_and_by_whom_it_concerns(command, more, message, model_folder, data_folder, tmp_path):
    done = run_two(command, *options(model_folder, data_folder, tmp_path, *more))
    assert done.returncode != 0
    assert len(re.findall(f"^{message}", done.stderr, re.MULTILINE)) == 1
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_processes_that_find_a_supernet_without_its_rows_end_well(model_folder, data_folder, tmp_path):
    shutil.copytree(data_folder, tmp_path / "data")
    overrides = options(model_folder, tmp_path / "data", tmp_path, "train.epochs=1")
    train(load_config("train", TrainConfig, overrides))
    shutil.rmtree(tmp_path / "data")
    done = run_two(supernet.cli.main, *overrides)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("whether the rows and the model are still the same could not be checked: ") == 1


def each_in_a_folder():
    """The first arguments name them."""
    os.chdir(sys.argv.pop(1 + int(os.environ["RANK"])))
    del sys.argv[1]
    supernet.cli.main()


@pytest.mark.slow
def test_processes_that_have_other_files_do_not_train_together(model_folder, data_folder, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(data_folder, tmp_path / name / "data")
    file = tmp_path / "two" / "data" / "sst2" / "train.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    given = options(model_folder, "data", tmp_path, "data.max_train_samples=null")
    done = run_two(each_in_a_folder, tmp_path / "one", tmp_path / "two", *given)
    assert done.returncode != 0
    assert "error: process 1 works with other files than process 0 (train rows" in done.stderr


FILES = {"cpu": ("NO", 1), "cpu_2_processes": ("MULTI_GPU", 2), "gpu": ("NO", 1), "gpus": ("MULTI_GPU", 2)}
FILES["nodes"] = ("MULTI_GPU", 16)
FOLDER = ROOT / "launch" / "accelerate"


@pytest.mark.parametrize("name", sorted(FILES))
def test_accelerate_reads_the_ready_made_files(name):
    file = FOLDER / f"{name}.yaml"
    config = load_config_from_file(str(file))
    assert (config.distributed_type, config.num_processes) == FILES[name]
    assert config.use_cpu == (name == "cpu")
    assert f"--config_file launch/accelerate/{name}.yaml" in file.read_text()


def test_accelerate_understands_what_the_documents_say():
    """The flags for several processes on CPUs."""
    command = ["--multi_gpu", "--num_processes", "2", "train_supernet.py", "task=stdlib"]
    assert f"accelerate launch {' '.join(command[:-1])}" in (ROOT / "docs" / "clusters.md").read_text()
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(command))
    assert (arguments.multi_gpu, arguments.use_cpu, arguments.num_processes) == (True, False, 2)
    assert (arguments.training_script, arguments.training_script_args) == ("train_supernet.py", ["task=stdlib"])


def test_there_is_a_test_for_each_of_them():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(FILES)


@pytest.mark.slow
def test_that_of_one_process_starts_one(model_folder, data_folder, tmp_path):
    """With the variables that the launcher would set."""
    few = options(model_folder, data_folder, tmp_path, "train.epochs=1")
    command = [str(ROOT / "train_supernet.py"), *few]
    started, environment = as_launched("--config_file", FOLDER / "cpu.yaml", *command)
    assert started == command
    done = run(supernet.cli.main, *few, env=environment)
    assert done.returncode == 0, done.stderr
    assert "1 process(es) on cpu" in done.stderr
    assert done.stderr.count("supernet saved in") == 1
