"""What a task is: plain values, one YAML file per task in `conf/task/`, stored as JSON beside a trained supernet.

This module imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from supernet.options.labels import label_name, other_writing, parse_number
from supernet.runtime.errors import UserError, unknown

METRIC_NAMES = ("accuracy", "f1", "matthews", "spearman")
METRICS_OF = {"classification": ("accuracy", "f1", "matthews"), "regression": ("spearman",), "choice": ("accuracy",)}
"""Metrics of each kind of task, its default first."""
KINDS = ("auto", *METRICS_OF)
DECIMALS = ("point", "comma")
EMBEDDED_TASK = "stdlib"
"""The one task whose rows come with Python itself, see `supernet.data.stdlib`."""
SHOWN_CLASSES = 12
"""Classes that an error message lists."""


@dataclass(frozen=True)
class Task:
    """A task of texts: classification, regression or multiple choice.

    Lists are accepted wherever a tuple is declared, as YAML and JSON know no tuples. A task with a `kind` may leave
    values open, which are then found in its rows (see `is_open`); loading the rows gives the task without gaps.

    Attributes:
        name: Name of the task, also of its folder on disk.
        text: One or two column names; open if empty. In multiple choice what all choices share.
        label: Column with the label: an id, a class name, or a number for regression; open if None.
        metric: One of `METRIC_NAMES`, what the error is computed from; "auto" is the kind's default.
        classes: Class names in the order of their ids; empty for regression and multiple choice.
        label_range: (low, high), both allowed, for regression; None otherwise.
        max_length: Tokens per row, special tokens included; what is longer is truncated.
        hub: Data set on the Hugging Face hub, None if there is none.
        hub_config: Configuration of that data set.
        train_splits: Names under which the training rows may be found, in order of preference.
        test_splits: The same for the test rows. For GLUE that is the development set: test labels are not public.
        max_validation_rows: Upper limit of the validation rows that are split off the training rows, None for none.
        kind: classification, regression or choice; "auto" finds out; None is what the other values say.
        choices: Columns of the choices in multiple choice; the label is the number (from 0) or name of the right one.
        validation_splits: Names of the validation rows. If there are any names, validation and test rows need not be
            there, and what lacks is split off the training rows. If empty, validation always is, as in the paper.
        label_ids: Whether a label may be the id of its class instead of its name.
        decimal: How the labels of a regression are written: with a point (0.5) or a comma (0,5).

    Raises:
        UserError: if the values do not describe a task.
    """

    name: str
    text: tuple[str, ...]
    label: str | None
    metric: str
    classes: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None
    max_length: int = 128
    hub: str | None = None
    hub_config: str | None = None
    train_splits: tuple[str, ...] = ("train",)
    test_splits: tuple[str, ...] = ("validation", "dev", "test")
    max_validation_rows: int | None = None
    kind: str | None = None
    choices: tuple[str, ...] = ()
    validation_splits: tuple[str, ...] = ()
    label_ids: bool = True
    decimal: str = "point"

    def __post_init__(self) -> None:
        for field in ("text", "classes", "choices", "train_splits", "validation_splits", "test_splits"):
            object.__setattr__(self, field, self._names(field))
        if self.label_range is not None:
            object.__setattr__(self, "label_range", self._checked_range())
        if self.metric not in (*METRIC_NAMES, "auto"):
            raise unknown("task.metric", str(self.metric), (*METRIC_NAMES, "auto"))
        if self.kind not in (*KINDS, None):
            raise unknown("task.kind", str(self.kind), KINDS)
        if self.decimal not in DECIMALS:
            raise unknown("task.decimal", str(self.decimal), DECIMALS)
        self._check_columns()
        if self.kind is None:
            self._check_whole()
        if self.kind in (None, "auto"):
            object.__setattr__(self, "kind", self._kind_of_values())
        self._check_labels()
        if self.metric == "auto" and self.kind in METRICS_OF:
            object.__setattr__(self, "metric", METRICS_OF[self.kind][0])
        if self.max_length < 4:
            raise self._error("max_length", self.max_length, "at least 4 tokens, e.g. 128")
        if self.max_validation_rows is not None and self.max_validation_rows < 1:
            raise self._error("max_validation_rows", self.max_validation_rows, "null for no limit, or 1 and more")

    def _error(self, field: str, value: object, allowed: str) -> UserError:
        return UserError(f"task.{field}={value!r} of task '{self.name}' is not allowed; give {allowed}")

    def _names(self, field: str) -> tuple[str, ...]:
        value = getattr(self, field)
        if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
            raise self._error(field, value, "a list of names")
        may_be_empty = field in ("classes", "choices", "validation_splits") or (field == "text" and self.kind)
        if len(set(value)) < len(value) or not (value or may_be_empty):
            raise self._error(field, list(value), "a list of different names, not empty")
        return tuple(value)

    def _checked_range(self) -> tuple[float, float]:
        try:
            low, high = (float(end) for end in self.label_range or ())
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise self._error("label_range", self.label_range, "two numbers [low, high] with low < high")
        return low, high

    def _check_columns(self) -> None:
        if len(self.text) > 2:
            raise self._error("text", list(self.text), "one or two column names, e.g. [sentence]")
        if len(self.choices) == 1:
            raise self._error("choices", list(self.choices), "the columns of two or more choices")
        if self.label is not None and self.label in (*self.text, *self.choices):
            raise self._error("label", self.label, f"a column that is not among the texts ({', '.join(self.text)})")
        if both := [name for name in self.text if name in self.choices]:
            raise self._error("text", list(self.text), f"columns that are not among the choices, as {both[0]} is")

    def _check_whole(self) -> None:
        """Without a kind nothing may be left open."""
        if sum(map(bool, (self.classes, self.choices, self.label_range))) != 1:
            raise self._error(
                "classes",
                list(self.classes),
                "either two or more classes, or label_range=[low, high] for regression, or choices=[...]",
            )
        if self.label is None:
            raise self._error("label", None, "the name of the label's column")

    def _kind_of_values(self) -> str:
        given = (("choice", self.choices), ("regression", self.label_range), ("classification", self.classes))
        return next((kind for kind, value in given if value), "auto")

    def _check_labels(self) -> None:
        if len(self.classes) == 1:
            raise self._error("classes", list(self.classes), "two or more classes")
        for kind, field in (("classification", "classes"), ("regression", "label_range"), ("choice", "choices")):
            if self.kind not in (kind, "auto") and getattr(self, field):
                raise self._error(field, getattr(self, field), f"none for task.kind={self.kind}")
        if self.kind == "choice" and not self.choices:
            raise self._error("choices", [], "the columns of the choices: data.choices=[...]")
        allowed = METRICS_OF.get(str(self.kind), METRIC_NAMES)
        if self.metric not in (*allowed, "auto"):
            raise self._error("metric", self.metric, f"{_or(allowed)} for {self.kind}")
        if self.metric == "f1" and self.classes and len(self.classes) != 2:
            raise self._error(
                "metric", self.metric, f"accuracy or matthews for {len(self.classes)} classes, f1 takes 2"
            )

    @property
    def is_open(self) -> bool:
        """Whether a value has to be found in the rows: columns, kind, classes or the range of the labels."""
        open_labels = {
            "auto": True,
            "classification": not self.classes,
            "regression": self.label_range is None,
            "choice": False,
        }
        return not self.text or self.label is None or open_labels[str(self.kind)]

    @property
    def is_regression(self) -> bool:
        return self.kind == "regression"

    @property
    def is_choice(self) -> bool:
        return self.kind == "choice"

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the label ids: the classes, or the columns of the choices; none for regression."""
        return self.choices if self.is_choice else self.classes

    @property
    def num_labels(self) -> int:
        """Outputs of the model's head: one per class; one for regression, and for each choice in multiple choice."""
        return len(self.classes) if self.kind == "classification" else 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have: texts, choices, label."""
        return (*self.text, *self.choices, *([] if self.label is None else [self.label]))

    @property
    def allowed_labels(self) -> str:
        """The labels that are allowed, in words for an error message."""
        if self.label_range is not None:
            return f"numbers from {self.label_range[0]:g} to {self.label_range[1]:g}"
        shown = self.answers[:SHOWN_CLASSES]
        names = ", ".join(f"{i} ({name})" if self._takes_ids else name for i, name in enumerate(shown))
        more = len(self.answers) - len(shown)
        kinds = "ids or class names" if self._takes_ids else "the classes of the training rows"
        return f"{kinds}: {names}" + (f" and {more} more" if more else "")

    @property
    def _takes_ids(self) -> bool:
        """Where a class is called by a number, a number is that name, never an id."""
        return self.label_ids and not any(parse_number(name) is not None for name in self.answers)

    def parse_label(self, value: object) -> int | float | None:
        """The label id of a class id or class name; for regression the number. None if it is not allowed.

        Text is accepted, as that is what CSV and TSV files hold. A class is called as it is written, but that 1 may
        stand for a class 1.0 and 1.0 for a class 1.
        """
        name = label_name(value)
        if name is None:
            return None
        if self.is_regression:
            number = None if isinstance(value, bool) else self.number(name)
            low, high = self.label_range or (-math.inf, math.inf)
            return float(number) if number is not None and low <= number <= high else None
        ids = {str(i): i for i in range(len(self.answers))} if self._takes_ids else {}
        ids |= {answer: i for i, answer in enumerate(self.answers)}
        return ids.get(name, ids.get(other_writing(name) or name))

    def number(self, name: str) -> int | float | None:
        """The number that a label is in this task's way of writing; None if it is none."""
        return parse_number(name, comma=self.decimal == "comma")


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
