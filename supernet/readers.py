"""Readers of data files: JSON Lines, CSV, TSV and Parquet, as records of the wanted columns, one after the other.

Every mistake in a file is told with its name and line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from supernet.errors import UserError, first_line

MAX_FIELD = 2**30
"""Characters of a CSV field; the csv module's own limit is 2**17, which a long document exceeds."""

Record: TypeAlias = "tuple[int, Sequence[Any]]"
"""Line (or row) number from 1, and the values of the wanted columns: the texts, then the label."""


def shown(value: object) -> str:
    """A value for an error message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def numbered(values: Iterable[Sequence[Any]]) -> Iterator[Record]:
    """Rows with their numbers from 1."""
    return enumerate(values, start=1)


def check_columns(wanted: Sequence[str], present: Iterable[str], where: str) -> None:
    """Raises a UserError if a wanted column is not present; `where` is the file, and the line if there is one."""
    present = list(present)
    for column in wanted:
        if column not in present:
            raise UserError(
                f"{where}: column '{column}' is missing; there are: {', '.join(present).strip() or 'none'};"
                " name the file's columns with task.text=[...] and task.label=..."
            )


def _lines(file: Path) -> Iterator[str]:
    """Lines as text. Split at line feeds only: JSON strings may hold other separators."""
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        byte = f"byte 0x{e.object[e.start]:02x}"
        raise UserError(f"{file}:{number}: {byte} is not UTF-8; convert the file to UTF-8") from None
    except OSError as e:
        raise UserError(f"{file} cannot be read ({e.strerror}); check the file or give another data.dir") from None


def _read_json_lines(file: Path, wanted: Sequence[str]) -> Iterator[Record]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as e:
            reason = getattr(e, "msg", type(e).__name__)
            reason = "the beginning of an array?" if line.strip() == "[" else reason
            raise UserError(f"{file}:{number}: not valid JSON ({reason}); one object per line is needed") from None
        if not isinstance(record, dict):
            raise UserError(f"{file}:{number}: {shown(record)} is not a JSON object; one object per line is needed")
        if any(column not in record for column in wanted):
            check_columns(wanted, record, f"{file}:{number}")
        yield number, [record[column] for column in wanted]


def _read_csv(file: Path, wanted: Sequence[str], delimiter: str = ",") -> Iterator[Record]:
    csv.field_size_limit(MAX_FIELD)
    # Strict: otherwise a quote that is never closed would silently swallow the rest of the file.
    reader = csv.reader(_lines(file), delimiter=delimiter, strict=True)
    try:
        yield from _table(file, wanted, ((reader.line_num, row) for row in reader))
    except csv.Error as e:
        raise UserError(f"{file}:{reader.line_num}: not valid CSV ({e}); double the quotes inside of quotes") from None


def _read_tsv(file: Path, wanted: Sequence[str]) -> Iterator[Record]:
    if not _quotes_are_literal(file):
        return _read_csv(file, wanted, delimiter="\t")
    rows = ((number, _literal_fields(line)) for number, line in enumerate(_lines(file), start=1))
    return _table(file, wanted, rows)


def _table(file: Path, wanted: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
    """The wanted columns of rows whose first one names the columns; empty lines are skipped."""
    header: list[str] = next(rows, (0, []))[1]
    if not header:
        return
    check_columns(wanted, header, f"{file}:1")
    places = [header.index(column) for column in wanted]
    for number, row in rows:
        if not row or row == [""]:
            continue
        if len(row) != len(header):
            raise UserError(f"{file}:{number}: {len(row)} fields where the header has {len(header)}; correct the line")
        yield number, [row[place] for place in places]


def _literal_fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _quotes_are_literal(file: Path) -> bool:
    """Whether quotes in a TSV file are ordinary characters, as in GLUE's own files.

    So it is if reading them as quotes fails or gives rows of a wrong length; or if some quoted field runs over lines
    although every single line is a complete row by itself.
    """
    reader = csv.reader(_lines(file), delimiter="\t", strict=True)
    records = width = 0
    try:
        for records, row in enumerate(reader, start=1):  # noqa: B007 (their number is needed below)
            width = width or len(row)
            if row and len(row) != width:
                return True
    except csv.Error:
        return True
    if records == reader.line_num:
        return False
    rows = map(_literal_fields, _lines(file))
    return all(len(row) == width or row == [""] for row in rows)


def _read_parquet(file: Path, wanted: Sequence[str]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            check_columns(wanted, parquet.schema_arrow.names, str(file))
            batches = (table for table in parquet.iter_batches(columns=list(wanted)))
            yield from numbered(row for batch in batches for row in arrow_rows(batch, wanted))
    except (pyarrow.ArrowException, OSError) as e:
        raise UserError(f"{file} cannot be read as Parquet ({first_line(e)}); write it anew") from None


def arrow_rows(table: Any, wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Rows of a pyarrow Table or RecordBatch."""
    return zip(*(table.column(name).to_pylist() for name in wanted), strict=True)


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[Record]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""Reader by file ending."""
