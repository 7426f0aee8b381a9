"""Readers of data files: JSON Lines, CSV, TSV and Parquet, as records of the wanted columns, one after the other.

Every mistake in a file is told with its name and line.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from supernet.errors import UserError, first_line

csv.field_size_limit(2**30)  # characters; the module's own limit is 2**17, which a long document exceeds
DELIMITERS = (",", ";", "\t", "|")
"""What may separate the columns of a CSV file, in order of preference."""
PARQUET_ROWS = 4096
"""Rows of a Parquet file in memory at a time."""

_CSV_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ONE_PER_LINE = "one object per line is needed (pandas: to_json(orient='records', lines=True))"

Record: TypeAlias = "tuple[int, Sequence[Any]]"
"""Line (or row) number from 1, and the values of the wanted columns: the texts, the choices, then the label."""


def shown(value: object) -> str:
    """A value for an error message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listing(names: Iterable[str], most: int = 12) -> str:
    """Names of columns or classes in one line; many are counted, and those that are whole texts are cut short."""
    short = [" ".join(name.split()) or "''" for name in names]
    shown_names = [name if len(name) <= 40 else f"{name[:37]}..." for name in short[:most]]
    more = f" and {len(short) - most} more" if len(short) > most else ""
    return (", ".join(shown_names) or "none") + more


def numbered(values: Iterable[Sequence[Any]]) -> Iterator[Record]:
    """Rows with their numbers from 1."""
    return enumerate(values, start=1)


def check_columns(wanted: Sequence[str], present: Iterable[str], where: str) -> None:
    """Raises a UserError if a wanted column is not there once; `where` is the file, with the line if there is one."""
    present = [str(name) for name in present]
    for column in wanted:
        if column not in present:
            near = difflib.get_close_matches(column.lower(), [name.lower() for name in present], n=1, cutoff=0.6)
            hint = next((f" (did you mean '{name}'?)" for name in present if near and name.lower() == near[0]), "")
            raise UserError(
                f"{where}: column '{column}' is missing; there are: {listing(present)};"
                f" name the file's columns with data.text=[...] and data.label=...{hint}"
            )
        if present.count(column) > 1:
            raise UserError(f"{where}: there are {present.count(column)} columns '{column}'; rename all but one")


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
    for number, record in _json_objects(file):
        if any(column not in record for column in wanted):
            check_columns(wanted, record, f"{file}:{number}")
        yield number, [record[column] for column in wanted]


def _json_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line that is not empty."""
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as e:
            reason = getattr(e, "msg", type(e).__name__)
            if line.strip() == "[":
                raise UserError(f"{file}:{number}: this is one JSON array; {_ONE_PER_LINE}") from None
            raise UserError(f"{file}:{number}: not valid JSON ({reason}); one object per line is needed") from None
        if not isinstance(record, dict):
            raise UserError(f"{file}:{number}: {shown(record)} is not a JSON object; {_ONE_PER_LINE}")
        yield number, record


def _read_csv(file: Path, wanted: Sequence[str], delimiter: str | None = None) -> Iterator[Record]:
    delimiter = delimiter_of(file) if delimiter is None else delimiter
    # Strict: otherwise a quote that is never closed would silently swallow the rest of the file.
    reader = csv.reader(_csv_lines(file), delimiter=delimiter, strict=True)
    try:
        yield from _table(file, wanted, ((reader.line_num, row) for row in reader))
    except csv.Error as e:
        raise UserError(f"{file}:{reader.line_num}: not valid CSV ({e}); double the quotes inside of quotes") from None


def _csv_lines(file: Path) -> Iterator[str]:
    """Lines as the csv module wants them, in a file whose lines end with line feeds, carriage returns or both."""
    for line in _lines(file):
        yield from (match[0] for match in _CSV_LINE.finditer(line)) if "\r" in line else (line,)


def _read_tsv(file: Path, wanted: Sequence[str]) -> Iterator[Record]:
    if not _quotes_are_literal(file):
        return _read_csv(file, wanted, delimiter="\t")
    rows = ((number, _literal_fields(line)) for number, line in enumerate(_lines(file), start=1))
    return _table(file, wanted, rows)


def _table(file: Path, wanted: Sequence[str], rows: Iterator[tuple[int, list[str]]]) -> Iterator[Record]:
    """The wanted columns of rows whose first one names the columns; lines without any content are skipped."""
    first, header = next(((number, _names(row)) for number, row in rows if any(_names(row))), (0, []))
    if not header:
        return
    check_columns(wanted, header, f"{file}:{first}")
    places = [header.index(column) for column in wanted]
    for number, row in rows:
        if len(row) != len(header) or not any(row):
            if not any(field.strip() for field in row):
                continue
            raise UserError(f"{file}:{number}: {len(row)} fields where the header has {len(header)}; correct the line")
        yield number, [row[place] for place in places]


def _names(row: Sequence[str]) -> list[str]:
    return [name.strip() for name in row]


def delimiter_of(file: Path) -> str:
    """What separates the columns of a CSV or TSV file: for CSV what divides its first line into the most fields."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    first = next((line for line in _csv_lines(file) if line.strip()), "")
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([first], delimiter=delimiter), [])))


def _literal_fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _quotes_are_literal(file: Path) -> bool:
    """Whether quotes in a TSV file are ordinary characters, as in GLUE's own files.

    So it is if reading them as quotes fails or gives rows of a wrong length; or if some quoted field runs over lines
    although every single line is a complete row by itself.
    """
    reader = csv.reader(_csv_lines(file), delimiter="\t", strict=True)
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
    with _parquet(file) as parquet:
        check_columns(wanted, parquet.schema_arrow.names, str(file))
        batches = parquet.iter_batches(PARQUET_ROWS, columns=list(wanted))
        yield from numbered(row for batch in batches for row in arrow_rows(batch, wanted))


@contextmanager
def _parquet(file: Path) -> Iterator[Any]:
    """An open Parquet file that is read page by page, not a row group (often the whole file) at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError) as e:
        raise UserError(f"{file} cannot be read as Parquet ({first_line(e)}); write it anew") from None


def arrow_rows(table: Any, wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Rows of a pyarrow Table or RecordBatch."""
    return zip(*(table.column(name).to_pylist() for name in wanted), strict=True)


def columns_of(file: Path) -> list[str]:
    """Names of a file's columns, of JSON Lines those of the first object; none if the file is empty.

    Raises:
        UserError: if the file cannot be read as what its name ends with.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        with _parquet(file) as parquet:
            return list(parquet.schema_arrow.names)
    if suffix in (".csv", ".tsv"):
        try:
            rows = map(_names, csv.reader(_csv_lines(file), delimiter=delimiter_of(file), strict=True))
            return next(filter(any, rows), [])
        except csv.Error as e:
            raise UserError(f"{file}:1: not valid CSV ({e}); double the quotes inside of quotes") from None
    return list(next(_json_objects(file), (0, {}))[1])


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[Record]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""Reader by file ending."""
