"""What the user's own data is: which columns, which kind of task, which classes.

A task may leave these open (`Task.is_open`). They are found in the training rows, said in notes for the table that is
shown before training, and the task without gaps is what everything after works with and what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from supernet.errors import UserError
from supernet.readers import check_columns, listing
from supernet.tasks import Task, number_name, parse_number

LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "topic", "score", "sentiment", "rating", "stars", "intent",
    "y", "gold", "gold_label", "label_id", "class_id", "class_name", "label_name", "label_text", "emotion", "grade",
    "is_spam", "spam", "answer", "tag", "genre",
)  # fmt: skip
"""What a label's column is usually called; one of these is taken without being asked for."""
TEXT_NAMES = (
    "text", "texts", "sentence", "review", "body", "content", "document", "message", "comment", "question", "tweet",
    "title", "description", "utterance", "query",
)  # fmt: skip
"""What a text's column is usually called; only looked at where the label's column has no usual name."""
INDEX_NAMES = ("", "id", "idx", "index", "guid", "uid", "uuid", "row_id", "unnamed: 0")
"""Columns that number the rows, which are neither text nor label unless they are asked for."""
MAX_CLASSES = 1000
FEW_ROWS = 10
"""With fewer, classes that cannot be learnt are for want of rows rather than the wrong column."""
WIDE_RANGE = 20.0
"""Beyond this size the labels of a regression are far from what a new classifier predicts."""


@dataclass(frozen=True)
class LabelsFound:
    """The distinct labels of a split, in the order in which they came.

    Attributes:
        names: Of the labels, as `tasks.label_name` gives them.
        counts: Rows of each.
        places: Where each was first seen, "file:line".
    """

    names: Sequence[str]
    counts: Sequence[int]
    places: Sequence[str]

    @property
    def rows(self) -> int:
        return sum(self.counts)


def find_columns(task: Task, columns: Sequence[str], where: str) -> tuple[Task, list[str]]:
    """The task with its text and label columns, and notes on how they were found.

    Args:
        columns: Of the training rows.
        where: The file, for messages.

    Raises:
        UserError: if it is not clear which columns are meant; lists them and says what to give.
    """
    check_columns(task.columns, columns, where)
    present = [name for name in columns if name not in task.choices]
    label, how_label = (task.label, "") if task.label is not None else _label_column(task, present, where)
    rest = [name for name in present if name != label and name.lower() not in INDEX_NAMES]
    if task.text:
        return replace(task, label=label), [how_label] if how_label else []
    if len(rest) != 1:
        reason = f"besides the label '{label}' there are {len(rest)}" if rest else f"there is only the label '{label}'"
        raise _unclear(columns, where, f"which is the text? {reason}; say data.text=COLUMN or data.text=[FIRST,SECOND]")
    notes = [how_label] if how_label else []
    return replace(task, label=label, text=(rest[0],)), [*notes, f"text is column '{rest[0]}', the only other one"]


def _label_column(task: Task, columns: Sequence[str], where: str) -> tuple[str, str]:
    candidates = [name for name in columns if name not in task.text]
    named = [name for name in candidates if name.strip().lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0], f"label is column '{named[0]}', by its name"
    others = [name for name in candidates if name.lower() not in INDEX_NAMES]
    if not named and task.text and len(others) == 1:
        return others[0], f"label is column '{others[0]}', the only other one"
    unusual = [name for name in others if name.strip().lower() not in TEXT_NAMES]
    if not named and len(others) == 2 and len(unusual) == 1:
        return unusual[0], f"label is column '{unusual[0]}', as the other one is called '{_other(others, unusual[0])}'"
    doubt = f"{' and '.join(repr(name) for name in named)} may be the label" if named else "none has a usual name"
    raise _unclear(columns, where, f"which is the label? {doubt}; say data.label=COLUMN")


def _other(names: Sequence[str], name: str) -> str:
    return next(other for other in names if other != name)


