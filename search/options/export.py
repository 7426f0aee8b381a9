"""The options of `plm-supernet export` (conf/export.yaml)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from search.options.limits import Limits, RunOption
from search.options.search import RowPlace
from supernet.options.export import AUTO, ExportOptions
from supernet.options.finish import FinishOptions
from supernet.runtime.errors import MAX_SEED, UserError, at_least, within
from supernet.runtime.fields import SINGLE
from supernet.runtime.files import folder_name
from supernet.space.cost import Workload

_EXAMPLE = "for example max_params=0.5 or max_error_increase=0.01 (--help: all)"


@dataclass(frozen=True)
class MeasuredBatch:
    """The batch that latencies are measured on.

    Attributes:
        batch_size: Number of texts. null: as in the run, else 1.
        length: Number of tokens of each text. null: as in the run, else the task's, but at most 128.
    """

    batch_size: int | None = None
    length: int | None = None

    def __post_init__(self) -> None:
        self.or_else(Workload())

    def or_else(self, known: Workload) -> Workload:
        """The workload, with the values of another one where none are given."""
        return Workload(**(asdict(known) | {name: value for name, value in asdict(self).items() if value is not None}))


@dataclass(frozen=True)
class ExportConfig(Limits, RunOption):
    """What to export, and how.

    The folder OUTPUT_DIR/export/NAME is written, completely or not at all: a model that transformers loads, its
    tokenizer, a card (README.md), and export.json with all figures. Before it gets its name, a fresh process without
    this program loads each file from there and predicts the task's test rows from their texts: what differs from the
    sub-network ends the command. The same command again finds the finished folder.

    Choose in one of three ways: by limits as in select, by the number of a trial, or by the file that
    select format=json prints. A limit is an upper bound: validation rows may prefer a much smaller sub-network, and
    the output says how far below the limit it is.

    Attributes:
        subnet: JSON file with a key subnet, such as select format=json prints.
        trial: Number of a trial of the run.
        supernet: Folder of the supernet, if it was moved. null: the run's.
        layout: native: classes of transformers alone; missing heads and units are padded with zeros. code: with a
            modelling file beside the weights. auto: native if nothing needs padding, else code.
        formats: More formats besides torch, any of onnx, int8 and openvino.
        max_format_loss: A format whose metric on validation rows is lower by more than this is not written.
        finetune: How the sub-network is trained alone before it is exported.
        workload: The batch that latencies are measured on.
        threads: Threads that latencies are measured with. null: those of this process.
        data: Where the task's rows are now.
        seed: Seed of finetune: of dropout and of the order of the rows.
        output_dir: Folder of all runs.
        name: Name of the export folder. null: a name made from the run, the size and the options.
        overwrite: Export again, even if the folder is there.
        push: Repository on the Hugging Face hub, OWNER/NAME, to upload the folder to. null: it is not uploaded.
        private: With push: whether only its owner sees the repository.
        dry_run: With push: print what would be uploaded, and upload nothing.
    """

    subnet: str | None = None
    trial: int | None = None
    supernet: str | None = None
    layout: str = AUTO
    formats: tuple[str, ...] = field(default=(), metadata=SINGLE)
    max_format_loss: float = 0.01
    finetune: FinishOptions = field(default_factory=FinishOptions)
    workload: MeasuredBatch = field(default_factory=MeasuredBatch)
    threads: int | None = None
    data: RowPlace = field(default_factory=RowPlace)
    seed: int = 0
    output_dir: str = "runs"
    name: str | None = None
    overwrite: bool = False
    push: str | None = None
    private: bool = True
    dry_run: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_one_choice()
        if self.trial is not None:
            at_least("trial", self.trial, 0)
        if self.threads is not None:
            at_least("threads", self.threads, 1, what=", or null")
        within("seed", self.seed, 0, MAX_SEED)
        if self.name is not None and not folder_name(self.name).strip("."):  # it would be the folder of all exports
            raise UserError(f"name is '{self.name}'; it must name a folder, or be null to have one made")
        if self.dry_run and self.push is None:
            raise UserError("dry_run=true shows what would be uploaded; say where to with push=OWNER/NAME")
        self.options(Workload())

    def _check_one_choice(self) -> None:
        given = [f"{key}={value}" for key, value in self.limits.items()][:1]
        given += [f"{key}={getattr(self, key)}" for key in ("subnet", "trial") if getattr(self, key) is not None]
        if not given:
            raise UserError(f"no budget is given; {_EXAMPLE}, or name a sub-network with trial=N or subnet=FILE.json")
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} choose in different ways; give limits, or subnet, or trial")

    def options(self, known: Workload) -> ExportOptions:
        """How the sub-network is exported.

        Args:
            known: The workload, where none is given.
        """
        return ExportOptions(
            layout=self.layout,
            formats=tuple(self.formats),
            max_format_loss=self.max_format_loss,
            workload=self.workload.or_else(known),
            threads=self.threads,
        )

    def identity(self) -> dict[str, Any]:
        """The options that the files depend on, besides the sub-network, its weights and the workload."""
        finishing = asdict(self.finetune) | {"seed": self.seed} if self.finetune.epochs else None
        formats = sorted(self.formats)
        return {
            "layout": self.layout,
            "formats": formats,
            "max_format_loss": self.max_format_loss if formats else None,
            "finetune": finishing,
            "threads": self.threads,
        }
