"""Exports a sub-network: writes it, runs it in a fresh process, compares, measures; then the folder gets its name."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.artifact import package_versions
from supernet.data.load import TaskData, TaskRows
from supernet.data.metrics import score
from supernet.data.tokens import text_rows
from supernet.evaluation.evaluator import Evaluator
from supernet.evaluation.processor import processor
from supernet.export.card import write_card
from supernet.export.engines import ENGINES, FILES
from supernet.export.folder import write_model
from supernet.export.formats import FORMATS, check_packages
from supernet.export.report import ExportReport, ModelFile
from supernet.export.verify import Behaviour, difference, observe
from supernet.models.families import architecture_of
from supernet.models.heads import head_for
from supernet.options.export import TORCH, ExportOptions
from supernet.options.task import Task
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_folder, file_sha256
from supernet.runtime.storage import check_room, writing
from supernet.space.cost import params_share
from supernet.space.subnetwork import SubNetwork

TORCH_TOLERANCE = 1e-5
"""Largest difference of the logits in torch; batches with other padding differ by rounding."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is exported. Models are on the CPU and in evaluation mode.

    Attributes:
        model: The sub-network's model.
        full: The full model, which it is compared with.
        tokenizer: Of both.
        rows: The task's rows as text. Validation rows decide about formats; test rows are for the figures.
        data: The same rows as tokens.
        subnet: The sub-network.
        origin: Where it comes from, for export.json.
    """

    model: PreTrainedModel
    full: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: TaskRows
    data: TaskData
    subnet: SubNetwork
    origin: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task."""
        return self.data.task


def export(folder: Path, subject: Subject, options: ExportOptions) -> ExportReport:
    """Writes a folder that other libraries load, completely or not at all.

    Args:
        folder: Gets its name last; one that is there is replaced then. Its parent exists.
        subject: What to export.
        options: How.

    Raises:
        UserError: if the sub-network cannot be expressed in the layout, a package is missing, the disk is full, or a
            file gives other predictions in a fresh process than the sub-network.
    """
    check_packages(options.formats)
    _check_room(folder, subject, options)
    with atomic_folder(folder) as partial:
        layout = write_model(partial, subject.model, subject.tokenizer, subject.task, layout=options.layout)
        calibration, padding = subject.data.train, subject.tokenizer.pad_token_id
        for name in FORMATS:
            if name in options.formats:
                with writing(partial / FORMATS[name].file):
                    FORMATS[name].write(partial, subject.model, calibration, padding)
        report = _verified(partial, folder.name, layout, subject, options)
        write_card(partial, report)
        _make_readable(partial)
        report = replace(report, sha256={str(f.relative_to(partial)): file_sha256(f) for f in _files(partial)})
        report.write(partial)
    return report


def _verified(folder: Path, name: str, layout: str, subject: Subject, options: ExportOptions) -> ExportReport:
    """What the files in `folder` do in a fresh process. Files of formats that lose too much are removed."""
    threads = options.threads or torch.get_num_threads()
    formats = [TORCH, *(name for name in FORMATS if name in options.formats)]
    splits = (subject.rows.validation, subject.rows.test)
    rows = [row for split in splits for row in text_rows(split.columns, subject.task.sequences)]
    with tempfile.TemporaryDirectory(prefix="plm-supernet-") as temporary:
        work, full = Path(temporary), Path(temporary) / "full"
        with writing(full, "TMPDIR=FOLDER"):
            full.mkdir()
            write_model(full, subject.full, subject.tokenizer, subject.task)
        models = [("full", TORCH), *(("small", name) for name in formats)]
        seen = observe({"full": full, "small": folder}, models, rows, options.workload, threads=threads, work=work)
        reference = seen["full", TORCH]
        whole = _model_file(full, TORCH, reference, _expected(subject.full, subject), subject, reference)
    expected = _expected(subject.model, subject)
    files = [_model_file(folder, name, seen["small", name], expected, subject, reference) for name in formats]
    for file in (whole, *files):
        _check_same(file)
    left_out = _too_lossy(files, options.max_format_loss, subject.task)
    for lossy in left_out:
        _remove(folder, FILES[lossy][0])
    kept = [file for file in files if file.format not in left_out]
    return ExportReport(
        name=name,
        task=subject.task,
        subnet=subject.subnet.to_json(),
        params_share=params_share(architecture_of(subject.full.config), subject.subnet),
        layout=layout,
        origin=subject.origin,
        files=kept,
        full=whole,
        workload=options.workload,
        threads=threads,
        processor=processor(),
        validation_rows=len(subject.data.validation),
        test_rows=len(subject.data.test),
        versions=package_versions() | {name: version(name) for name in _packages(kept)},
        left_out=left_out,
    )


