"""The doctor finds what would cost hours: no room, no hub, no memory, a budget out of reach, other rows. It writes and
fetches nothing."""

import json
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import torch
from huggingface_hub import constants

from search.doctor import container, cores, machine, origins, resources, sweep
from search.doctor.command import main
from search.doctor.doctor import examine, plans_of
from search.doctor.findings import OK, PROBLEM, UNKNOWN, WARNING, Check, Finding, NotKnownError, run_checks
from search.doctor.machine import MACHINE_CHECKS
from supernet.artifact import INFO_FILE
from supernet.console.progress import plain_console
from supernet.console.routing import routed_jobs
from supernet.evaluation.processor import Processor
from supernet.runtime.errors import UserError
from supernet.runtime.state import mark_running, run_lock


@pytest.fixture
def typed(model_folder, data_folder, tmp_path, monkeypatch):
    """Overrides of a small training, on a machine without a hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cores, "WATCHED_S", 0.01)
    rows = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}"]
    return [*rows, f"output_dir={tmp_path / 'runs'}", f"data.cache_dir={tmp_path / 'cache'}", "workload.length=8"]


def report_of(*overrides, sweeps=False, planned=True):
    options, plans = plans_of(routed_jobs("doctor", overrides, sweep=sweeps))
    return examine(options, plans, plain_console(quiet=True), planned=planned)


def found(report, check, level):
    """The findings of a check at a level, each as one line with its advice."""
    rows = [row.finding for row in report.rows if row.check == check and row.finding.level == level]
    return [f"{finding.text} -> {finding.advice}" for finding in rows]


def one(report, check, level):
    lines = found(report, check, level)
    assert len(lines) == 1, (check, [vars(row.finding) for row in report.rows if row.check == check])
    return lines[0]


def problems(report):
    return {row.check for row in report.rows if row.finding.level == PROBLEM}


def test_a_training_that_fits_has_no_problem_and_leaves_nothing(typed, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    report = report_of(*typed, "max_params=0.5", "max_latency_ms=99%")
    assert problems(report) == set()
    assert [p for p in tmp_path.rglob("*") if p.name != "temporary"] == []
    assert {row.check for row in report.rows if row.finding.level == UNKNOWN} == set()
    assert "140 train, 60 validation, 40 test rows" in found(report, "rows", OK)[0]
    (sizes,) = report.subnets.values()
    assert [each.kind for each in sizes] == ["smallest", "middle", "largest"]
    assert sizes[2].share == 1
    assert all(each.costs[name] > 0 for each in sizes for name in ("total_params", "flops", "latency_ms", "memory_mb"))
    (run,) = report.runs
    assert run.seconds > 0
    assert not run.there


def test_no_check_stops_the_others():
    def broken(subject):
        yield Finding(OK, "so far")
        raise ZeroDivisionError("a library")

    def mistaken(subject):
        raise UserError("a file is missing; fetch it")

    def unknowable(subject):
        raise NotKnownError("nothing is here")

    checks = [Check("a", broken), Check("b", mistaken), Check("c", mistaken), Check("d", unknowable)]
    rows = [(row.check, *vars(row.finding).values()) for row in run_checks(checks, None)]
    assert rows == [
        ("a", OK, "so far", ""),
        ("a", UNKNOWN, "it could not be checked (ZeroDivisionError: a library)", ""),
        ("b", PROBLEM, "a file is missing", "fetch it"),
        ("c", UNKNOWN, "see b", ""),
        ("d", UNKNOWN, "nothing is here", ""),
    ]


def test_a_full_disk_is_a_problem(typed, monkeypatch):
    usage = SimpleNamespace(total=10**12, used=10**12, free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    report = report_of(*typed, "measure=false")
    lines = found(report, "disk space", PROBLEM)
    assert [line.split()[0] for line in lines] == ["output_dir", "data.cache_dir", "HF_HOME", "TMPDIR"]
    assert "too little for a training -> make room, or choose another place with output_dir=FOLDER" in lines[0]
    line = one(report, "training disk", PROBLEM)
    assert "2 checkpoint(s) and the supernet may need" in line
    assert "output_dir=FOLDER" in line


def test_a_folder_that_cannot_be_written_is_a_problem(typed, tmp_path):
    (tmp_path / "runs").write_text("a file")
    line = found(report_of(*typed, planned=False), "disk space", PROBLEM)[0]
    assert line.startswith(f"output_dir {tmp_path / 'runs'}: {tmp_path / 'runs'} is a file -> choose another place")


@pytest.fixture
def hub(hub, monkeypatch):
    """A hub without repositories, which clients do not ask yet."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return hub


