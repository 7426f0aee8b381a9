"""What an export found: export.json, and the table that people read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from supernet.evaluation.processor import Processor
from supernet.options.task import Task
from supernet.runtime.errors import UserError
from supernet.runtime.files import file_sha256, write_json
from supernet.runtime.reading import read_record
from supernet.space.cost import Workload

REPORT_FILE = "export.json"
"""Written last, so a folder that has it is complete."""

CARD_FILE = "README.md"

_FORMAT = 1
_AGAIN = "export the sub-network again, with overwrite=true"
FULL = "full model"


@dataclass(frozen=True)
class ModelFile:
    """A model file, as it was found in the fresh process.

    Attributes:
        format: torch, onnx, int8 or openvino.
        file: Its path in the folder.
        engine: The library that ran it.
        bytes: Its size, with the files that belong to it.
        parameters: Number of its parameters.
        metric: The task's metric on the test rows.
        validation: The same on the validation rows.
        difference: The largest difference of its logits from those of the model that was exported, as a share of the
            largest logit if that is above 1.
        median_ms, low_ms, high_ms: Latency at the workload: median, first and third quartile.
        speedup: How many times as fast as the full model in torch, which took turns with it.
    """

    format: str
    file: str
    engine: str
    bytes: int
    parameters: int
    metric: float
    validation: float
    difference: float
    median_ms: float
    low_ms: float
    high_ms: float
    speedup: float


@dataclass(frozen=True)
class ExportReport:
    """The content of export.json.

    Attributes:
        name: Of the folder.
        task: The task.
        subnet: The sub-network, see `SubNetwork.to_json`.
        params_share: Its share of the full encoder's parameters.
        layout: native or code.
        origin: Where it comes from: supernet, digest of its weights, run, what finishing did.
        files: Its model files.
        full: The full model, in torch.
        left_out: By format, why it was not written.
        workload: What latencies were measured on.
        threads: Threads of each engine.
        processor: What they were measured on.
        validation_rows, test_rows: Numbers of rows.
        versions: Of the packages that wrote and ran the files.
        sha256: Checksum of each file of the folder.
    """

    name: str
    task: Task
    subnet: list[Any]
    params_share: float
    layout: str
    origin: dict[str, Any]
    files: list[ModelFile]
    full: ModelFile
    workload: Workload
    threads: int
    processor: Processor
    validation_rows: int
    test_rows: int
    versions: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes export.json."""
        write_json(folder / REPORT_FILE, {"format": _FORMAT} | asdict(self))

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings of the table's columns; the first is for the model."""
        return "", "MB", "parameters", self.task.metric, "ms", "quartiles", "times full model"

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The table's rows: the full model, then each file."""
        return [_cells(FULL, self.full), *(_cells(file.file, file) for file in self.files)]

    def table(self) -> Table:
        """The table, for a terminal."""
        table = Table(box=SIMPLE_HEAD, collapse_padding=True)
        for i, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if i else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    @property
    def conditions(self) -> str:
        """What the table's numbers hold for, in words."""
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return (
            f"{self.task.metric} on {self.test_rows} test rows; latency for batch x length {self.workload} on "
            f"{self.processor.name}, {threads}, in turns with the full model in torch"
        )


def read_report(folder: Path) -> ExportReport:
    """Reads export.json.

    Raises:
        UserError: if there is none, or it cannot be used.
    """
    return read_record(folder / REPORT_FILE, ExportReport, _AGAIN, form=_FORMAT)


def verified_files(folder: Path) -> list[str]:
    """The files of an export, relative to its folder. Users may edit the card.

    Raises:
        UserError: if one has changed since it was verified, or is gone.
    """
    digests = read_report(folder).sha256
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is gone; {_AGAIN}")
        if name != CARD_FILE and file_sha256(folder / name) != digest:
            raise UserError(f"{folder / name} is not the file that was verified; {_AGAIN}")
    return sorted((*digests, REPORT_FILE))


def _cells(name: str, file: ModelFile) -> tuple[str, ...]:
    return (
        name,
        f"{file.bytes / 1e6:.1f}",
        f"{file.parameters / 1e6:.2f} M",
        f"{file.metric:.4f}",
        f"{file.median_ms:.2f}",
        f"{file.low_ms:.2f}-{file.high_ms:.2f}",
        f"{file.speedup:.2f}",
    )
