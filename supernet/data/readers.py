"""Readers of data files: JSON Lines, CSV, TSV and Parquet, as an iterator of records of the wanted columns.

An error message about a file names the file and the line.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from supernet.data.delimited import Dialect, dialect_of, lines
from supernet.runtime.errors import UserError, first_line

PARQUET_ROWS = 4096
"""Rows of a Parquet file in memory at a time."""

_ONE_PER_LINE = "one object per line is needed (pandas: to_json(orient='records', lines=True))"

Record: TypeAlias = "tuple[int, Sequence[Any]]"
"""Line (or row) number from 1, and the values of the wanted columns: the texts, the choices, then the label."""


def shown(value: object) -> str:
    """A value for an error message, cut short."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listing(names: Iterable[str], most: int = 12) -> str:
    """Names of columns or classes in one line. Long names are cut short; names beyond `most` are counted only."""
    short = [" ".join(name.split()) or "''" for name in names]
    shown_names = [name if len(name) <= 40 else f"{name[:37]}..." for name in short[:most]]
    more = f" and {len(short) - most} more" if len(short) > most else ""
    return (", ".join(shown_names) or "none") + more


def numbered(values: Iterable[Sequence[Any]]) -> Iterator[Record]:
    """Rows with their numbers from 1."""
    return enumerate(values, start=1)


def check_columns(wanted: Sequence[str], present: Iterable[str], where: str) -> None:
    """Raises a UserError unless each wanted column is there exactly once; `where` is the file, or file:line."""
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


def _read_json_lines(file: Path, wanted: Sequence[str]) -> Iterator[Record]:
    for number, record in json_objects(file):
        if any(column not in record for column in wanted):
            check_columns(wanted, record, f"{file}:{number}")
        yield number, [record[column] for column in wanted]


def json_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line that is not empty."""
    for number, line in enumerate(lines(file), start=1):
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


def read_table(file: Path, wanted: Sequence[str], dialect: Dialect) -> Iterator[Record]:
    """The wanted columns of a CSV or TSV file, whose first row names the columns; empty lines are skipped."""
    rows = dialect.records(file)
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


def table_columns(file: Path, dialect: Dialect) -> list[str]:
    """Names of a CSV or TSV file's columns; none if the file is empty."""
    return next(filter(any, (_names(row) for _, row in dialect.records(file))), [])


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
        raise UserError(f"{file} cannot be read as Parquet ({first_line(e)}); write it again") from None


def arrow_rows(table: Any, wanted: Sequence[str]) -> Iterator[Sequence[Any]]:
    """Rows of a pyarrow Table or RecordBatch."""
    return zip(*(table.column(name).to_pylist() for name in wanted), strict=True)


def _parquet_columns(file: Path) -> list[str]:
    with _parquet(file) as parquet:
        return list(parquet.schema_arrow.names)


def _json_columns(file: Path) -> list[str]:
    return list(next(json_objects(file), (0, {}))[1])


@dataclass(frozen=True)
class Reader:
    """How a file of one format is read.

    Attributes:
        columns: Names of the columns (JSON Lines: of the first object); empty if the file is empty.
        records: The values of the wanted columns, row by row.
        notes: What a reader of the table should know of the file.
    """

    columns: Callable[[], list[str]]
    records: Callable[[Sequence[str]], Iterator[Record]]
    notes: tuple[str, ...] = ()


SUFFIXES = (".jsonl", ".json", ".tsv", ".csv", ".parquet")
"""Endings of the files that can be read."""


def reader_of(file: Path, quotes: str = "auto") -> Reader:
    """The reader of a file, by its ending.

    Args:
        file: Ends with one of `SUFFIXES`.
        quotes: What quotes in CSV and TSV files are, see `delimited.dialect_of`.

    Raises:
        UserError: if it is not clear how a CSV or TSV file is written.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return Reader(partial(_parquet_columns, file), partial(_read_parquet, file))
    if suffix in (".csv", ".tsv"):
        dialect = dialect_of(file, quotes)
        records = partial(read_table, file, dialect=dialect)
        return Reader(partial(table_columns, file, dialect), records, tuple(dialect.notes(file)))
    return Reader(partial(_json_columns, file), partial(_read_json_lines, file))
