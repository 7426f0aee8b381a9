"""Rows as text: checked row by row and stored column by column, each text once.

An error message about a row names the file and the line.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from supernet.data.classes import LabelCounts
from supernet.data.readers import shown
from supernet.data.sources import Shard
from supernet.options.labels import is_missing, label_name
from supernet.options.task import Task, TaskSpec
from supernet.runtime.errors import UserError


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Rows as text.

    Attributes:
        columns: One or two lists of n texts, then a list for each choice.
        labels: n labels, of the type `Labels.dtype` of the task's kind.
    """

    columns: tuple[list[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: Sequence[int]) -> TextSplit:
        """The rows with these numbers, in this order; the texts themselves are not copied."""
        columns = tuple([column[i] for i in numbers] for column in self.columns)
        return TextSplit(columns, self.labels[np.asarray(numbers, np.int64)])

    def keys(self) -> np.ndarray:
        """(n,) int64. A number for each row's texts, the same for the same texts, in this process."""
        texts = self.columns[0] if len(self.columns) == 1 else zip(*self.columns, strict=True)
        return np.fromiter(map(hash, texts), np.int64, len(self))


def shared_texts(train: TextSplit, validation: TextSplit, test: TextSplit) -> list[str]:
    """Notes on how many rows have the same text as a training row; test rows also as a validation row."""
    learnt, chosen_by, tested = train.keys(), validation.keys(), test.keys()
    notes = []
    for name, keys, seen, source in (
        ("validation", chosen_by, learnt, "training"),
        ("test", tested, np.concatenate([learnt, chosen_by]), "training or validation"),
    ):
        if count := _count_seen(keys, seen):
            same = f"{count} of {len(keys)} {name} rows have the same text as a {source} row"
            notes.append(f"{same}, so the error looks smaller than it is")
    return notes


def _count_seen(keys_m: np.ndarray, seen_n: np.ndarray) -> int:
    """How many of the keys are among the seen keys; O((m + n) log n) time, some bytes per row."""
    seen_n = np.sort(seen_n)
    nearest_m = seen_n[np.minimum(np.searchsorted(seen_n, keys_m), len(seen_n) - 1)]
    return int(np.sum(nearest_m == keys_m))


@dataclass(frozen=True, eq=False)
class RawSplit:
    """One split's rows. A label is stored as the position of its name.

    Attributes:
        columns: Lists of n texts.
        codes: (n,) int32. Positions in `labels.names`.
        labels: The distinct labels.
        left_out: Number of rows that were left out, by their ignored label.
        notes: What a reader of the table should know.
    """

    columns: tuple[list[str], ...]
    codes: np.ndarray
    labels: LabelCounts
    left_out: Counter[str | None]
    notes: tuple[str, ...]

    def rows(self, task: Task) -> TextSplit:
        """The rows with label ids or numbers. Raises a UserError if the task has no such label."""
        values = [task.parse_label(name) for name in self.labels.names]
        for name, value, place in zip(self.labels.names, values, self.labels.places, strict=True):
            if value is None:
                raise _bad_label(task, name, place)
        return TextSplit(self.columns, np.array(values, task.labels.dtype)[self.codes])


def gather(task: TaskSpec, parts: Sequence[Shard], ignored: Set[str | None] = frozenset()) -> RawSplit:
    """Checks the records of one split and puts them into columns.

    Each label must be a single name or number, and a label of the task if the task is not open.

    Args:
        task: With its columns.
        parts: Parts of the split.
        ignored: Labels of rows to leave out, as they are written; None for missing labels.

    Raises:
        UserError: if a row cannot be used, or there are no rows.
    """
    whole = None if task.is_open else task.resolve()
    columns: tuple[list[str], ...] = tuple([] for _ in (*task.text, *task.choices))
    codes: array[int] = array("i")
    code_of: dict[str, int] = {}
    places: list[str] = []
    left_out: Counter[str | None] = Counter()
    notes: list[str] = []
    for part in parts:
        before = left_out.total()
        for number, texts, label in _data_rows(task, part, notes):
            name = label_name(label)
            if ignored and name in ignored and (name is not None or is_missing(label)):
                left_out[name] += 1
                continue
            if name not in code_of:
                if name is None or (whole is not None and whole.parse_label(name) is None):
                    raise _bad_label(task, label, f"{part.name}:{number}")
                code_of[name] = len(code_of)
                places.append(f"{part.name}:{number}")
            codes.append(code_of[name])
            for column, text in zip(
                columns, checked_texts(task.text, task.choices, texts, part.name, number), strict=True
            ):
                column.append(text)
        if count := left_out.total() - before:
            notes.append(f"{count} rows of {part.short} are left out for their labels (data.ignore_labels)")
    if not codes:
        names, wanted = ", ".join(part.name for part in parts), ", ".join(task.columns)
        ignoring = f" besides those that data.ignore_labels leaves out ({left_out.total()})" if left_out else ""
        raise UserError(f"{names}: no rows{ignoring}; give a file with rows of the columns {wanted}")
    numbers = np.frombuffer(codes, np.int32)
    labels = LabelCounts(tuple(code_of), np.bincount(numbers).tolist(), places)
    return RawSplit(columns, numbers, labels, left_out, tuple(notes))


def _data_rows(task: TaskSpec, part: Shard, notes: list[str]) -> Iterator[tuple[int, list[Any], object]]:
    """Number, texts and label of each row. Repeated headers, as in joined files, are skipped and noted.

    Raises:
        UserError: if the columns are named again in another order.
    """
    classes, names = _classes_by_id(task, part), [_plain(name) for name in task.columns]
    headers: list[int] = []
    for number, values in part.records(task.columns):
        *texts, label = values
        if isinstance(label, str) and _plain(label) in names and _is_header(names, values, f"{part.name}:{number}"):
            headers.append(number)
            continue
        yield number, texts, classes[label] if isinstance(label, int) and 0 <= label < len(classes) else label
    if headers:
        notes.append(f"{part.short}:{headers[0]}: {len(headers)} line(s) name the columns again and are left out")


def _is_header(names: list[str], values: Sequence[object], place: str) -> bool:
    """Whether a row repeats the names of the columns. Raises a UserError if their order is another."""
    row = [_plain(str(value)) for value in values]
    if row != names and sorted(row) == sorted(names):
        raise UserError(f"{place}: the columns are named again, in another order; split the file here into two")
    return row == names


def _plain(name: str) -> str:
    """A column's name in lower case, without blanks around it and without a byte order mark."""
    return name.strip().removeprefix("\ufeff").strip().lower()


def _classes_by_id(task: TaskSpec, part: Shard) -> tuple[str, ...]:
    """The names that the source gives to the ids in the label's column; empty if the task has other classes.

    An id is then replaced by its name before anything reads it: the names may be numbers themselves.
    """
    kind = task.known_kind
    named = part.classes(task.label_column) if kind is None or kind.has_classes else ()
    return named if not task.classes or set(task.classes) == set(named) else ()


def _bad_label(task: TaskSpec, label: object, place: str) -> UserError:
    where = f"{place}: label {shown(label)} in column '{task.label}'"
    if not task.is_open:
        allowed = task.resolve().allowed_labels
        return UserError(f"{where} is not allowed; task '{task.name}' takes {allowed}{_way_out(task, label)}")
    if is_missing(label):
        return UserError(
            f"{place}: no label in column '{task.label}'; fill it in or remove the row{_way_out(task, label)}"
        )
    return UserError(f"{where} must be a single name or number")


def _way_out(task: TaskSpec, label: object) -> str:
    """What to do about a label that the task does not have."""
    name, kind = label_name(label), task.known_kind
    if name is not None and kind is not None and (advice := kind.labels.advice(task, name)):
        return f"; {advice}"
    if name is None and not is_missing(label):
        return ""
    short = "null" if name is None else shown(name).strip("'")
    return f"; data.ignore_labels=[{short}] leaves such rows out"


def checked_texts(text: Sequence[str], choices: Sequence[str], texts: list[Any], source: str, number: int) -> list[str]:
    """The texts of a row. A missing text is empty, as in CSV. One of two may be empty, as in some rows of QQP.

    Args:
        text: Columns of the first texts: one or two.
        choices: Columns of the other texts: the choices.
        texts: Values of these columns. It is changed and returned.
        source: File, for messages.
        number: Line, for messages.

    Raises:
        UserError: if a value is no text, or the first texts are all empty.
    """
    for i, value in enumerate(texts):
        if isinstance(value, str) and value.isascii():
            continue
        if (wrong := _no_text(value)) is not None:
            raise UserError(f"{source}:{number}: column '{[*text, *choices][i]}' holds {wrong}")
        texts[i] = value if isinstance(value, str) else ""
    if not any(value.strip() for value in texts[: len(text)]):
        raise UserError(f"{source}:{number}: no text in column {', '.join(text)}; remove the row or fill it")
    return texts


def _no_text(value: object) -> str | None:
    """What a value is instead of text; None if it is text or missing."""
    if not isinstance(value, str):
        return None if is_missing(value) else f"{shown(value)}; it must hold text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "half a surrogate pair, not text"
    return None
