"""CSV and TSV files: what separates their columns, and whether their quotes enclose fields or are part of the texts.

The file itself says neither. If a quote is wrongly taken as the start of a field, it swallows all rows up to the next
quote. If quotes are wrongly taken as text, a field that runs over lines is torn apart. The lines decide; if they do
not show it, the user has to say it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from supernet.options.labels import parse_number
from supernet.runtime.errors import UserError

csv.field_size_limit(2**30)  # characters; the module's own limit is 2**17, which a long document exceeds
DELIMITERS = (",", ";", "\t", "|")
"""What may separate the columns of a CSV file, in order of preference."""
LOOKED_AT = 10
"""Number of rows that show the delimiter; at most a hundred times as many lines are read for them."""

_CSV_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_EXCEL = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # Excel's own first line, which it shows to nobody
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: What separates the columns.
        literal: Whether quotes are ordinary characters, as in GLUE's own files. Otherwise they enclose a field.
        sep_line: Whether the first line is Excel's `sep=;`, which names the delimiter and is not a row.
    """

    delimiter: str
    literal: bool = False
    sep_line: bool = False

    def records(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """Number of the last line and fields of each record. Raises a UserError if its quotes are wrong."""
        if self.literal:
            yield from self.lines(file)
            return
        reader = self.reader(file)
        try:
            yield from ((reader.line_num + self.sep_line, row) for row in reader)
        except csv.Error as e:
            raise UserError(
                f"{file}:{reader.line_num + self.sep_line}: not valid CSV ({e}); double the quotes inside of quotes, or"
                " say data.quotes=literal if quotes are part of the texts"
            ) from None

    def reader(self, file: Path) -> Any:
        """The csv module's reader, for quotes that enclose."""
        # Strict: otherwise a quote that is never closed would silently swallow the rest of the file.
        return csv.reader(islice(csv_lines(file), self.sep_line, None), delimiter=self.delimiter, strict=True)

    def lines(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """Number and fields of each line. Quotes are ordinary characters."""
        # In GLUE's TSV files a lone carriage return is part of a text, unless all lines end with it.
        at_feeds = self.delimiter == "\t" and "\r" not in next(lines(file), "").rstrip("\r\n")
        all_lines = lines(file) if at_feeds else csv_lines(file)
        for number, line in islice(enumerate(all_lines, start=1), self.sep_line, None):
            yield number, line.rstrip("\r\n").split(self.delimiter)

    def rows(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """The lines that are not empty."""
        return ((number, row) for number, row in self.lines(file) if any(value.strip() for value in row))

    def notes(self, file: Path) -> list[str]:
        """What a reader of the table should know about the file."""
        named = _NAMES.get(self.delimiter, repr(self.delimiter))
        separated = self.sep_line or (self.delimiter != "," and file.suffix.lower() == ".csv")
        notes = [f"{file.name}: columns are separated by {named}"] if separated else []
        if self.literal:
            notes.append(f"{file.name}: quotes are part of the texts (data.quotes=csv if they enclose fields)")
        return notes


def lines(file: Path) -> Iterator[str]:
    """Lines as text. Split at line feeds only: JSON strings may hold other separators."""
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if b"\0" in line:
                    raise UserError(
                        f"{file}:{number}: a NUL character is not text; save the file as UTF-8 or repair it"
                    )
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as e:
        byte = f"byte 0x{e.object[e.start]:02x}"
        raise UserError(f"{file}:{number}: {byte} is not UTF-8; convert the file to UTF-8") from None
    except OSError as e:
        raise UserError(f"{file} cannot be read ({e.strerror}); check the file or give another data.dir") from None


def csv_lines(file: Path) -> Iterator[str]:
    """Lines as the csv module wants them, in a file whose lines end with line feeds, carriage returns or both."""
    for line in lines(file):
        if "\r" in line.removesuffix("\n").removesuffix("\r"):
            yield from (match[0] for match in _CSV_LINE.finditer(line))
        else:
            yield line


def dialect_of(file: Path, quotes: str = "auto") -> Dialect:
    """How a file is written.

    Args:
        file: CSV or TSV.
        quotes: csv: they enclose fields. literal: they are text. auto: what the lines show.

    Raises:
        UserError: if the file cannot be read, or the lines do not show what its quotes mean.
    """
    excel = _EXCEL.fullmatch(next(csv_lines(file), ""))
    dialect = Dialect(excel[1] if excel else _delimiter(file), sep_line=excel is not None)
    literal = quotes == "literal" or (quotes == "auto" and _quotes_are_literal(file, dialect))
    return replace(dialect, literal=literal)


def _delimiter(file: Path) -> str:
    """A tab for TSV. For CSV the delimiter that divides the first rows into the most fields, in all equally many.

    If there is no such delimiter, the one that divides the first row into the most fields.
    """
    if file.suffix.lower() == ".tsv":
        return "\t"

    def fields(delimiter: str) -> tuple[bool, int]:
        rows = filter(any, csv.reader(islice(csv_lines(file), 100 * LOOKED_AT), delimiter=delimiter))
        widths = [len(row) for row in islice(rows, LOOKED_AT)] or [0]
        return widths[0] > 1 and len(set(widths)) == 1, widths[0]

    return max(DELIMITERS, key=fields)


def _quotes_are_literal(file: Path, dialect: Dialect) -> bool:
    """Whether quotes are ordinary characters.

    Quotes enclose fields if that gives records of equal length, each on its own line, or if some line alone is not a
    row. Otherwise every line is a row, and enclosing quotes give records of several lines, or an error: see
    `_shown_by_lines`. If a TSV file cannot be read with enclosing quotes, they are literal, as in GLUE.
    """
    valid, joined = _records(file, dialect)
    if valid and not joined:
        return False
    rows = dialect.rows(file)
    _, header = next(rows, (0, []))
    lines_are_rows = all(len(row) == len(header) for _, row in rows)
    if dialect.delimiter == "\t" and not valid:
        return True
    return lines_are_rows and _shown_by_lines(file, dialect, joined if valid else None)


def _records(file: Path, dialect: Dialect) -> tuple[bool, list[range]]:
    """Whether records have equal length if quotes enclose fields; and the line numbers of records of several lines."""
    reader = dialect.reader(file)
    joined, width, last = [], 0, 0
    try:
        for row in reader:
            first, last = last + 1, reader.line_num
            if last > first:
                joined.append(range(first + dialect.sep_line, last + 1 + dialect.sep_line))
            if any(field.strip() for field in row):
                width = width or len(row)
                if len(row) != width:
                    return False, []
    except csv.Error:
        return False, []
    return True, joined


class _Column:
    """A column of a file whose lines are all rows: the values of the lines in doubt, and which of them recur.

    Args:
        records: Which record each line in doubt belongs to, if quotes enclose fields.
        values: The line's value in this column.
    """

    def __init__(self, records: Sequence[int], values: Sequence[str]) -> None:
        self.doubtful = Counter((number, value) for number, value in zip(records, values, strict=True) if value.strip())
        self.wanted = {value for _, value in self.doubtful}
        self.elsewhere: set[str] = set()
        self.numeric = True

    def compare(self, value: str) -> None:
        """Notes a value of another line."""
        if value in self.wanted:
            self.elsewhere.add(value)
        self.numeric = self.numeric and _is_number(value)

    def fitting(self, *, repeated: bool = False) -> int:
        """How many lines in doubt look like the others: with the same value, or a number where others have numbers.

        Args:
            repeated: Whether a value that several lines of one record share fits as well.
        """
        return sum(
            count
            for (_, value), count in self.doubtful.items()
            if value in self.elsewhere or (repeated and count > 1) or (self.numeric and _is_number(value))
        )


def _is_number(value: str) -> bool:
    return parse_number(value.strip()) is not None


def _shown_by_lines(file: Path, dialect: Dialect, joined: list[range] | None) -> bool:
    """Whether quotes are literal in a file where every line could be a row.

    If a pair of stray quotes joins rows, these rows look like all others: the label's column has a value in each of
    them that other rows have too. In a real text of several lines, only its first or its last line can have such a
    value. A field on one line that is enclosed in quotes speaks against literal quotes.

    Args:
        joined: Line numbers of the records of several lines, or None if quotes cannot enclose fields in this file.

    Raises:
        UserError: if the lines do not show it.
    """
    record_of = {number: record for record, numbers in enumerate(joined or ()) for number in numbers}
    doubtful = [(record_of[number], row) for number, row in dialect.rows(file) if number in record_of]
    records = [record for record, _ in doubtful]
    columns = [_Column(records, values) for values in zip(*(row for _, row in doubtful), strict=True)]
    header, *_ = next(dialect.rows(file))
    enclosed = compared = False
    for number, row in dialect.rows(file):
        if number in record_of:
            continue
        enclosed = enclosed or any(len(value) > 1 and value[0] == value[-1] == '"' for value in row)
        if number > header:
            compared = True
            for column, value in zip(columns, row, strict=False):
                column.compare(value)
    if joined is None:
        return not enclosed
    if max((column.fitting(repeated=True) for column in columns), default=0) <= len(joined):
        return False
    all_fit = compared and max(column.fitting() for column in columns) == len(doubtful)
    if dialect.delimiter == "\t" or (all_fit and not enclosed):  # in TSV files quotes are usually literal
        return True
    a, b = joined[0][0], joined[0][-1]
    raise UserError(
        f"{file}:{b}: a quote opens in line {a} and closes in line {b}, but each line in between could be a row; say"
        " data.quotes=literal if quotes are part of the texts, or data.quotes=csv if quotes enclose the texts"
    )
