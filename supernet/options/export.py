"""How a sub-network is exported. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from supernet.runtime.errors import UserError, one_of, within
from supernet.space.cost import Workload

AUTO, NATIVE, CODE = LAYOUTS = ("auto", "native", "code")

TORCH, ONNX, INT8, OPENVINO = FORMATS = ("torch", "onnx", "int8", "openvino")
"""Formats of a model file. An export folder always has the first."""


@dataclass(frozen=True)
class ExportOptions:
    """How a sub-network is exported.

    Attributes:
        layout: native: classes of transformers alone; missing heads and units are padded with zeros. code: with a
            modelling file beside the weights. auto: native if nothing needs padding, else code.
        formats: More formats besides torch: onnx, int8, openvino.
        max_format_loss: A format whose metric on validation rows is lower by more than this is not written.
        workload: The batch that latencies are measured on.
        threads: Threads of each engine. None: those of torch.
    """

    layout: str = AUTO
    formats: tuple[str, ...] = ()
    max_format_loss: float = 0.01
    workload: Workload = field(default_factory=Workload)
    threads: int | None = None

    def __post_init__(self) -> None:
        one_of("layout", self.layout, LAYOUTS)
        for name in self.formats:
            one_of("formats", name, FORMATS[1:])
        if len(set(self.formats)) < len(self.formats):
            raise UserError(f"formats names a format twice: {','.join(self.formats)}; name each once")
        within("max_format_loss", self.max_format_loss, 0, 1)
