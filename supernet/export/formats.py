"""The formats of an exported model besides torch's: a table with a row for each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from supernet.data.tokens import TokenizedSplit
from supernet.export.onnx import write_int8, write_onnx
from supernet.export.openvino import write_openvino
from supernet.options.task import Task
from supernet.runtime.errors import UserError, one_of

Writer = Callable[[Path, PreTrainedModel, TokenizedSplit, Task, int], None]
"""Writes a model's file: into an export folder, of a model on the CPU in evaluation mode, with training rows for the
ranges of activations, of a task, and with the token id of the padding of these rows."""


@dataclass(frozen=True)
class Format:
    """A format that a model can be written in.

    Attributes:
        name: What the user calls it.
        file: The model's file, relative to the export folder.
        engine: What runs it: onnx (onnxruntime) or openvino.
        packages: What has to be installed to write it, as Python imports it.
        extra: The extra of this package that installs these.
        tolerance: The largest difference from torch's logits; None if weights are rounded on purpose.
        write: Writes it.
    """

    name: str
    file: str
    engine: str
    packages: tuple[str, ...]
    extra: str
    tolerance: float | None
    write: Writer


_ONNX = ("onnx", "onnxscript", "onnxruntime")

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("onnx", "onnx/model.onnx", "onnx", _ONNX, "onnx", 1e-4, write_onnx),
        Format("int8", "onnx/model_int8.onnx", "onnx", _ONNX, "onnx", None, write_int8),
        Format(
            "openvino",
            "openvino/openvino_model.xml",
            "openvino",
            ("openvino", "nncf", "onnx", "onnxscript"),
            "openvino",
            None,
            write_openvino,
        ),
    )
}
"""In the order in which they are written: the others are made of the ONNX file, which stands first."""


def check_packages(formats: Iterable[str]) -> None:
    """Checks that all formats are known and that what writes them is installed.

    Raises:
        UserError: if not.
    """
    for name in formats:
        one_of("format", name, FORMATS)
        row = FORMATS[name]
        if lacking := [package for package in row.packages if importlib.util.find_spec(package) is None]:
            raise UserError(
                f"formats={name} needs {' and '.join(lacking)}, which this Python does not have; "
                f'install {"it" if len(lacking) == 1 else "them"} with: pip install "plm-supernet[{row.extra}]"'
            )
