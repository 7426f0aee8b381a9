"""Whole rows of a user's texts: a table, or plain text with one text in each line; from a file or standard input.

An error message about a row names the file and the line.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from supernet.data.delimited import DELIMITERS, lines
from supernet.data.readers import Reader, check_columns, json_objects, reader_of
from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path, writing

STANDARD_INPUT = "-"
AUTO = "auto"

TableRow: TypeAlias = "tuple[int, dict[str, Any]]"
"""Line (or row) number from 1, and all values by their columns."""

_SUFFIXES = {
    "csv": (".csv",),
    "tsv": (".tsv",),
    "jsonl": (".jsonl", ".json"),
    "parquet": (".parquet",),
    "text": (".txt",),
}
"""By format, the endings of its files."""

_OPTIONS = (
    ("data.text=[...] and data.label=...", "text=[...]"),
    ("data.quotes", "quotes"),
    ("another data.dir", "another input"),
)
"""What readers call options of a training, and their names where there is only one file."""


@dataclass(frozen=True)
class TextTable:
    """A file of rows.

    Attributes:
        name: For messages.
        format: A key of `_SUFFIXES`.
        path: Where it is read from; its ending is that of the format.
        columns: The columns that each row must have. For plain text, the name of the only one.
        quotes: What quotes in CSV and TSV files are, see `delimited.dialect_of`.
        guessed: Whether the format comes from the first line of standard input.
    """

    name: str
    format: str
    path: Path
    columns: tuple[str, ...]
    quotes: str
    guessed: bool = False

    def rows(self) -> Iterator[TableRow]:
        """All rows, from the first; can be called again.

        Raises:
            UserError: if the file cannot be read, or a row lacks a column; names the line.
        """
        try:
            yield from _READERS[self.format](self)
        except UserError as error:
            raise UserError(self._as_typed(str(error))) from error

    @property
    def notes(self) -> list[str]:
        """What a user should know of how the rows are read. For after `rows`."""
        if self.format != "text":
            return [self._as_typed(note) for note in (self.reader.notes if self.format in ("csv", "tsv") else ())]
        return [f"{self.name}: each line is a text (input_format=csv if it is a table)"] if self.guessed else []

    @cached_property
    def reader(self) -> Reader:
        """The reader of a table with a header. It is kept, since it may read a CSV file to see what its quotes mean."""
        return reader_of(self.path, self.quotes)

    def _as_typed(self, text: str) -> str:
        """A message that names the file and the options as the user typed them."""
        for before, after in ((str(self.path), self.name), (self.path.name, self.name), *_OPTIONS):
            text = text.replace(before, after)
        return text


@contextmanager
def open_table(source: str, columns: Sequence[str], *, format: str = AUTO, quotes: str = AUTO) -> Iterator[TextTable]:
    """The table of a file. Standard input is copied to a temporary file, since a table is read more than once.

    Args:
        source: A file, or "-" for standard input.
        columns: The columns that each row must have.
        format: csv, tsv, jsonl, parquet, text, or auto: by the file's ending. Standard input has none: its first line
            is an object of JSON, or has the names of the columns, or is plain text.
        quotes: As in `TextTable`.

    Raises:
        UserError: if there is no such file, or it is not clear how to read it.
    """
    with writing("a temporary file", "TMPDIR=FOLDER"):
        temporary = tempfile.TemporaryDirectory(prefix="plm-supernet-")
    with temporary as folder:
        if source == STANDARD_INPUT:
            name, file = "standard input", Path(folder) / "input"
            with writing("a temporary file with standard input", "TMPDIR=FOLDER"), file.open("wb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
            found = _format_of_first_line(file, columns) if format == AUTO else format
        else:
            name, file = source, user_path(source).absolute()
            if not os.path.isfile(file):
                raise UserError(f"input={source}: there is no such file; give a file of texts, or - for standard input")
            found = _format_of_ending(file) if format == AUTO else format
        if found == "text" and len(columns) != 1:
            names = ", ".join(columns)
            raise UserError(f"{name} is read as plain text, but a row has {len(columns)} texts; give a table: {names}")
        path = Path(folder) / f"table{_SUFFIXES[found][0]}"  # readers go by a file's ending
        path.symlink_to(file)
        yield TextTable(name, found, path, tuple(columns), quotes, source == STANDARD_INPUT and format == AUTO)


def _format_of_ending(file: Path) -> str:
    suffix = file.suffix.lower()
    known = {ending: format for format, endings in _SUFFIXES.items() for ending in endings}
    if suffix not in known:
        raise UserError(
            f"{file} ends with none of {', '.join(known)}; say how to read it: input_format={'|'.join(_SUFFIXES)}"
        )
    return known[suffix]


def _format_of_first_line(file: Path, columns: Sequence[str]) -> str:
    try:
        first = next(lines(file), "").strip()
    except UserError:  # `TextTable.rows` reports it
        return "text"
    if first.startswith("{"):
        return "jsonl"
    headers = [next(csv.reader([first], delimiter=delimiter), []) for delimiter in DELIMITERS]
    return "csv" if any({*columns} <= {name.strip() for name in header} for header in headers) else "text"


def _table_rows(table: TextTable) -> Iterator[TableRow]:
    names = table.reader.columns()
    check_columns(table.columns, names, str(table.path))
    return ((number, dict(zip(names, values, strict=True))) for number, values in table.reader.records(names))


def _objects(table: TextTable) -> Iterator[TableRow]:
    for number, row in json_objects(table.path):
        check_columns(table.columns, row, f"{table.path}:{number}")
        yield number, row


def _text_lines(table: TextTable) -> Iterator[TableRow]:
    for number, line in enumerate(lines(table.path), start=1):
        yield number, {table.columns[0]: line.rstrip("\r\n")}


_READERS: Mapping[str, Callable[[TextTable], Iterator[TableRow]]] = {
    "csv": _table_rows,
    "tsv": _table_rows,
    "jsonl": _objects,
    "parquet": _table_rows,
    "text": _text_lines,
}
