"""Export folders of tiny models, written without the verification that takes a process of its own."""

import json
from dataclasses import replace

import torch

from supernet.evaluation.processor import Processor
from supernet.export.engines import FILES
from supernet.export.folder import write_model
from supernet.export.report import ExportReport, ModelFile
from supernet.models.heads import head_for
from supernet.models.slicing import extract
from supernet.options.task import Task
from supernet.space.cost import Workload
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.models import tiny_model

TASKS = {
    "classes": {"text": ("review",), "kind": "classification", "classes": ("bad", "good"), "metric": "accuracy"},
    "pairs": {"text": ("first", "second"), "kind": "classification", "classes": ("a", "b", "c"), "metric": "accuracy"},
    "numbers": {"text": ("a", "b"), "kind": "regression", "label_range": (0.0, 5.0), "metric": "spearman"},
    "choices": {"text": ("context",), "kind": "choice", "choices": ("end 0", "end 1"), "metric": "accuracy"},
}


def task_of(kind):
    """A task of `TASKS`."""
    return Task(name=f"my-{kind}", label="label", max_length=16, **TASKS[kind])


def model_file(format="torch", *, ms=2.0, **values):
    """Figures as an export would find them."""
    file, engine = FILES[format]
    figures = {"bytes": 1_000_000, "parameters": 250_000, "metric": 0.9, "validation": 0.88, "difference": 1e-6}
    times = {"median_ms": ms, "low_ms": 0.9 * ms, "high_ms": 1.2 * ms, "speedup": 4 / ms}
    return ModelFile(format=format, file=file, engine=engine, **(figures | times | values))


def report_of(task, layout="native", files=(), **values):
    """A report of a tiny sub-network."""
    report = ExportReport(
        name="tiny-50",
        task=task,
        subnet=SubNetwork((LayerSlice(0, (0, 1), tuple(range(5))),)).to_json(),
        params_share=0.4,
        layout=layout,
        origin={"supernet": "runs/train/tiny/supernet", "weights": "0123456789abcdef", "model": "tiny-bert"},
        files=[model_file(), *files],
        full=model_file(ms=4.0, bytes=2_000_000, parameters=500_000, metric=0.92),
        workload=Workload(1, 16),
        threads=1,
        processor=Processor("A processor", ("avx2",)),
        validation_rows=20,
        test_rows=40,
        versions={"plm-supernet": "1", "torch": "2", "transformers": "5"},
    )
    return replace(report, **values)


def exported(folder, tokenizer, kind="classes", *, code=False, files=(), layers=4):
    """Writes an export folder of a tiny BERT, and returns its model.

    Args:
        kind: A key of `TASKS`.
        code: Whether the sub-network needs a modelling file: its layers differ in size, and one lacks its attention.
        layers: Of the full model.
        files: Other files than torch's, for the report only.
    """
    task = task_of(kind)
    head = head_for(task)
    model = tiny_model("bert", head.outputs(task), torch.float32, head.auto_class, num_hidden_layers=layers)
    head.configure(model.config, task)
    if code:
        kept = (LayerSlice(0, (1, 2), tuple(range(5))), LayerSlice(2, (), tuple(range(10))))
        model = extract(model, SubNetwork(kept)).eval()
    folder.mkdir(parents=True)
    layout = write_model(folder, model, tokenizer, task)
    report_of(task, layout, files).write(folder)
    return model


def change_report(folder, **values):
    """Changes values of export.json."""
    file = folder / "export.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
