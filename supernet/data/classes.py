"""What the labels of the user's own data are: classes, and their names, or numbers of a regression.

A task may leave this open (`TaskSpec.is_open`). Then it is inferred from the labels of the rows, and notes in the
summary before training say what was inferred.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from supernet.data.lookalikes import alike_notes
from supernet.data.readers import listing
from supernet.options.kinds import CLASSIFICATION, KINDS, REGRESSION, Kind
from supernet.options.labels import other_writing, parse_number
from supernet.options.task import TaskSpec
from supernet.runtime.errors import UserError

MAX_CLASSES = 1000
FEW_ROWS = 10
"""With fewer rows, too many classes mean that rows are missing, not that the column is wrong."""
WIDE_RANGE = 20.0
"""Larger labels of a regression are far from the predictions of a new classifier."""
NO_LABEL = ("none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nan", "nat", "unlabeled", "unlabelled", "no label")
"""Names that may be a class, but often mean that the label is missing; in lower case."""

_COMMA = re.compile(r"[+-]?\d+,\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_LEADING_ZERO = re.compile(r"[+-]?0\d")


@dataclass(frozen=True)
class LabelCounts:
    """The distinct labels of a split, in the order of their first rows.

    Attributes:
        names: Of the labels, as `labels.label_name` gives them.
        counts: Rows of each.
        places: Where each label comes first, "file:line".
    """

    names: Sequence[str]
    counts: Sequence[int]
    places: Sequence[str]

    @property
    def rows(self) -> int:
        return sum(self.counts)


def infer_labels(
    task: TaskSpec, train: LabelCounts, others: Sequence[LabelCounts], given: tuple[str, ...]
) -> tuple[TaskSpec, list[str]]:
    """The task with its kind, and its classes or label range, and notes on how they were inferred.

    Args:
        task: With its columns.
        train: Labels of the training rows, which say what the classes are.
        others: Labels of the other splits; the label range has to hold for them too.
        given: Class names that the source itself has for the label's column; empty if it has none.

    Raises:
        UserError: if the labels describe no task.
    """
    notes: list[str] = []
    kind = task.known_kind
    if kind is None:
        task, notes = (task, []) if given else _with_decimal(task, [train, *others])
        name, why = _kind(task, train, given)
        task, notes, kind = replace(task, kind=name), [*notes, *why], KINDS[name]
    task, more = _VALUES[kind.values](task, kind, train, others, given)
    return task.normalised(), [*notes, *more]


def _infer_classes(
    task: TaskSpec, kind: Kind, train: LabelCounts, others: Sequence[LabelCounts], given: tuple[str, ...]
) -> tuple[TaskSpec, list[str]]:
    if given:
        return replace(task, classes=given), ["class names are those of the data set"]
    counts = Counter[str]()
    for name, count in zip(train.names, train.counts, strict=True):
        counts.update(dict.fromkeys(kind.labels.members(name), count))
    _check_classes(counts, train, task.label_column)
    names = _sorted(list(counts))
    return replace(task, classes=tuple(names), label_ids=False), _class_notes(task, names, counts)


def _infer_range(
    task: TaskSpec, kind: Kind, train: LabelCounts, others: Sequence[LabelCounts], given: tuple[str, ...]
) -> tuple[TaskSpec, list[str]]:
    task, notes = _with_decimal(task, [train, *others])
    low, high = _range(task, [train, *others])
    return replace(task, label_range=(low, high)), [*notes, *_number_notes(task, train, low, high)]


_VALUES = {"classes": _infer_classes, "label_range": _infer_range}
"""How to infer the value of a task that says what its labels are."""


def _sorted(names: Sequence[str]) -> list[str]:
    """By number if all are numbers, else by letters in lower case; ties as they are written."""
    numbers = {name: parse_number(name) for name in names}
    if any(number is None for number in numbers.values()):
        return sorted(names, key=lambda name: (name.lower(), name))
    return sorted(names, key=lambda name: (numbers[name] or 0, name))


# Numbers


def _with_decimal(task: TaskSpec, splits: Sequence[LabelCounts]) -> tuple[TaskSpec, list[str]]:
    """The task with decimal commas if its labels have them, and a note."""
    place_of = {name: place for labels in splits for name, place in zip(labels.names, labels.places, strict=True)}
    commas = [name for name in place_of if _COMMA.fullmatch(name)]
    read = (parse_number(name, comma="," in name) for name in place_of)
    if task.decimal == "comma" or not commas or any(number is None for number in read):
        return task, []
    name = commas[0]
    classes = f"task.kind={CLASSIFICATION} if they are classes"
    if points := [other for other in place_of if "." in other]:
        raise UserError(
            f"{place_of[name]}: label '{name}' in column '{task.label}' has a decimal comma, and '{points[0]}'"
            f" ({place_of[points[0]]}) has a decimal point; write all in the same way, or say {classes}"
        )
    if all(map(_THOUSANDS.fullmatch, commas)):
        raise UserError(
            f"{place_of[name]}: label '{name}' in column '{task.label}' may have a decimal comma or a comma"
            " between thousands; say task.decimal=comma for the first, remove the commas for the second, or say"
            f" {classes}"
        )
    number = parse_number(name, comma=True)
    note = f"labels have decimal commas: '{name}' is {number} (task.kind={CLASSIFICATION} for classes)"
    return replace(task, decimal="comma"), [note]


def _kind(task: TaskSpec, train: LabelCounts, given: tuple[str, ...]) -> tuple[str, list[str]]:
    """Regression or classification, and a note if it is not obvious.

    Raises:
        UserError: if the labels are numbers, except some that mean a missing label.
    """
    numbers = {name: task.number(name) for name in train.names}
    words = [name for name, number in numbers.items() if number is None]
    if given or not any(number is not None and number != int(number) for number in numbers.values()):
        return CLASSIFICATION, []
    if words and all(name.lower() in NO_LABEL for name in words):
        raise UserError(
            f"{train.places[train.names.index(words[0])]}: label '{words[0]}' in column '{task.label}' is not a"
            f" number, but other labels are; say data.ignore_labels=[{','.join(words)}] to leave such rows out, or"
            f" task.kind={CLASSIFICATION} if all are classes"
        )
    if words:
        return CLASSIFICATION, []
    if codes := _codes(numbers):
        why = f"labels such as {listing(codes, 4)} are codes, so they are classes (task.kind={REGRESSION} for numbers)"
        return CLASSIFICATION, [why]
    return REGRESSION, [f"labels are numbers with fractions: a regression (task.kind={CLASSIFICATION} for classes)"]


def _codes(numbers: Mapping[str, float | None]) -> list[str]:
    """Labels that are codes, not numbers: with a leading zero, or the same number in two ways, 1.1 and 1.10."""
    if leading := [name for name in numbers if _LEADING_ZERO.match(name)]:
        return leading
    seen: dict[float | None, str] = {}
    for name, number in numbers.items():
        first = seen.setdefault(number, name)
        if number and first not in (name, other_writing(name)):
            return [first, name]
    return []


def _range(task: TaskSpec, splits: Sequence[LabelCounts]) -> tuple[float, float]:
    """The smallest and the largest label of a regression."""
    values = []
    for labels in splits:
        for name, place in zip(labels.names, labels.places, strict=True):
            if (number := task.number(name)) is None:
                raise UserError(
                    f"{place}: label '{name}' in column '{task.label}' is not a number, which task.kind={REGRESSION}"
                    f" needs; give data.label=COLUMN of numbers, or task.kind={CLASSIFICATION}, or leave such rows out"
                    " with data.ignore_labels=[LABEL]"
                )
            values.append(float(number))
    if min(values) == max(values):
        raise UserError(
            f"column '{task.label}' has the label {min(values):g} in every row, so there is nothing to learn;"
            " name the right column with data.label=COLUMN"
        )
    return min(values), max(values)


def _number_notes(task: TaskSpec, train: LabelCounts, low: float, high: float) -> list[str]:
    notes = []
    if max(abs(low), abs(high)) > WIDE_RANGE:
        notes.append(f"labels from {low:g} to {high:g} learn slowly: scale them to lie within about -5 to 5")
    counts = dict(zip(train.names, train.counts, strict=True))
    negative = [name for name in counts if (task.number(name) or 0) < 0]
    if len(negative) == 1 and counts[negative[0]] > 1:
        notes.append(_no_label_note("label", negative[0], counts[negative[0]], train.rows))
    return notes


# Classes


def _check_classes(counts: Mapping[str, int], train: LabelCounts, column: str) -> None:
    for name, place in zip(train.names, train.places, strict=True):
        if name.lower() == "nan":
            raise UserError(
                f"{place}: label '{name}' in column '{column}' may be a class or a missing label;"
                f" say data.ignore_labels=[nan] to leave such rows out, or name all classes: task.classes=[...,{name}]"
            )
    rows = train.rows
    scattered = len(counts) > MAX_CLASSES or 2 * len(counts) > rows
    if rows < FEW_ROWS and (len(counts) == 1 or scattered):
        raise UserError(
            f"{rows} training row(s) with {len(counts)} different label(s) in column '{column}' are too few to learn"
            " from; give two or more rows of each of two or more classes"
        )
    if len(counts) == 1:
        raise UserError(
            f"column '{column}' has the label '{next(iter(counts))}' in all {rows} rows; two or more classes are"
            " needed: name the right column with data.label=COLUMN"
        )
    if scattered:
        limit = f"at most {MAX_CLASSES} classes, with two rows each on average, are possible"
        raise UserError(
            f"column '{column}' has {len(counts)} different labels in {rows} rows ({listing(list(counts), 4)}): is it"
            f" the right column? {limit}; name another with data.label=COLUMN, or for numbers say"
            f" task.kind={REGRESSION}"
        )


def _class_notes(task: TaskSpec, names: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    notes = []
    if single := [name for name, count in counts.items() if count == 1]:
        notes.append(f"classes with a single row, which is used either to train or to evaluate: {listing(single)}")
    notes += alike_notes(names)
    missing = [name for name in names if name.lower() in NO_LABEL] + _lone_negative(counts)
    notes += [_no_label_note("class", name, counts[name], sum(counts.values())) for name in missing]
    if task.metric == "f1":
        notes.append(f"F1 is computed for class '{names[-1]}' (task.classes=[OTHER,THIS] to change it)")
    return notes


def _lone_negative(counts: Mapping[str, int]) -> list[str]:
    """The only class with a negative number, such as -1, if it is rare or there is no class 1 that matches it."""
    numbers = {name: parse_number(name) for name in counts}
    negative = [name for name, number in numbers.items() if number is not None and number < 0]
    if len(negative) != 1 or None in numbers.values():
        return []
    name = negative[0]
    others = [count for other, count in counts.items() if other != name]
    mirrored = max(number or 0 for number in numbers.values()) == -(numbers[name] or 0)
    return [] if mirrored and 2 * counts[name] >= min(others) else [name]


def _no_label_note(what: str, name: str, count: int, rows: int) -> str:
    return (
        f"{what} '{name}' ({count} of {rows} training rows) may mean that there is no label:"
        f" data.ignore_labels=[{name}] leaves such rows out"
    )
