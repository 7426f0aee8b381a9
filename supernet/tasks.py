"""What a task is: plain values, one YAML file per task in `conf/task/`, stored as JSON beside a trained supernet.

This module imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from supernet.errors import UserError, unknown

METRIC_NAMES = ("accuracy", "f1", "matthews", "spearman")
EMBEDDED_TASK = "stdlib"
"""The one task whose rows come with Python itself, see `supernet.stdlib`."""


@dataclass(frozen=True)
class Task:
    """A text classification or regression task.

    Lists are accepted wherever a tuple is declared, as YAML and JSON know no tuples.

    Attributes:
        name: Name of the task, also of its folder on disk.
        text: One or two column names.
        label: Column with the label: an id, a class name, or a number for regression.
        metric: One of `METRIC_NAMES`; what the error is computed from.
        classes: Class names in the order of their ids; empty for regression.
        label_range: (low, high), both allowed, for regression; None for classification.
        max_length: Tokens per row, special tokens included; what is longer is truncated.
        hub: Data set on the Hugging Face hub, None if there is none.
        hub_config: Configuration of that data set.
        train_splits: Names under which the training rows may be found, in order of preference.
        test_splits: The same for the test rows. For GLUE that is the development set: test labels are not public.
        max_validation_rows: Upper limit of validation rows, None for no limit.

    Raises:
        UserError: if the values do not describe a task.
    """

    name: str
    text: tuple[str, ...]
    label: str
    metric: str
    classes: tuple[str, ...] = ()
    label_range: tuple[float, float] | None = None
    max_length: int = 128
    hub: str | None = None
    hub_config: str | None = None
    train_splits: tuple[str, ...] = ("train",)
    test_splits: tuple[str, ...] = ("validation", "dev", "test")
    max_validation_rows: int | None = None

    def __post_init__(self) -> None:
        for field in ("text", "classes", "train_splits", "test_splits"):
            object.__setattr__(self, field, self._names(field))
        if self.label_range is not None:
            object.__setattr__(self, "label_range", self._checked_range())
        if self.metric not in METRIC_NAMES:
            raise unknown("task.metric", str(self.metric), METRIC_NAMES)
        if not 1 <= len(self.text) <= 2:
            raise self._error("text", list(self.text), "one or two column names, e.g. [sentence]")
        self._check_labels()
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
        if len(set(value)) < len(value) or (not value and field != "classes"):
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

    def _check_labels(self) -> None:
        if bool(self.classes) == self.is_regression:
            raise self._error(
                "classes", list(self.classes), "either two or more classes, or label_range=[low, high] for regression"
            )
        if len(self.classes) == 1:
            raise self._error("classes", list(self.classes), "two or more classes")
        if self.is_regression != (self.metric == "spearman"):
            kind = "regression" if self.is_regression else "classification"
            allowed = "spearman" if self.is_regression else "accuracy, f1 or matthews"
            raise self._error("metric", self.metric, f"{allowed} for {kind}")
        if self.metric == "f1" and self.num_labels != 2:
            raise self._error("metric", self.metric, f"accuracy or matthews for {self.num_labels} classes, f1 takes 2")

    @property
    def is_regression(self) -> bool:
        return self.label_range is not None

    @property
    def num_labels(self) -> int:
        """Outputs of the model's head: one per class, or one for regression."""
        return 1 if self.is_regression else len(self.classes)

    @property
    def allowed_labels(self) -> str:
        """The labels that are allowed, in words for an error message."""
        if self.label_range is not None:
            return f"numbers from {self.label_range[0]:g} to {self.label_range[1]:g}"
        names = ", ".join(f"{i} ({name})" for i, name in enumerate(self.classes))
        return f"ids or class names: {names}"

    def parse_label(self, value: object) -> int | float | None:
        """The label id of a class id or class name; for regression the number. None if it is not allowed.

        Text is accepted, as that is what CSV and TSV files hold. A class that is called "1" wins over the id 1.
        """
        if isinstance(value, str):
            value = value.strip()
            if value in self.classes:
                return self.classes.index(value)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if self.label_range is not None:
            return number if self.label_range[0] <= number <= self.label_range[1] else None
        return int(number) if number.is_integer() and 0 <= number < self.num_labels else None
