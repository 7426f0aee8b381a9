"""The kinds of task, a row for each: its metrics, its labels, and the value of the task that says which labels it has.

The torch part of a kind, its head, is a row of `supernet.models.heads`. No other module asks for the kind of a task.
A new kind is a row here and a row there.

This module imports no torch. n rows, C names of labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from supernet.options.labels import other_writing, parse_number

SHOWN_NAMES = 12
"""An error message lists at most this many names of labels."""


class LabelNames(Protocol):
    """What the labels of a task depend on (`supernet.options.task.TaskSpec`)."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the label ids."""

    @property
    def label_range(self) -> tuple[float, float] | None:
        """The smallest and the largest number that is a label."""

    @property
    def label_ids(self) -> bool:
        """Whether a label may be the id of its name."""

    @property
    def decimal(self) -> str:
        """Whether numbers are written with a point or a comma."""


class Labels(ABC):
    """The labels of a kind of task: how to read them, count them, and predict them without reading a text.

    Attributes:
        dtype: Data type of an array of labels.
        trivial: Name of the trivial predictor.
    """

    dtype: ClassVar[type]
    trivial: ClassVar[str]

    def members(self, name: str) -> list[str]:
        """The classes that a label's name stands for: the name itself, unless a label can be several classes."""
        return [name]

    @abstractmethod
    def parse(self, task: LabelNames, name: str) -> Any:
        """The label that a text stands for, as an item of an array; None if the task has no such label."""

    @abstractmethod
    def allowed(self, task: LabelNames) -> str:
        """The labels that are allowed, in words."""

    @abstractmethod
    def advice(self, task: LabelNames, name: str) -> str:
        """What to do about a label that is not allowed; empty if nothing is known."""

    @abstractmethod
    def counts(self, labels_n: np.ndarray, names: int) -> np.ndarray:
        """(C,) the number of rows with each name; empty if labels have no names."""

    @abstractmethod
    def trivial_prediction(self, labels_n: np.ndarray, names: int) -> Any:
        """The prediction for every row that suits these labels best."""

    @abstractmethod
    def prior_loss(self, labels_n: np.ndarray) -> float:
        """The mean loss of the trivial predictor that knows how often each label occurs."""


class Names(Labels):
    """A label is one of several names, stored as its number."""

    dtype: ClassVar[type] = np.int64
    trivial = "majority class"

    def parse(self, task: LabelNames, name: str) -> int | None:
        """The number of an id or a name. 1 may stand for a name 1.0, and 1.0 for a name 1."""
        ids = {str(i): i for i in range(len(task.answers))} if self._takes_ids(task) else {}
        ids |= {answer: i for i, answer in enumerate(task.answers)}
        return ids.get(name, ids.get(other_writing(name) or name))

    def allowed(self, task: LabelNames) -> str:
        """Ids and names; only the first of many names."""
        by_id, shown = self._takes_ids(task), task.answers[:SHOWN_NAMES]
        names = ", ".join(f"{i} ({name})" if by_id else name for i, name in enumerate(shown))
        more = len(task.answers) - len(shown)
        what = "ids or class names" if by_id else "the classes of the training rows"
        return f"{what}: {names}" + (f" and {more} more" if more else "")

    def advice(self, task: LabelNames, name: str) -> str:
        """The class that is the same number, written in another way."""
        number = parse_number(name)
        same = [known for known in task.answers if number is not None and parse_number(known) == number]
        return f"as a number it is the class '{same[0]}': write it as '{same[0]}' in all files" if same else ""

    def counts(self, labels_n: np.ndarray, names: int) -> np.ndarray:
        """How often each number occurs."""
        return np.bincount(labels_n, minlength=names)

    def trivial_prediction(self, labels_n: np.ndarray, names: int) -> Any:
        """The most frequent number."""
        return self.counts(labels_n, names).argmax()

    def prior_loss(self, labels_n: np.ndarray) -> float:
        """The entropy of the labels in nats."""
        share = np.bincount(labels_n) / len(labels_n)
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())

    def _takes_ids(self, task: LabelNames) -> bool:
        """If a class has a number as its name, a number is always a name, never an id."""
        return task.label_ids and not any(parse_number(name) is not None for name in task.answers)


class Numbers(Labels):
    """A label is a number in a range."""

    dtype = np.float32
    trivial = "constant prediction"

    def parse(self, task: LabelNames, name: str) -> float | None:
        """The number, if it is in the range."""
        number = self.number(task, name)
        if number is None or (task.label_range and not task.label_range[0] <= number <= task.label_range[1]):
            return None
        return float(number)

    def number(self, task: LabelNames, name: str) -> int | float | None:
        """The number that a text stands for, with the task's decimal sign."""
        return parse_number(name, comma=task.decimal == "comma")

    def allowed(self, task: LabelNames) -> str:
        """The range."""
        low, high = task.label_range or (-np.inf, np.inf)
        return f"numbers from {low:g} to {high:g}"

    def advice(self, task: LabelNames, name: str) -> str:
        """How to say that numbers have a decimal comma."""
        comma = parse_number(name) is None and parse_number(name, comma=True) is not None
        return "say task.decimal=comma if numbers have decimal commas" if comma else ""

    def counts(self, labels_n: np.ndarray, names: int) -> np.ndarray:
        """Empty."""
        return np.zeros(0, np.int64)

    def trivial_prediction(self, labels_n: np.ndarray, names: int) -> Any:
        """The mean."""
        return np.mean(labels_n)

    def prior_loss(self, labels_n: np.ndarray) -> float:
        """The variance of the labels."""
        return float(np.var(labels_n))


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        name: The name that users write.
        values: The field of the task that says which labels it has. A task has a value there, and none in the fields of
            the other kinds.
        labels: Its labels.
        metrics: Its metrics, the default first.
        summary: The kind in words; `{count}` stands for the number of `values`.
        inferred: Whether `values` can be inferred from the rows. The user has to name them otherwise.
    """

    name: str
    values: str
    labels: Labels
    metrics: tuple[str, ...]
    summary: str
    inferred: bool = True

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes, whose names a data set may have for its ids."""
        return self.values == "classes"


NUMBERS = Numbers()
CLASSIFICATION, REGRESSION, CHOICE = "classification", "regression", "choice"
AUTO = "auto"
"""Instead of a kind: infer it from the given values, or from the rows."""

_ROWS: Sequence[Kind] = (
    Kind(CHOICE, "choices", Names(), ("accuracy",), "multiple choice, {count} choices", inferred=False),
    Kind(REGRESSION, "label_range", NUMBERS, ("spearman",), "regression"),
    Kind(CLASSIFICATION, "classes", Names(), ("accuracy", "f1", "matthews"), "{count} classes"),
)
KINDS = {kind.name: kind for kind in _ROWS}
"""The kinds by name. A given value stands for the first kind that has this field."""

VALUES = tuple(dict.fromkeys(kind.values for kind in _ROWS))
"""The fields of a task that say which labels it has."""

METRIC_NAMES = tuple(sorted({metric for kind in _ROWS for metric in kind.metrics}))
