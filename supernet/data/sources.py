"""Where a task's rows come from: Python's own sources or the Hugging Face hub; local files are in `folders`.

Each split becomes a list of parts. A part knows its columns and is read when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet.data.readers import Record, arrow_rows, check_columns, listing, numbered
from supernet.data.stdlib import stdlib_folder, stdlib_splits
from supernet.options.task import TaskSpec
from supernet.runtime.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of a split, such as a file.

    Attributes:
        name: For messages: the file's path.
        short: For tables: the file's name.
        columns: Names of the columns; none if the part is empty.
        records: The values of the wanted columns, row by row; checks that the columns are there.
        classes: Class names that the source itself gives to a column's ids; none if it does not.
        hidden: Whether a column holds only -1 for "not public", as the labels of many test sets on the hub do.
        notes: What a reader of the table should know about it.
    """

    name: str
    short: str
    columns: Callable[[], list[str]]
    records: Callable[[Sequence[str]], Iterable[Record]]
    classes: Callable[[str], tuple[str, ...]] = lambda column: ()
    hidden: Callable[[str], bool] = lambda column: False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class RawDataset:
    """The parts of each split as they are at the source; an empty list if the source lacks a split.

    Attributes:
        train, validation, test: The parts.
        unused: What else the source has, for the table.
        notes: What a reader of the table should know.
        revision: Their commit on the hub; None if they come from elsewhere.
    """

    train: list[Shard]
    validation: list[Shard]
    test: list[Shard]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    revision: str | None = None


def embedded_source() -> RawDataset:
    """The rows of task=stdlib."""
    name = str(stdlib_folder())
    parts = [Shard(name, "Python's own sources", list, _embedded_rows(*split)) for split in stdlib_splits()]
    return RawDataset(parts[:1], [], parts[1:])


def _embedded_rows(texts: list[str], labels: list[int]) -> Callable[[Sequence[str]], Iterable[Record]]:
    return lambda wanted: numbered(zip(texts, labels, strict=True))


# The hub


def hub_source(task: TaskSpec, revision: str | None = None) -> RawDataset:
    """The splits of a data set on the hub.

    Args:
        task: Names the data set.
        revision: Branch, tag or commit; None is the default branch.

    Raises:
        UserError: if it cannot be read, or lacks a split that the task needs.
    """
    from supernet.data.hub import load  # not above: the clients take seconds to import

    loaded = load(task, revision)
    dataset = loaded.splits
    name = "/".join(part for part in (task.hub, task.hub_config) if part)

    def split(field: str, *, needed: bool) -> list[str]:
        names = getattr(task, field)
        present = [split for split in names if split in dataset]
        check_one_name(task, field, present, f"hub data set {name}")
        if needed and not present:
            raise UserError(f"hub data set {name} has no split {' or '.join(names)}; there are: {', '.join(dataset)}")
        return present[:1]

    train = split("train_splits", needed=True)
    validation, test = split("validation_splits", needed=False), split("test_splits", needed=not task.validation_splits)
    others = [split for split in dataset if split not in (*train, *validation, *test)]
    unused = (f"splits {listing(others)}",) if others else ()

    def parts(names: Sequence[str]) -> list[Shard]:
        return [_hub_part(dataset[split], f"{name}/{split}") for split in names]

    return RawDataset(parts(train), parts(validation), parts(test), unused, loaded.notes, loaded.revision)


def check_one_name(task: TaskSpec, field: str, names: Sequence[str], where: str) -> None:
    """Raises a UserError if a split of the user's own data has two possible names; other tasks take the first name."""
    if task.validation_splits and len(names) > 1:
        raise UserError(
            f"{where}: {' and '.join(names)} may both be the {field.partition('_')[0]} split; say which:"
            f" task.{field}=[{names[0]}] or task.{field}=[{names[1]}]"
        )


def _hub_part(dataset: Dataset, name: str) -> Shard:
    def records(wanted: Sequence[str]) -> Iterator[Record]:
        check_columns(wanted, dataset.column_names, name)
        tables = dataset.select_columns(list(wanted)).with_format("arrow").iter(batch_size=10_000)
        return numbered(row for table in tables for row in arrow_rows(table, wanted))

    def classes(column: str) -> tuple[str, ...]:
        return tuple(getattr(dataset.features.get(column), "names", None) or ())

    def hidden(column: str) -> bool:
        return bool(classes(column)) and dataset.unique(column) == [-1]

    return Shard(name, name, lambda: list(dataset.column_names), records, classes, hidden)


def labelled(parts: Sequence[Shard], column: str) -> bool:
    """Whether a split's first part has labels: many test files have none."""
    return bool(parts) and not (column not in parts[0].columns() or parts[0].hidden(column))
