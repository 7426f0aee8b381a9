"""What a task is: plain values, one YAML file per task in `conf/task/`, stored as JSON beside a trained supernet.

This module imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from supernet.options.kinds import AUTO, KINDS, METRIC_NAMES, NUMBERS, VALUES, Kind, Labels
from supernet.options.labels import label_name
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.fields import ADVANCED

S = TypeVar("S", bound="TaskSpec")

DECIMALS = ("point", "comma")
EMBEDDED_TASK = "stdlib"
"""The task whose rows come with Python itself, see `supernet.data.stdlib`."""

_NAMES = ("text", "classes", "choices", "train_splits", "validation_splits", "test_splits")


@dataclass(frozen=True)
class TaskSpec:
    """A text task as a user describes it. It may be open: values that are not given are inferred from the rows.

    `supernet.data.load.load_rows` infers them and gives a `Task`.

    Attributes:
        name: Name of the task, also of its folder on disk.
        text: One or two columns of the text. []: inferred from the rows. In multiple choice, the shared context.
        label: Column of the label: an id, a class name, or a number for regression. null: inferred from the rows.
        metric: What the error is computed from: accuracy, f1, matthews, spearman, or auto: the default of the kind.
        classes: Class names in the order of their ids. []: inferred from the rows, or no classification.
        label_range: Lowest and highest label of a regression: [0,5]. null: inferred from the rows, or no regression.
        max_length: Tokens per row, special tokens included. Longer rows are truncated.
        hub: Data set on the hub. null: none.
        hub_config: Configuration of that data set.
        train_splits: Possible names of the training rows, the preferred name first.
        test_splits: Possible names of the test rows. For GLUE they are the development set: test labels are not public.
        max_validation_rows: Upper limit of the validation rows that are split off the training rows. null: no limit.
        kind: classification, regression, choice, or auto: inferred from the rows. null: inferred from the other values.
        choices: Columns of the choices in multiple choice. The label is the right choice's number (from 0) or name.
        validation_splits: Possible names of the validation rows. If there are any, validation and test rows are
            optional, and a missing split is taken from the training rows. []: validation rows are always split off the
            training rows, as in the paper.
        label_ids: A label may be the id of its class instead of its name.
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
    hub: str | None = field(default=None, metadata=ADVANCED)
    hub_config: str | None = field(default=None, metadata=ADVANCED)
    train_splits: tuple[str, ...] = field(default=("train",), metadata=ADVANCED)
    test_splits: tuple[str, ...] = field(default=("validation", "dev", "test"), metadata=ADVANCED)
    max_validation_rows: int | None = None
    kind: str | None = None
    choices: tuple[str, ...] = ()
    validation_splits: tuple[str, ...] = field(default=(), metadata=ADVANCED)
    label_ids: bool = field(default=True, metadata=ADVANCED)
    decimal: str = "point"

    def __post_init__(self) -> None:
        for name in _NAMES:
            self._check_names(name)
        self._range()
        if self.metric not in (*METRIC_NAMES, AUTO):
            raise unknown("task.metric", str(self.metric), (*METRIC_NAMES, AUTO))
        if self.kind not in (*KINDS, AUTO, None):
            raise unknown("task.kind", str(self.kind), (*KINDS, AUTO))
        if self.decimal not in DECIMALS:
            raise unknown("task.decimal", str(self.decimal), DECIMALS)
        self._check_columns()
        if self.kind is None:
            self._check_whole()
        self._check_labels()
        if self.max_length < 4:
            raise self._error("max_length", self.max_length, "at least 4 tokens, e.g. 128")
        if self.max_validation_rows is not None and self.max_validation_rows < 1:
            raise self._error("max_validation_rows", self.max_validation_rows, "null for no limit, or 1 and more")

    def _error(self, field: str, value: object, allowed: str) -> UserError:
        return UserError(f"task.{field}={value!r} of task '{self.name}' is not allowed; give {allowed}")

    def _check_names(self, field: str) -> None:
        value = getattr(self, field)
        if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
            raise self._error(field, value, "a list of names")
        may_be_empty = field in ("classes", "choices", "validation_splits") or (field == "text" and self.kind)
        if len(set(value)) < len(value) or not (value or may_be_empty):
            raise self._error(field, list(value), "a list of different names, not empty")

    def _range(self) -> tuple[float, float] | None:
        if self.label_range is None:
            return None
        try:
            low, high = (float(end) for end in self.label_range)
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
            raise self._error("text", list(self.text), f"columns that are not among the choices ({both[0]} is)")

    def _check_whole(self) -> None:
        """Without a kind, nothing may be open."""
        if sum(bool(getattr(self, values)) for values in VALUES) != 1:
            raise self._error(
                "classes",
                list(self.classes),
                "either two or more classes, or label_range=[low, high] for regression, or choices=[...]",
            )
        if self.label is None:
            raise self._error("label", None, "the name of the label's column")

    def _check_labels(self) -> None:
        if len(self.classes) == 1:
            raise self._error("classes", list(self.classes), "two or more classes")
        kind = self.known_kind
        if kind is not None:
            self._check_kind(kind)
        if self.metric == "f1" and self.classes and len(self.classes) != 2:
            raise self._error(
                "metric", self.metric, f"accuracy or matthews for {len(self.classes)} classes, f1 takes 2"
            )

    def _check_kind(self, kind: Kind) -> None:
        for values in VALUES:
            if values != kind.values and getattr(self, values):
                raise self._error(values, getattr(self, values), f"none for task.kind={kind.name}")
        if not kind.inferred and not getattr(self, kind.values):
            raise self._error(kind.values, [], f"the columns of the {kind.values}: data.{kind.values}=[...]")
        if self.metric not in (*kind.metrics, AUTO):
            raise self._error("metric", self.metric, f"{_or(kind.metrics)} for {kind.name}")

    def normalised(self: S) -> S:
        """The same task in its normal form: tuples, the kind that the values stand for, and the default metric."""
        names: dict[str, Any] = {name: tuple(getattr(self, name)) for name in _NAMES}
        kind = self.known_kind
        metric = self.metric if kind is None or self.metric != AUTO else kind.metrics[0]
        return replace(
            self, **names, label_range=self._range(), kind=AUTO if kind is None else kind.name, metric=metric
        )

    def resolve(self) -> Task:
        """The complete task.

        Raises:
            UserError: if a value is still open.
        """
        spec = self.normalised()
        return Task(**{f.name: getattr(spec, f.name) for f in fields(spec)})

    @property
    def known_kind(self) -> Kind | None:
        """The row of the task's kind; None if it has to be inferred from the rows."""
        if self.kind in KINDS:
            return KINDS[self.kind]
        return next((kind for kind in KINDS.values() if getattr(self, kind.values)), None)

    @property
    def is_open(self) -> bool:
        """Whether a value has to be inferred from the rows: columns, kind, classes or the range of the labels."""
        kind = self.known_kind
        return not self.text or self.label is None or kind is None or not getattr(self, kind.values)

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the label ids: the classes, or the columns of the choices; none for regression."""
        return (*self.classes, *self.choices)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have: texts, choices, label."""
        return (*self.text, *self.choices, *([] if self.label is None else [self.label]))

    @property
    def label_column(self) -> str:
        """The column with the label.

        Raises:
            ValueError: if it is open.
        """
        if self.label is None:
            raise ValueError(f"the label column of task '{self.name}' is open")
        return self.label

    @property
    def sequences(self) -> int:
        """Number of token sequences that a row becomes: the number of choices, or 1 without choices."""
        return max(1, len(self.choices))

    def number(self, name: str) -> int | float | None:
        """The number that a label stands for, with this task's decimal sign; None if it is not a number."""
        return NUMBERS.number(self, name)


@dataclass(frozen=True)
class Task(TaskSpec):
    """A complete task: nothing is open. Attributes are those of `TaskSpec`.

    Raises:
        UserError: if the values do not describe a task, or a value is missing.
    """

    label: str
    kind: str = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_open or self.kind not in KINDS:
            raise UserError(
                f"task '{self.name}' is not complete: its kind, columns, classes or the range of its labels are missing"
            )

    @property
    def labels(self) -> Labels:
        """Its labels."""
        return KINDS[self.kind].labels

    @property
    def allowed_labels(self) -> str:
        """The labels that are allowed, in words for an error message."""
        return self.labels.allowed(self)

    def parse_label(self, value: object) -> Any:
        """The label id of a class id or class name; for regression the number. None if it is not allowed.

        Text is accepted, because CSV and TSV files hold text. A class has to be written like its name, but 1 may also
        stand for a class 1.0, and 1.0 for a class 1.
        """
        name = label_name(value)
        return None if name is None else self.labels.parse(self, name)


def _or(names: Iterable[str]) -> str:
    *first, last = names
    return " or ".join(filter(None, (", ".join(first), last)))