def test_a_hub_that_cannot_be_reached_is_a_problem(typed, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert one(report_of(*typed, planned=False), "hub", OK).startswith(f"{hub.url} answers")
    hub.stop()
    line = one(report_of(*typed, planned=False), "hub", PROBLEM)
    assert line.startswith(f"the hub at {hub.url} cannot be reached")
    assert "HF_HUB_OFFLINE=1" in line


def test_a_model_that_is_not_here_is_said_and_not_fetched(typed, hub, monkeypatch):
    asked = [*typed, "model.name_or_path=some/bert"]
    line = one(report_of(*asked), "model", PROBLEM)
    assert line.startswith("some/bert is not on this machine, and HF_HUB_OFFLINE is set -> fetch it")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.put("models/some/bert", {"config.json": b"{}", "model.safetensors": b"0" * 3_000_000})
    report = report_of(*asked)
    assert one(report, "model", OK).startswith("some/bert is not on this machine; a training fetches 3 MB first")
    assert one(report, "training memory", UNKNOWN).startswith("not known before the model is here")
    assert not [path for path in hub.asked if path.startswith("GET") and "/resolve/" in path]


def test_rows_that_are_not_here_are_said_and_not_fetched(typed, hub, monkeypatch):
    asked = [text for text in typed if not text.startswith("data.dir")]
    line = one(report_of(*asked), "rows", PROBLEM)
    assert line.startswith("the rows of task sst2 are not on this machine, and HF_HUB_OFFLINE is set -> give data.dir")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    report = report_of(*asked)
    assert "a training fetches nyu-mll/glue first" in one(report, "rows", OK)
    assert [each.kind for each in report.subnets[""]] == ["smallest", "middle", "largest"]
    assert "latency_ms" not in report.subnets[""][0].costs


def test_a_budget_out_of_reach_is_a_problem_with_the_nearest(typed):
    limits = ["max_params=0.5", "max_total_params=1%", "max_memory_mb=0.001", "max_flops=2", "max_error_increase=0.01"]
    report = report_of(*typed, "measure=false", "space=small", *limits, "space.min_layers=4")
    lines = found(report, "budget", PROBLEM)
    assert {line.split("=")[0] for line in lines} == {"max_total_params", "max_memory_mb", "max_flops"}
    assert all("cannot be reached: the smallest sub-network has" in line for line in lines)
    assert one(report, "budget", OK).startswith("max_params=0.5 can be reached, down to")
    assert one(report, "budget", UNKNOWN).startswith("max_error_increase is known after a search only")


def test_another_space_is_named_that_reaches_the_budget(typed):
    report = report_of(*typed, "measure=false", "max_params=0.2", "space=native", "space.multiple_of=1")
    assert "max_params=0.2 can be reached" in one(report, "budget", OK)
    narrow = ["space=small", "space.min_layers=4", "space.min_heads=4", "space.min_units=10", "max_params=0.2"]
    line = one(report_of(*typed, "measure=false", *narrow), "budget", PROBLEM)
    assert "-> take another space: space=large" in line
    assert "space=small" in line
    assert "or allow more with max_params" in line


def test_a_budget_that_the_full_model_meets_is_a_warning(typed):
    assert "the full model itself" in one(report_of(*typed, "measure=false", "max_size_mb=99"), "budget", WARNING)


def test_too_little_memory_is_a_problem_with_a_micro_batch_that_fits(typed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, (plan,) = plans_of(routed_jobs("doctor", [*typed, "train.batch_size=64", "measure=false"]))
    tokens = int(plan.data.train.sequence_lengths.max())
    some = resources._needed(plan, 8, tokens).total * resources.RESERVE
    for free, advice in (
        (some + 1, "use train.micro_batch_size=8;"),
        (10, "take a smaller model, a shorter task.max_length, or a machine with more memory"),
    ):
        monkeypatch.setattr(resources, "free_for_tensors", lambda free=free: free)
        (line,) = [f"{each.text} -> {each.advice}" for each in resources.memory_findings(plan)]
        assert "by formula: weights" in line
        assert advice in line
    assert [each.level for each in resources.memory_findings(plan)] == [PROBLEM]
    monkeypatch.setattr(resources, "free_for_tensors", lambda: 2**40)
    assert [each.level for each in resources.memory_findings(plan)] == [OK]


def test_nothing_is_measured_that_does_not_fit(typed, monkeypatch):
    """The doctor itself would be killed."""
    for module in ("resources", "plan", "training"):
        monkeypatch.setattr(f"search.doctor.{module}.free_for_tensors", lambda: 1000)
    report = report_of(*typed)
    assert problems(report) == {"training memory", "sub-networks"}
    assert one(report, "training time", UNKNOWN).startswith("not measured, since a step does not fit into memory")
    assert "smaller workload.batch_size" in one(report, "sub-networks", PROBLEM)
    assert "latency_ms" not in report.subnets[""][0].costs


def test_the_limits_of_a_container_count(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "CGROUPS", tmp_path)
    assert container.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert container.core_quota() is None
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("4000\n")
    (tmp_path / "memory.stat").write_text("anon 3000\ninactive_file 700\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert (container.free_memory(), container.core_quota()) == (1700, 1.5)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert container.free_memory() > 5000
    assert container.core_quota() is None
    for name, number in {"cpu/cpu.cfs_quota_us": 200, "cpu/cpu.cfs_period_us": 100}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{number}\n")
    assert container.core_quota() == 2


def of_cores(check, monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setattr(cores, name, lambda value=value: value)
    (finding,) = {row.name: row for row in cores.CORE_CHECKS}[check].find(None)
    return finding


def test_threads_that_do_not_suit_the_cores_are_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert of_cores("threads", monkeypatch, usable_cores=4, core_quota=None).level == OK
    limited = of_cores("threads", monkeypatch, usable_cores=64, core_quota=2.5)
    assert "may use the time of 2.5 cores only" in limited.text
    assert limited.advice.startswith("set OMP_NUM_THREADS=2")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert of_cores("threads", monkeypatch, usable_cores=8, core_quota=None).advice == "set OMP_NUM_THREADS=8"


def test_a_busy_machine_is_a_warning(monkeypatch):
    quiet = of_cores("load", monkeypatch, usable_cores=8, _watch=(0.4, "python (process 1)"))
    assert (quiet.level, quiet.text) == (OK, "other programs use 0.4 of 8 core(s)")
    busy = of_cores("load", monkeypatch, usable_cores=8, _watch=(5.0, "python (process 1)"))
    assert (busy.level, busy.text) == (WARNING, "other programs use 5.0 of 8 core(s), most of it python (process 1)")
    assert "OMP_NUM_THREADS=3" in busy.advice


def test_another_pythons_stdlib_rows_are_a_problem(typed, supernet_folder, tmp_path, monkeypatch):
    """The digests in supernet.json are those of the rows that it was trained with."""
    run = tmp_path / "runs" / "train" / "one"
    shutil.copytree(supernet_folder, run / "supernet")
    file = run / "supernet" / INFO_FILE
    report = report_of(*typed, planned=False)
    assert one(report, "supernets' rows", OK).startswith(f"the rows are those that {run / 'supernet'} was trained with")
    info = json.loads(file.read_text())
    info["splits"]["train"] = "0123456789abcdef"
    file.write_text(json.dumps(info))
    assert "train rows differ" in one(report_of(*typed, planned=False), "supernets' rows", WARNING)
    monkeypatch.setattr(origins, "EMBEDDED_TASK", "sst2")
    line = one(report_of(*typed, planned=False), "supernets' rows", PROBLEM)
    assert "was trained with another Python's stdlib rows: train rows differ -> use Python" in line
    file.write_text("{")
    assert "supernet.json" in one(report_of(*typed, planned=False), "supernets' rows", WARNING)


def test_rows_that_are_cut_are_a_warning(typed):
    assert "are cut at task.max_length=8" in one(
        report_of(*typed, "measure=false", "task.max_length=8"), "rows", WARNING
    )


def test_rows_that_cannot_be_used_hide_no_sizes(typed, tmp_path):
    report = report_of(*typed, f"data.dir={tmp_path / 'nowhere'}", "max_params=0.5")
    assert problems(report) == {"rows"}
    assert "can be reached" in one(report, "budget", OK)
    assert "training needs about" in one(report, "training memory", OK)
    assert one(report, "training time", UNKNOWN).startswith("see rows")


def test_a_workload_longer_than_the_model_is_a_problem(typed):
    assert "positions for 160 tokens" in one(report_of(*typed, "workload.length=200"), "sub-networks", PROBLEM)


@pytest.mark.parametrize(
    ("override", "level", "words"),
    [
        ("train.mixed_precision=fp16", PROBLEM, "fp16 needs a GPU"),
        ("train.mixed_precision=bf16", WARNING, "emulated on this CPU"),
        ("train.compile=true", WARNING, "meant for GPUs"),
        ("tracking.to=[wandb]", PROBLEM, "not installed"),
    ],
)
def test_settings_that_do_not_suit_the_machine(override, level, words, typed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("search.doctor.training.processor", lambda: Processor("old", ("avx2",)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert words in one(report_of(*typed, "measure=false", override), "settings", level)


def test_a_sweep_is_listed_and_none_of_it_started(typed, tmp_path):
    asked = ["seed=0,1", "train.epochs=1,2", "train.batch_size=32"]
    report = report_of(*typed, *asked, sweeps=True)
    assert [run.name for run in report.runs] == [f"seed={s} train.epochs={e}" for s in (0, 1) for e in (1, 2)]
    assert len({run.folder for run in report.runs}) == 4
    by_name = {run.name: run.seconds for run in report.runs}
    assert by_name["seed=0 train.epochs=1"] == by_name["seed=1 train.epochs=1"]
    assert set(report.subnets) == {"seed=0 train.epochs=1", "seed=0 train.epochs=2"}
    assert one(report, "sweep", OK).startswith("4 runs; about 0:0")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="max_params has several values; give one"):
        report_of(*typed, "max_params=0.2,0.5", sweeps=True)


def test_runs_of_a_sweep_that_are_done_or_cannot_start(typed, tmp_path):
    runs = [sweep.PlannedRun("a", tmp_path / "a", True, 0.0), sweep.PlannedRun("b", tmp_path / "b", False, 60.0)]
    assert [f.text for f in sweep.sweep_findings(runs, 2)] == [
        "2 runs, 1 of which are there already; about 0:01:00 one after another"
    ]
    assert [f.level for f in sweep.sweep_findings(runs, 3)] == [PROBLEM, OK]
    unknown = [replace(runs[1], seconds=None), replace(runs[1], seconds=None)]
    assert [f.level for f in sweep.sweep_findings(unknown, 2)] == [PROBLEM, UNKNOWN]


@pytest.mark.parametrize("more", [[], ["measure=false", "max_total_params=1e-9"]])
def test_the_command_prints_and_ends_with_a_status(more, typed, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doctor", *(typed if more else typed[3:5]), *more])
    with pytest.raises(SystemExit) if more else nullcontext():
        main()
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("1 problem" if more else "0 problems")
    monkeypatch.setattr(sys, "argv", [*sys.argv, "format=json"])
    with pytest.raises(SystemExit) if more else nullcontext():
        main()
    values = json.loads(capsys.readouterr().out)
    assert values["level"] == PROBLEM if more else values["level"] in (OK, WARNING)
    assert {"versions", "hub", "threads"} <= {row["check"] for row in values["checks"]}
    assert bool(values["runs"]) == bool(more)


def test_several_processes_are_refused(typed, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["doctor", *typed])
    with pytest.raises(SystemExit):
        main()
    assert "start 'plm-supernet doctor' without a launcher" in capsys.readouterr().err


def test_a_package_that_is_too_old_is_a_warning(typed, monkeypatch):
    monkeypatch.setattr(
        machine.importlib.metadata, "requires", lambda name: ["torch>=999", "none-such", "onnx; extra == 'onnx'"]
    )
    lines = found(report_of(*typed, planned=False), "versions", WARNING)
    assert [line.split()[0] for line in lines] == ["torch", "none-such"]
    assert "pip install 'torch>=999'" in lines[0]


def test_a_run_that_is_running_is_a_warning(typed, tmp_path):
    folder = tmp_path / "runs" / "train" / "one"
    folder.mkdir(parents=True)
    with run_lock(folder):
        mark_running(folder)
        assert f"{folder} has been running since" in one(report_of(*typed, planned=False), "runs", WARNING)
    assert found(report_of(*typed, planned=False), "runs", WARNING) == []


def test_every_row_of_the_table_has_its_own_name():
    names = [check.name for check in MACHINE_CHECKS]
    assert len(names) == len(set(names))
