"""Rows as text, checked one by one and kept column by column, each text once.

Every mistake in a row is told with its file and line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from supernet.custom import LabelsFound
from supernet.errors import UserError
from supernet.readers import shown
from supernet.sources import Part
from supernet.tasks import Task, label_name


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as text.

    Attributes:
        columns: One or two lists of n texts, then one for each choice.
        labels: (n,) int64 label ids, or float32 for regression.
    """

    columns: tuple[list[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: Sequence[int]) -> Rows:
        """The rows with these numbers, in this order; the texts themselves are not copied."""
        columns = tuple([column[i] for i in numbers] for column in self.columns)
        return Rows(columns, self.labels[np.asarray(numbers, np.int64)])


@dataclass(frozen=True, eq=False)
class Gathered:
    """One split's rows, with labels as numbers of their names.

    Attributes:
        columns: Lists of n texts.
        codes: (n,) int32. Positions in `found.names`.
        found: The distinct labels.
    """

    columns: tuple[list[str], ...]
    codes: np.ndarray
    found: LabelsFound

    def rows(self, task: Task) -> Rows:
        """The rows with label ids or numbers. Raises a UserError if a label is none of the task's."""
        values = [task.parse_label(name) for name in self.found.names]
        for name, value, place in zip(self.found.names, values, self.found.places, strict=True):
            if value is None:
                raise _bad_label(task, name, place)
        return Rows(self.columns, np.array(values, np.float32 if task.is_regression else np.int64)[self.codes])


def gather(task: Task, parts: Iterable[Part]) -> Gathered:
    """Checks the records of one split and puts them into columns. Labels are checked so far as the task is known."""
    columns: tuple[list[str], ...] = tuple([] for _ in (*task.text, *task.choices))
    codes: array[int] = array("i")
    code_of: dict[str, int] = {}
    places: list[str] = []
    names: list[str] = []
    for part in parts:
        names.append(part.name)
        classes = _classes_by_id(task, part)
        for number, values in part.records(task.columns):
            *texts, label = values
            _check_texts(task, texts, part.name, number)
            if isinstance(label, int) and 0 <= label < len(classes):
                label = classes[label]
            name = label_name(label)
            if name not in code_of:
                if name is None or not (task.is_open or task.parse_label(name) is not None):
                    raise _bad_label(task, label, f"{part.name}:{number}")
                code_of[name] = len(code_of)
                places.append(f"{part.name}:{number}")
            codes.append(code_of[name])
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
    if not codes:
        wanted = ", ".join(task.columns)
        raise UserError(f"{', '.join(names)}: no rows; give a file with rows of the columns {wanted}")
    numbers = np.frombuffer(codes, np.int32)
    return Gathered(columns, numbers, LabelsFound(tuple(code_of), np.bincount(numbers).tolist(), places))


def _classes_by_id(task: Task, part: Part) -> tuple[str, ...]:
    """The names that the source gives to the ids in its labels' column, if the task's classes are these; or none.

    An id is then replaced by its name before anything reads it: the names may be numbers themselves.
    """
    named = () if task.is_regression or task.is_choice else part.classes(str(task.label))
    return named if not task.classes or set(task.classes) == set(named) else ()


def _bad_label(task: Task, label: object, place: str) -> UserError:
    if not task.is_open:
        return UserError(
            f"{place}: label {shown(label)} in column '{task.label}' is not allowed;"
            f" task '{task.name}' takes {task.allowed_labels}"
        )
    if label is None or isinstance(label, (str, float)):
        return UserError(f"{place}: no label in column '{task.label}'; fill it in or remove the row")
    return UserError(f"{place}: label {shown(label)} in column '{task.label}' must be one name or number")


def _check_texts(task: Task, texts: Sequence[object], source: str, number: int) -> None:
    """Of two texts one may be empty, as in a few rows of QQP."""
    for name, text in zip((*task.text, *task.choices), texts, strict=True):
        if not isinstance(text, str):
            raise UserError(f"{source}:{number}: column '{name}' holds {shown(text)}, it must hold text")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UserError(f"{source}:{number}: column '{name}' holds half a surrogate pair, not text") from None
    if not any(str(text).strip() for text in texts[: len(task.text)]):
        raise UserError(f"{source}:{number}: no text in column {', '.join(task.text)}; remove the row or fill it")
