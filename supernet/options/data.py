"""The options of the rows: where they come from, which columns they have, how they are split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from supernet.options.labels import label_name
from supernet.options.task import EMBEDDED_TASK, TaskSpec
from supernet.runtime.errors import MAX_SEED, UserError, one_of, within
from supernet.runtime.fields import NO_EFFECT, SINGLE, absolute, counts_as

SOURCES = ("auto", "hub", "local", "embedded")
QUOTES = ("auto", "csv", "literal")
MIN_TRAIN_SAMPLES = 4


@dataclass(frozen=True)
class DataOptions:
    """Where the rows come from and how they are split.

    Attributes:
        source: hub, local (files in `dir`), embedded (task stdlib only) or auto: local if `dir` is given, embedded for
            the task stdlib, else hub.
        dir: Folder of the task's files (JSON Lines, CSV, TSV or Parquet), or the folder above it. Task custom also
            takes a single file.
        max_train_samples: Number of rows of the training file to use, before other splits are split off. null: all.
        split_seed: Seed of the split into training and validation rows. The paper's splits have 128.
        cache_dir: Folder of the tokenised rows. null: ~/.cache/plm-supernet.
        text: Column of the text, or two columns: [FIRST,SECOND]. null: the task's own; task custom detects it.
        label: Column of the label. null: the task's own; task custom detects it.
        choices: Columns of the choices in multiple choice. null: the task's own.
        ignore_labels: Labels of rows to leave out, for example [-1]. null stands for a missing label.
        quotes: What quotes mean in CSV and TSV files. csv: they enclose fields. literal: they are part of the text.
            auto: whichever fits the lines of the file.
        hub: Data set on the hub instead of the task's own.
        hub_config: Configuration of that data set.
        hub_revision: Branch, tag or commit of the data set on the hub. null: its default branch.

    Raises:
        UserError: if a value is not allowed.
    """

    source: str = "auto"
    dir: str | None = field(default=None, metadata=counts_as(absolute))
    max_train_samples: int | None = None
    split_seed: int = 128
    cache_dir: str | None = field(default=None, metadata=NO_EFFECT)
    text: tuple[str, ...] | None = field(default=None, metadata=SINGLE)
    label: str | None = None
    choices: tuple[str, ...] | None = field(default=None, metadata=SINGLE)
    ignore_labels: tuple[str, ...] = field(default=(), metadata=SINGLE)
    quotes: str = "auto"
    hub: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None

    def __post_init__(self) -> None:
        one_of("data.source", self.source, SOURCES)
        one_of("data.quotes", self.quotes, QUOTES)
        if self.source == "local" and self.dir is None:
            raise UserError("data.source=local needs data.dir=FOLDER, the folder of the task's files")
        if self.source == "auto" and self.dir is not None and self.hub is not None:
            raise UserError(f"data.dir={self.dir} and data.hub={self.hub} are both given; give one of them")
        if self.hub_config is not None and self.hub is None:
            raise UserError(f"data.hub_config={self.hub_config} is given without a data set; give data.hub=NAME too")
        if self.max_train_samples is not None and self.max_train_samples < MIN_TRAIN_SAMPLES:
            raise UserError(
                f"data.max_train_samples={self.max_train_samples} leaves too few rows to split into training and"
                f" validation; give {MIN_TRAIN_SAMPLES} or more, or null for all"
            )
        within("data.split_seed", self.split_seed, 0, MAX_SEED)
        self._tuples()

    def normalised(self) -> DataOptions:
        """The same options, with a tuple in place of a list or a single name."""
        return replace(self, **self._tuples())

    def _tuples(self) -> dict[str, Any]:
        """Columns and labels as tuples.

        Raises:
            UserError: if an item cannot be a name.
        """
        columns = {name: _columns_given(name, getattr(self, name)) for name in ("text", "choices")}
        return {**columns, "ignore_labels": _labels_given(self.ignore_labels)}

    def source_of(self, task: TaskSpec) -> str:
        """Where the task's rows come from: hub, local or embedded."""
        if self.source != "auto":
            return self.source
        if self.dir is not None:
            return "local"
        return "embedded" if task.name == EMBEDDED_TASK and self.hub is None else "hub"

    def absolute(self) -> DataOptions:
        """The same options with absolute folders, for use from another working folder."""
        folder, cache = (None if path is None else absolute(path) for path in (self.dir, self.cache_dir))
        return replace(self, dir=folder, cache_dir=cache)

    def applied_to(self, task: TaskSpec) -> TaskSpec:
        """The task with the columns and the data set that are given here instead of its own."""
        columns = {name: getattr(self, name) for name in ("text", "label", "choices") if getattr(self, name)}
        hub = {} if self.hub is None else {"hub": self.hub, "hub_config": self.hub_config}
        return replace(task, **columns | hub).normalised()


def _columns_given(field: str, value: object) -> tuple[str, ...] | None:
    """A column name or a list of them as a tuple."""
    if value is None:
        return None
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    names = [str(name) for name in given if isinstance(name, (str, int, float)) and name != ""]
    if not names or len(names) < len(given):
        raise UserError(f"data.{field}={value!r} is not allowed; give column names: data.{field}=[FIRST,SECOND]")
    if len(set(names)) < len(names):
        raise UserError(f"data.{field}=[{','.join(names)}] names a column twice; give different columns")
    return tuple(names)


def _labels_given(value: object) -> tuple[str, ...]:
    """A label or a list of them as a tuple of texts."""
    given = list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
    names = ["null" if label is None else str(label) if label != label else label_name(label) for label in given]
    if None in names:
        wrong = given[names.index(None)]
        raise UserError(f"data.ignore_labels: {wrong!r} is no label; give names or numbers: data.ignore_labels=[-1]")
    return tuple(name for name in names if name is not None)
