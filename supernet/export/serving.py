"""An export folder as a model that predicts: raw texts in, names of classes or numbers out. Prints nothing.

Only format torch needs torch.

Shape letters: n rows, C classes or choices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from supernet.data.rows import checked_texts
from supernet.data.tokens import text_rows
from supernet.export import engines
from supernet.export.report import REPORT_FILE, ExportReport, ModelFile, read_report
from supernet.options.predict import AUTO
from supernet.options.task import Task
from supernet.runtime.errors import UserError, one_of
from supernet.runtime.storage import user_path

Prediction = str | float
"""Name of a class or of a choice; a number in a regression."""


@dataclass(frozen=True)
class Model:
    """A model file of an export folder, ready to predict.

    Attributes:
        folder: The export folder.
        file: The model file that is used, with its measured values.
        task: What the model was trained for.
        engine: Runs the file.
        batch_size: Rows of a batch.
    """

    folder: Path
    file: ModelFile
    task: Task
    engine: engines.Engine
    batch_size: int

    @property
    def kind(self) -> str:
        """The kind of task: classification, regression or choice."""
        return self.task.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """(C,) names of the classes, or of the choices; empty in a regression."""
        return self.task.answers

    @property
    def columns(self) -> tuple[str, ...]:
        """What a row consists of: its one or two texts, then the choices."""
        return (*self.task.text, *self.task.choices)

    def predict(self, texts: Any) -> list[Prediction]:
        """The predictions of n rows.

        Args:
            texts: n rows. A row is a text; or, if it has several (`columns`), a sequence of them; or a mapping with
                these names. A pandas frame, or a mapping of whole columns, will do, too.

        Raises:
            UserError: if a row is not as the task needs it.
        """
        return self.named(self.outputs(texts))

    def predict_proba(self, texts: Any) -> np.ndarray:
        """(n, C) float64. The probability of each class or choice. `texts` as for `predict`.

        Raises:
            UserError: as `predict`; and if the model predicts numbers.
        """
        if not self.classes:
            raise UserError(f"the model in {self.folder} predicts numbers, which have no probabilities; use predict")
        return probabilities(self.outputs(texts))

    def outputs(self, texts: Any, *, done: Callable[[int], object] | None = None) -> np.ndarray:
        """(n, C) float32. The logits of n rows; (n, 1), the numbers, in a regression.

        Args:
            texts: As for `predict`.
            done: Called with the number of rows after each batch.
        """
        rows = list(self._rows(texts))
        if not rows:
            return np.zeros((0, max(1, len(self.classes))), np.float32)
        sequences = text_rows(list(zip(*rows, strict=True)), self.task.sequences)
        with _in_one_line(self.folder / self.file.file):
            return self.engine.logits(sequences, batch_size=self.batch_size, done=done)

    def named(self, outputs_nC: np.ndarray) -> list[Prediction]:
        """The prediction of each row of `outputs`."""
        if not self.classes:
            return [float(number) for number in outputs_nC[:, 0]]
        return [self.classes[i] for i in outputs_nC.argmax(axis=1).tolist()]

    def _rows(self, texts: Any) -> Iterator[list[str]]:
        """The texts of each row, checked."""
        if isinstance(texts, str):
            raise UserError("texts is a single text; give a list of texts")
        if isinstance(texts, Mapping) or hasattr(texts, "columns"):
            columns = self._values(texts, "texts has no column")
            if len({len(column) for column in columns}) > 1:
                raise UserError(f"the columns {', '.join(self.columns)} of texts have different lengths")
            texts = zip(*columns, strict=True)
        for number, row in enumerate(texts, start=1):
            yield checked_texts(self.task.text, self.task.choices, self._parts(row, number), "row", number)

    def _values(self, values: Any, lacks: str) -> list[Any]:
        """The values of `columns`."""
        if lacking := [name for name in self.columns if name not in values]:
            raise UserError(f"{lacks} {lacking[0]}; needed: {', '.join(self.columns)}")
        return [values[name] for name in self.columns]

    def _parts(self, row: Any, number: int) -> list[Any]:
        if isinstance(row, Mapping):
            return self._values(row, f"row:{number}: no")
        parts = [row] if isinstance(row, str) or not isinstance(row, Iterable) else list(row)
        if len(parts) != len(self.columns):
            raise UserError(f"row:{number}: {len(parts)} texts; needed: {', '.join(self.columns)}")
        return parts


def load(
    folder: Path | str,
    *,
    engine: str = AUTO,
    format: str = AUTO,
    threads: int | None = None,
    batch_size: int = 32,
    trust_remote_code: bool = False,
) -> Model:
    """Loads a model of an export folder.

    Args:
        folder: The export folder.
        engine: torch, onnx (onnxruntime), openvino, or auto: whichever runs the fastest file.
        format: torch, onnx, int8, openvino, or auto: the fastest of the folder's files, as measured when it was
            exported, whose packages are installed.
        threads: Threads of the engine. None: the processors of this process, or OMP_NUM_THREADS.
        batch_size: Rows of a batch.
        trust_remote_code: Whether format torch may run code of the folder that this version did not write.

    Raises:
        UserError: if there is no such file, its packages are missing, it cannot be loaded, or its code is not trusted.
    """
    folder = user_path(str(folder))
    report = report_in(folder)
    file = fastest(folder, report.files, engine, format)
    if gone := [name for name in (file.file, "tokenizer.json") if not (folder / name).is_file()]:
        raise UserError(f"{folder} has no {gone[0]} any more; copy the whole folder again, or export again")
    with _in_one_line(folder / file.file), _quiet(file):
        trusted = trust_remote_code or (file.engine == "torch" and _code_is_ours(folder))
        loaded = engines.load(folder, file.format, threads=threads, trust_remote_code=trusted)
    return Model(folder, file, report.task, loaded, batch_size)


def report_in(folder: Path) -> ExportReport:
    """What an export folder holds.

    Raises:
        UserError: if there is no such folder, or it was not exported by this library.
    """
    if not os.path.isfile(folder / REPORT_FILE):
        raise UserError(f"{folder} has no {REPORT_FILE}, so it is not the folder of an export; give model=FOLDER")
    return read_report(folder)


def fastest(folder: Path, files: Sequence[ModelFile], engine: str = AUTO, format: str = AUTO) -> ModelFile:
    """The fastest file, as measured when it was exported, of an engine and a format. Its packages are installed.

    Raises:
        UserError: if there is none.
    """
    one_of("engine", engine, (AUTO, *engines.ENGINES))
    one_of("format", format, (AUTO, *engines.FILES))
    wanted = [file for file in files if engine in (AUTO, file.engine) and format in (AUTO, file.format)]
    if not wanted:
        there = ", ".join(f"{file.format} (engine {file.engine})" for file in files)
        asked = " ".join(f"{k}={v}" for k, v in (("engine", engine), ("format", format)) if v != AUTO)
        raise UserError(f"{folder} has no file of {asked}; there are: {there}")
    usable = [file for file in wanted if not missing_packages(file.engine)]
    if not usable:
        packages = missing_packages(wanted[0].engine)
        raise UserError(f"format {wanted[0].format} needs {' and '.join(packages)}; pip install {' '.join(packages)}")
    return min(usable, key=lambda file: file.median_ms)


def missing_packages(engine: str) -> list[str]:
    """The packages of an engine that are not installed."""
    return [name for name in engines.ENGINES[engine].packages if find_spec(name) is None]


def probabilities(logits_nC: np.ndarray) -> np.ndarray:
    """(n, C) float64. The softmax of each row."""
    shifted = logits_nC.astype(np.float64) - logits_nC.max(axis=1, keepdims=True)
    return np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)


def _code_is_ours(folder: Path) -> bool:
    from supernet.export.code import has_code, is_our_code  # not above: it brings torch along

    return has_code(folder) and is_our_code(folder)


@contextmanager
def _in_one_line(file: Path) -> Iterator[None]:
    """Turns an error of an engine into a UserError."""
    try:
        yield
    except engines.EngineError as error:
        advice = "=true" if str(error).endswith("trust_remote_code") else ""
        raise UserError(f"{error}{advice}") from error
    except UserError:
        raise
    except Exception as error:  # of several libraries
        raise UserError(f"{file} cannot be used ({engines.first_line(error)})") from error


@contextmanager
def _quiet(file: ModelFile) -> Iterator[None]:
    if file.engine != "torch":
        yield
        return
    from supernet.models.files import quiet_transformers  # not above: it brings torch along

    with quiet_transformers():
        yield