def _expected(model: PreTrainedModel, subject: Subject) -> np.ndarray:
    """(n, C) logits of a model on the validation rows, then on the test rows."""
    splits = (subject.data.validation, subject.data.test)
    return np.concatenate([Evaluator(split, subject.task, subject.tokenizer).logits(model) for split in splits])


def _model_file(
    folder: Path, name: str, seen: Behaviour, expected_nC: np.ndarray, subject: Subject, full: Behaviour
) -> ModelFile:
    """The figures of a model file."""
    (file, engine), timing, task = FILES[name], seen.timing, subject.task
    parts = np.split(head_for(task).decide(seen.logits), [len(subject.data.validation)])
    labels = (subject.data.validation.labels, subject.data.test.labels)
    validation, test = (score(task.metric, *pair) for pair in zip(parts, labels, strict=True))
    with safe_open(folder / FILES[TORCH][0], framework="np") as tensors:
        keys = tensors.keys()
        parameters = sum(math.prod(tensors.get_slice(key).get_shape()) for key in keys)
    return ModelFile(
        format=name,
        file=file,
        engine=engine,
        bytes=sum(path.stat().st_size for path in _parts(folder, file)),
        parameters=parameters,
        metric=test,
        validation=validation,
        difference=difference(seen.logits, expected_nC),
        median_ms=timing.median_ms,
        low_ms=timing.low_ms,
        high_ms=timing.high_ms,
        speedup=full.timing.median_ms / timing.median_ms,
    )


def _check_same(file: ModelFile) -> None:
    """Raises a UserError if a file gives other logits than the model it was made of."""
    allowed = TORCH_TOLERANCE if file.format == TORCH else FORMATS[file.format].tolerance
    if not math.isfinite(file.difference) or (allowed is not None and file.difference > allowed):
        limit = "finite ones" if allowed is None else f"a difference of at most {allowed:g}"
        raise UserError(
            f"{file.file} gives other predictions in a fresh process than the model it was made of: the logits differ "
            f"by {file.difference:.2g}, allowed is {limit}; nothing was written; leave out formats={file.format}, or "
            "report this as a bug"
        )


def _too_lossy(files: Sequence[ModelFile], most: float, task: Task) -> dict[str, str]:
    """By format, why its file is not kept: it loses more than `most` of the metric on validation rows."""
    best = files[0].validation
    return {
        file.format: f"loses {best - file.validation:.4f} of {task.metric} on the validation rows, more than "
        f"max_format_loss={most:g}"
        for file in files[1:]
        if best - file.validation > most
    }


def _check_room(folder: Path, subject: Subject, options: ExportOptions) -> None:
    """Checks that the disk has room for the files, before minutes of work."""
    size = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    needed = size * (1 + len(options.formats)) + (64 << 20)
    check_room(folder, needed, what="the exported model", advice="choose another place with output_dir=FOLDER")


def _parts(folder: Path, file: str) -> list[Path]:
    """A model file and the files that belong to it: weights beside a graph."""
    path = folder / file
    return [p for p in (path, path.with_name(f"{path.name}.data"), path.with_suffix(".bin")) if p.exists()]


def _remove(folder: Path, file: str) -> None:
    """Removes a model file, what belongs to it, and its folder if nothing else is there."""
    for path in _parts(folder, file):
        path.unlink()
    if not any((folder / file).parent.iterdir()):
        (folder / file).parent.rmdir()


def _packages(files: Sequence[ModelFile]) -> list[str]:
    """The packages that run the files."""
    return sorted({package for file in files for package in ENGINES[file.engine].packages} - {"torch", "transformers"})


def _make_readable(folder: Path) -> None:
    """Lets everybody read the files: some libraries exclude other users, and a service is another user."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
