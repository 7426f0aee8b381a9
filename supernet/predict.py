"""Predicts the labels of texts with an exported model: `plm-supernet predict model=FOLDER input=texts.csv`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from supernet.console.config import run_app
from supernet.console.progress import plain_console, show_progress
from supernet.console.start import loading
from supernet.options.predict import AUTO, OUTPUT_FORMATS, PredictConfig
from supernet.runtime.commands import typed_command
from supernet.runtime.distributed import print_line
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_path
from supernet.runtime.storage import user_path, writing

if TYPE_CHECKING:
    from supernet.data.tables import TextTable
    from supernet.export.serving import Model

T = TypeVar("T")
Write = Callable[[Mapping[str, Any]], object]

CHUNK_ROWS = 4096
"""Rows in memory at a time; batches are made of rows of similar length among them."""


def main() -> None:
    """Predicts as the command line says."""
    run_app("predict", PredictConfig, predict)


def predict(config: PredictConfig) -> None:
    """Checks all rows, then predicts them chunk by chunk.

    Raises:
        UserError: if there is no model, the input cannot be read, or a row is not as the task needs it.
    """
    with loading():
        from supernet.data.tables import open_table
        from supernet.export.serving import fastest, load, report_in

    folder, output_format = _model_folder(config), _output_format(config)
    report = report_in(folder)
    file = fastest(folder, report.files, config.engine, config.format)
    text, choices = (_names(key, getattr(config, key), getattr(report.task, key)) for key in ("text", "choices"))
    source = open_table(_input(config), (*text, *choices), format=config.input_format, quotes=config.quotes)
    with source as table:
        count, names = _checked(table, text, choices)
        for line in (f"{table.name}: {count} rows of {table.format}", *table.notes):
            print_line(line)
        model = load(
            folder,
            format=file.format,
            threads=config.threads,
            batch_size=config.batch_size,
            trust_remote_code=config.trust_remote_code,
        )
        print_line(f"model: {folder / file.file} ({file.median_ms:.2f} ms for {report.workload} when it was exported)")
        added = _added_columns(model, names, probabilities=config.probabilities)
        with _writer(config.output, output_format, [*names, *added.values()]) as write, _progress(count) as done:
            for rows in _chunks((row for _, row in table.rows()), CHUNK_ROWS):
                texts = [[row[name] for name in table.columns] for row in rows]
                for row, values in zip(rows, _predictions(model, texts, done), strict=True):
                    write(row | {name: values[key] for key, name in added.items()})
    if config.output is not None:
        print_line(f"{config.output}: {count} rows")


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """A function that counts rows as done."""
    with show_progress(plain_console(stderr=True), "predict", rows, unit="rows") as progress:

        def done(count: int) -> None:
            for _ in range(count):
                progress.advance()

        yield done


def _predictions(
    model: Model, texts: Sequence[Sequence[str]], done: Callable[[int], object]
) -> Iterator[dict[str, Any]]:
    """For each row: label, probability and probability_CLASS, as far as there are any."""
    from supernet.export.serving import probabilities

    outputs_nC = model.outputs(texts, done=done)
    labels = model.named(outputs_nC)
    if not model.classes:
        return ({"label": float(f"{label:.6g}")} for label in labels)
    rounded = probabilities(outputs_nC).round(6).tolist()
    names = [f"probability_{name}" for name in model.classes]
    return (
        {"label": label, "probability": max(row), **dict(zip(names, row, strict=True))}
        for label, row in zip(labels, rounded, strict=True)
    )


def _added_columns(model: Model, names: Sequence[str], *, probabilities: bool) -> dict[str, str]:
    """The new columns, and their names in the output.

    Raises:
        UserError: if the input has a column of the name that a new one would have.
    """
    keys = ["label"]
    if model.classes:
        keys.append("probability")
        keys += [f"probability_{name}" for name in model.classes] if probabilities else []
    added = {key: f"predicted_{key}" if key in names else key for key in keys}
    if both := [name for name in added.values() if name in names]:
        raise UserError(f"the input has columns {both[0].removeprefix('predicted_')} and {both[0]}; rename one of them")
    return added


# Input


def _model_folder(config: PredictConfig) -> Path:
    if config.model is not None:
        return user_path(config.model)
    exports = user_path(config.output_dir) / "export"
    found = sorted(exports.glob("*/export.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(f"there is no export in {exports}; run '{typed_command('export')}', or give model=FOLDER")
    return found[-1].parent


def _input(config: PredictConfig) -> str:
    if config.input is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError("there are no texts; give input=FILE, or send them to standard input")
    return "-" if config.input is None else config.input


def _names(key: str, given: tuple[str, ...] | None, needed: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of the user's file."""
    names = needed if given is None else given
    if len(names) != len(needed):
        known = ", ".join(needed) or "none"
        raise UserError(f"{key} names {len(names)} columns; this model reads {len(needed)}: {known}")
    return names


def _checked(table: TextTable, text: Sequence[str], choices: Sequence[str]) -> tuple[int, list[str]]:
    """The number of rows, and the names of all their columns in order.

    Raises:
        UserError: for the first bad row, or if there are no rows.
    """
    from supernet.data.rows import checked_texts

    count, names = 0, dict[str, None]()
    for number, row in table.rows():
        checked_texts(text, choices, [row[name] for name in table.columns], table.name, number)
        names |= dict.fromkeys(row)
        count += 1
    if not count:
        raise UserError(f"{table.name} has no rows; give texts in {', '.join(table.columns)}")
    return count, list(names)


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


# Output


def _output_format(config: PredictConfig) -> str:
    if config.output_format != AUTO:
        return config.output_format
    ending = "csv" if config.output is None else user_path(config.output).suffix.lower().removeprefix(".")
    if ending not in OUTPUT_FORMATS:
        endings = ", ".join(f".{name}" for name in OUTPUT_FORMATS)
        raise UserError(f"output={config.output} ends with none of {endings}; say output_format={OUTPUT_FORMATS[0]}")
    return ending


@contextmanager
def _writer(output: str | None, format: str, names: Sequence[str]) -> Iterator[Write]:
    """A function that writes a row: to standard output, or to a file that gets its name at the end."""
    if output is None:
        yield _WRITERS[format](sys.stdout, names)
        return
    with (
        writing(output, "output=FILE"),
        atomic_path(user_path(output).absolute()) as partial_file,
        partial_file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        yield _WRITERS[format](stream, names)
        stream.flush()


def _delimited(stream: TextIO, names: Sequence[str], delimiter: str) -> Write:
    writer = csv.DictWriter(stream, names, delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    return lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _json_lines(stream: TextIO, names: Sequence[str]) -> Write:
    return lambda row: stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


_WRITERS: Mapping[str, Callable[[TextIO, Sequence[str]], Write]] = {
    "csv": partial(_delimited, delimiter=","),
    "tsv": partial(_delimited, delimiter="\t"),
    "jsonl": _json_lines,
}
