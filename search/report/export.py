"""Tables for other programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supernet.runtime.files import atomic_path

UNITS = {"ms": "ms", "mb": "MB", "flops": "FLOP"}
"""Units of values, by the last word of their name."""


def heading(name: str, value: Any) -> str:
    """A column's heading: the name in JSON files and, unless it holds text, the unit; [1] is a pure number.

    Args:
        name: Of the column.
        value: One of its values; None if it has none.
    """
    return name if isinstance(value, str | bool) else f"{name} [{UNITS.get(name.rpartition('_')[2], '1')}]"


def write_csv(path: Path, rows: Sequence[dict[str, Any]], *, left_out: Sequence[str] = ()) -> None:
    """Writes rows as CSV, whole or not at all. Values that a row lacks are empty.

    Args:
        path: Of the file.
        rows: Values by name.
        left_out: Names that do not become columns.
    """
    values = {name: value for row in reversed(rows) for name, value in row.items() if value is not None}
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in left_out]
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([heading(name, values.get(name)) for name in names])
        writer.writerows([["" if row.get(name) is None else row[name] for name in names] for row in rows])


def write_text(path: Path, text: str) -> None:
    """Writes a text, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "\n": " ", **{c: "\\" + c for c in "&%$#_{}"},
}  # fmt: skip


def escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in text)
