"""The options of `plm-supernet predict`. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from supernet.options.data import QUOTES
from supernet.options.export import FORMATS
from supernet.runtime.errors import at_least, one_of
from supernet.runtime.fields import SINGLE

AUTO = "auto"
ENGINES = ("torch", "onnx", "openvino")
INPUT_FORMATS = ("csv", "tsv", "jsonl", "parquet", "text")
OUTPUT_FORMATS = ("csv", "tsv", "jsonl")


@dataclass(frozen=True)
class PredictConfig:
    """What to predict, and with which model.

    The input is a table with the columns of the texts, or plain text with one text in each line. The output has the
    input's rows in their order, with all their columns, and two more: label and probability, the probability of the
    label. A regression has a number as label and no probability. If the input has a column of such a name, the new one
    is called predicted_label or predicted_probability.

    All rows are checked before the first is predicted. Rows are read in chunks, so the input may be larger than memory.

    Attributes:
        model: Folder of an export. null: the newest in OUTPUT_DIR/export.
        input: File of the texts: CSV, TSV, JSON Lines, Parquet or plain text. -: standard input. null: standard input,
            if it is no terminal.
        text: Column of the text, or two columns: [FIRST,SECOND]. null: as in training.
        choices: Columns of the choices in multiple choice. null: as in training.
        output: File to write: .csv, .tsv or .jsonl. null: standard output.
        engine: torch, onnx (onnxruntime), openvino, or auto: the one that runs the fastest file.
        format: torch, onnx, int8, openvino, or auto: the folder's fastest file, as measured when it was exported, whose
            packages are installed.
        input_format: csv, tsv, jsonl, parquet, text, or auto: by the file's ending, or by the first line of standard
            input.
        output_format: csv, tsv, jsonl, or auto: by the file's ending; csv for standard output.
        quotes: What quotes mean in CSV and TSV files. csv: they enclose fields. literal: they are part of the text.
            auto: whichever fits the lines of the file.
        probabilities: Whether to write the probability of each class, in columns probability_CLASS.
        batch_size: Texts of a batch.
        threads: Threads of the engine. null: the processors of this process, or OMP_NUM_THREADS.
        trust_remote_code: Whether the folder's own code may run if this version did not write it.
        output_dir: Folder of all runs.
    """

    model: str | None = None
    input: str | None = None
    text: tuple[str, ...] | None = field(default=None, metadata=SINGLE)
    choices: tuple[str, ...] | None = field(default=None, metadata=SINGLE)
    output: str | None = None
    engine: str = AUTO
    format: str = AUTO
    input_format: str = AUTO
    output_format: str = AUTO
    quotes: str = AUTO
    probabilities: bool = False
    batch_size: int = 32
    threads: int | None = None
    trust_remote_code: bool = False
    output_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("engine", self.engine, (AUTO, *ENGINES))
        one_of("format", self.format, (AUTO, *FORMATS))
        one_of("input_format", self.input_format, (AUTO, *INPUT_FORMATS))
        one_of("output_format", self.output_format, (AUTO, *OUTPUT_FORMATS))
        one_of("quotes", self.quotes, QUOTES)
        at_least("batch_size", self.batch_size, 1)
        if self.threads is not None:
            at_least("threads", self.threads, 1)
