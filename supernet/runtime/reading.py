"""Reads JSON files that may be truncated, edited by hand or written by another program.

`read_record` reads a file as a dataclass, `read_lines` each line of a file. This module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from supernet.runtime.errors import UserError
from supernet.runtime.shapes import WrongValue, shaped, shown

T = TypeVar("T")


def read_record(path: Path, kind: type[T], advice: str, *, form: int | None = None, name: str | None = None) -> T:
    """Reads a file as a dataclass.

    Args:
        path: An existing file.
        kind: The dataclass.
        advice: What to do if the file cannot be used, for the end of the message.
        form: The expected value of the key "format"; None if the file has no such key.
        name: Name of the file in messages; None is its path.

    Raises:
        UserError: if the file cannot be used; names the file, the key, the value and what it must be.
    """
    with unusable(name or str(path), advice):
        values = load_json(path)
        if form is not None and isinstance(values, dict) and values.pop("format", None) != form:
            raise WrongValue("it was written by another version of this program")
        return shaped(kind, values)


def read_lines(path: Path, kind: type[T], advice: str) -> Iterator[T]:
    """Reads each line of a JSON Lines file as a dataclass. The file may be missing; an unfinished last line is skipped.

    Raises:
        UserError: if another line cannot be used; names the file and the line.
    """
    if not path.exists():
        return
    with unusable(str(path), advice):
        lines = _content(path).split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        with unusable(f"{path}:{number}", advice):
            row = shaped(kind, _parsed(line))
        yield row


def load_json(path: Path) -> Any:
    """The content of a JSON file, unchecked.

    Raises:
        OSError, ValueError, RecursionError: for `unusable` to turn into one line.
    """
    return _parsed(_content(path))


@contextmanager
def unusable(place: str, advice: str) -> Iterator[None]:
    """Turns errors of reading in the block into a `UserError` that names the place and says what to do."""
    try:
        yield
    except (OSError, ValueError, RecursionError, UserError) as error:
        raise UserError(f"{place} cannot be used ({_why(error)}); {advice}") from error


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is no UTF-8 at byte {error.start}"
    return "it has a number of thousands of digits" if "integer string conversion" in str(error) else str(error)


def _content(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a folder, or a device or pipe that may never end
        raise WrongValue("it is a folder" if path.is_dir() else "it is no file")
    return path.read_bytes()


def _parsed(content: bytes) -> Any:
    return json.loads(content.decode("utf-8"), object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise WrongValue(f"key {shown(twice)} occurs twice")
    return values