def _unclear(columns: Sequence[str], where: str, question: str) -> UserError:
    return UserError(
        f"{where} has the columns {listing(columns)}: {question}"
        " (the first line of a CSV or TSV file must name the columns)"
    )


def find_labels(
    task: Task, train: LabelsFound, others: Sequence[LabelsFound], given: tuple[str, ...]
) -> tuple[Task, list[str]]:
    """The task with its kind, and its classes or label range, and notes on how they were found.

    Args:
        task: With its columns.
        train: Labels of the training rows, which say what the classes are.
        others: Of the other splits; the label range has to hold for them too.
        given: Class names that the source itself has for the label's column, or none.

    Raises:
        UserError: if the labels describe no task.
    """
    numbers = [number for name in train.names if (number := parse_number(name)) is not None]
    numeric = len(numbers) == len(train.names)
    notes = []
    if task.kind == "auto":
        fractions = numeric and not given and any(number != int(number) for number in numbers)
        task = replace(task, kind="regression" if fractions else "classification")
        if fractions:
            notes.append("labels are numbers with fractions: a regression (task.kind=classification for classes)")
    if task.is_regression:
        low, high = _range(task, [train, *others])
        if max(abs(low), abs(high)) > WIDE_RANGE:
            notes.append(f"labels from {low:g} to {high:g} learn slowly: scale them to lie within about -5 to 5")
        return replace(task, label_range=(low, high)), notes
    if given:
        return replace(task, classes=given), [*notes, "class names are those of the data set"]
    counts = _class_counts(train, numeric=numeric)
    _check_classes(counts, train.rows, str(task.label))
    names = sorted(counts, key=lambda name: (parse_number(name) or 0) if numeric else (name.lower(), name))
    return replace(task, classes=tuple(names), label_ids=False), [*notes, *_class_notes(task, names, counts)]


def _range(task: Task, splits: Sequence[LabelsFound]) -> tuple[float, float]:
    """The smallest and the largest label of a regression."""
    values = []
    for labels in splits:
        for name, place in zip(labels.names, labels.places, strict=True):
            if (number := parse_number(name)) is None:
                raise UserError(
                    f"{place}: label '{name}' in column '{task.label}' is not a number, which task.kind=regression"
                    " needs; give data.label=COLUMN of numbers, or task.kind=classification"
                )
            values.append(float(number))
    if min(values) == max(values):
        raise UserError(
            f"column '{task.label}' has the label {min(values):g} in every row, so there is nothing to learn;"
            " name the right column with data.label=COLUMN"
        )
    return min(values), max(values)


def _class_counts(labels: LabelsFound, *, numeric: bool) -> dict[str, int]:
    """Rows of each class; 1, 1.0 and 01 are one class if all labels are numbers."""
    counts: dict[str, int] = {}
    for name, count in zip(labels.names, labels.counts, strict=True):
        number = parse_number(name) if numeric else None
        whole = name if number is None else number_name(number)
        counts[whole] = counts.get(whole, 0) + count
    return counts


def _check_classes(counts: Mapping[str, int], rows: int, column: str) -> None:
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
        limit = f"at most {MAX_CLASSES} classes, with two rows each on average, can be learnt"
        raise UserError(
            f"column '{column}' has {len(counts)} different labels in {rows} rows ({listing(list(counts), 4)}): is it"
            f" the right column? {limit}; name another with data.label=COLUMN, or for numbers say task.kind=regression"
        )


def _class_notes(task: Task, names: Sequence[str], counts: Mapping[str, int]) -> list[str]:
    notes = []
    if single := [name for name, count in counts.items() if count == 1]:
        notes.append(f"with a single row, which cannot be both learnt and tested: {listing(single)}")
    lower: dict[str, list[str]] = {}
    for name in names:
        lower.setdefault(name.lower(), []).append(name)
    if alike := [name for same in lower.values() if len(same) > 1 for name in same]:
        notes.append(f"classes that differ in capital letters only: {listing(alike)}")
    if task.metric == "f1":
        notes.append(f"F1 is that of class '{names[-1]}' (task.classes=[OTHER,THIS] to change it)")
    return notes
