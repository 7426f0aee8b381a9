"""A whole export: the folder is complete and right, or there is none."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.data.load import load_rows, load_task
from supernet.evaluation.evaluator import Evaluator
from supernet.export import exporting, verify
from supernet.export.exporting import Subject, export
from supernet.export.formats import FORMATS
from supernet.export.report import REPORT_FILE, read_report
from supernet.models.pretrained import load_pretrained
from supernet.models.slicing import extract
from supernet.options.export import ExportOptions
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.files import file_sha256
from supernet.space.cost import Workload
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.fresh_job import main as fresh_main
from tests.launched import run
from tests.test_disk import as_root, disk  # noqa: F401  # a fixture

SUBNET = SubNetwork([LayerSlice(0, [1, 2], range(5)), LayerSlice(2, range(3), [])])
OPTIONS = ExportOptions(workload=Workload(1, 8), threads=1)


@pytest.fixture
def subject(model_folder, data_folder, tmp_path):
    """A sub-network of a model of a task, with all that an export needs."""

    def make(task="sst2", folder=data_folder):
        overrides = [f"task={task}", f"data.dir={folder}", f"data.cache_dir={tmp_path}/cache"]
        config = load_config("train", TrainConfig, overrides)
        rows = load_rows(config.task, config.data)
        full, tokenizer = load_pretrained(model_folder, rows.task, seed=0, labels=rows.train.labels)
        data = load_task(config.task, config.data, tokenizer)
        return Subject(extract(full, SUBNET).eval(), full.eval(), tokenizer, rows, data, SUBNET, {"run": "a run"})

    return make


@pytest.fixture(autouse=True)
def _forks_instead_of_interpreters(request, monkeypatch):
    """Tests that are marked `slow` start an interpreter, as users do."""
    monkeypatch.setattr(verify, "TURNS", 2)
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(verify, "run_fresh", forked)


def forked(request, environment, folder):
    done = run(fresh_main, request, env=environment, cwd=folder)
    return done.returncode, done.stderr.strip()


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


@pytest.mark.slow
def test_an_export_says_what_its_files_do(subject, tmp_path):
    subject = subject()
    report = export(tmp_path / "small", subject, OPTIONS)
    assert left_in(tmp_path) == ["small"]
    assert read_report(tmp_path / "small") == report
    (file,) = report.files
    evaluators = [
        Evaluator(split, subject.task, subject.tokenizer) for split in (subject.data.validation, subject.data.test)
    ]
    assert [file.validation, file.metric] == pytest.approx([e.score(subject.model) for e in evaluators])
    assert report.full.metric == pytest.approx(evaluators[1].score(subject.full))
    assert file.difference <= exporting.TORCH_TOLERANCE
    assert file.parameters == sum(p.numel() for p in subject.model.parameters())
    assert file.bytes == (tmp_path / "small" / "model.safetensors").stat().st_size
    assert 0 < file.low_ms <= file.median_ms <= file.high_ms
    assert math.isclose(file.speedup, report.full.median_ms / file.median_ms)
    assert report.sha256 == {
        path.name: file_sha256(path) for path in (tmp_path / "small").iterdir() if path.name != REPORT_FILE
    }
    assert "README.md" in report.sha256
    assert SubNetwork.from_json(report.subnet) == SUBNET
    assert "accuracy on 40 test rows" in report.conditions


@pytest.mark.parametrize("task", ["stsb", "choice"])
def test_other_kinds_of_task(subject, tmp_path, task):
    subject = subject(task) if task == "stsb" else subject("swag", choice_rows(tmp_path / "rows"))
    report = export(tmp_path / "small", subject, OPTIONS)
    test = Evaluator(subject.data.test, subject.task, subject.tokenizer)
    assert report.files[0].metric == pytest.approx(test.score(subject.model))
    assert report.files[0].difference <= exporting.TORCH_TOLERANCE


def choice_rows(folder):
    """Rows of the task swag, as files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("validation", 20)):
        rows = []
        for i in range(count):
            words = rng.choice(["tree", "rain", "land", "fog"], 6).tolist()
            row = {f"ending{k}": f"{words[k]} {words[5 - k]}" for k in range(4)}
            rows.append(row | {"sent1": words[4], "sent2": "it is", "label": i % 4})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def damaged(folder, *given, **options):
    """As `write_model`, but a weight changes on its way to the disk."""
    layout = written(folder, *given, **options)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["classifier.bias"][0] += 0.01
    save_file(tensors, path, metadata={"format": "pt"})
    return layout


def truncated(folder, *given, **options):
    """As `write_model`, but the disk loses the end of the weights."""
    layout = written(folder, *given, **options)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return layout


written = exporting.write_model


@pytest.mark.parametrize(
    ("writes", "message"),
    [(damaged, "model.safetensors gives other predictions in a fresh process"), (truncated, "cannot be loaded")],
)
def test_a_damaged_file_leaves_no_folder(subject, tmp_path, monkeypatch, writes, message):
    subject = subject()
    monkeypatch.setattr(exporting, "write_model", writes)
    with pytest.raises(UserError, match=message) as caught:
        export(tmp_path / "small", subject, OPTIONS)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []


def test_a_failing_check_keeps_the_folder_that_was_there(subject, tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "old").write_text("old")
    monkeypatch.setattr(verify, "run_fresh", lambda *_: (1, "no such module"))
    with pytest.raises(UserError, match="a fresh process reports no such module"):
        export(tmp_path / "small", subject(), OPTIONS)
    assert [path.name for path in tmp_path.glob("small/*")] == ["old"]
    assert left_in(tmp_path) == ["small"]


@as_root
@pytest.mark.parametrize("free", [0, 10_000])
def test_a_full_disk_leaves_no_folder(subject, disk, free, monkeypatch):  # noqa: F811
    subject = subject()
    disk.fill(but=free)
    with pytest.raises(UserError, match="too little room"):
        export(disk.folder / "small", subject, OPTIONS)
    monkeypatch.setattr(exporting, "check_room", lambda *_, **__: None)  # as if it filled up only now
    with pytest.raises(UserError, match=r"small cannot be written \(the disk is full\)"):
        export(disk.folder / "small", subject, OPTIONS)
    assert left_in(disk.folder) == ["ballast"]


@pytest.mark.slow
def test_a_format_that_loses_too_much_is_left_out(subject, supernet_folder, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    trained = load_supernet(supernet_folder)
    subject = replace(subject(), model=trained.model, full=trained.model, subnet=trained.space.largest)

    def write(folder, model, *more):
        FORMATS["onnx"].write(folder, negated(extract(model, trained.space.largest)), *more)
        (folder / "onnx/model.onnx").rename(folder / "onnx/model_int8.onnx")

    monkeypatch.setitem(FORMATS, "int8", replace(FORMATS["int8"], write=write))
    report = export(tmp_path / "small", subject, replace(OPTIONS, formats=("int8",), max_format_loss=0.0))
    assert [file.format for file in report.files] == ["torch"]
    assert list(report.left_out) == ["int8"]
    assert "of accuracy on the validation rows, more than max_format_loss=0" in report.left_out["int8"]
    assert not (tmp_path / "small/onnx").exists()


def negated(model):
    """A model that prefers the other class, always."""
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.neg_()
    return model.eval()
