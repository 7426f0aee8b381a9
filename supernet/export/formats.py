"""The formats of an exported model besides torch's: a table with a row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel

from supernet.data.tokens import TokenizedSplit
from supernet.export.engines import FILES
from supernet.export.onnx import write_int8, write_onnx
from supernet.export.openvino import write_openvino
from supernet.runtime.errors import UserError, one_of

Writer = Callable[[Path, PreTrainedModel, TokenizedSplit, int], None]
"""Writes a model's file: into an export folder, of a model on the CPU in evaluation mode, with training rows for the
ranges of activations, and with the token id of padding."""


@dataclass(frozen=True)
class Format:
    """A format that a model can be written in.

    Attributes:
        name: What the user calls it, as in `engines.FILES`.
        packages: What has to be installed to write it, as Python imports it.
        extra: The extra of this package that installs these.
        tolerance: The largest difference from torch's logits; None if weights are rounded on purpose.
        write: Writes it.
    """

    name: str
    packages: tuple[str, ...]
    extra: str
    tolerance: float | None
    write: Writer

    @property
    def file(self) -> str:
        """The model's file, relative to the export folder."""
        return FILES[self.name][0]


_ONNX = ("onnx", "onnxscript", "onnxruntime")
_OPENVINO = ("onnx", "onnxscript", "openvino", "nncf")

FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("onnx", _ONNX, "onnx", 1e-4, write_onnx),
        Format("int8", _ONNX, "onnx", None, write_int8),
        Format("openvino", _OPENVINO, "openvino", None, write_openvino),
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
        if lacking := [package for package in row.packages if find_spec(package) is None]:
            raise UserError(
                f"formats={name} needs {' and '.join(lacking)}, which this Python does not have; "
                f'install {"it" if len(lacking) == 1 else "them"} with: pip install "plm-supernet[{row.extra}]"'
            )
