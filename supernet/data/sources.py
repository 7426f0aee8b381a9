"""Where a task's rows come from: Python's own sources or the Hugging Face hub; local files are in `folders`.

Each split becomes a list of parts, which know their columns and are read when they are needed.
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
    """A file of a split, or the like.

    Attributes:
        name: For messages: the file's path.
        short: For tables: the file's name.
        columns: Names of the columns; none if the part is empty.
        records: The values of the wanted columns, row by row; checks that the columns are there.
        classes: Class names that the source itself gives to a column's ids; none if it does not.
        hidden: Whether a column has nothing but -1 for "not public", as the labels of many test sets on the hub.
        notes: What a reader of the table should know of it.
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
    """The parts of each split as they are at the source; an empty list where a split is not there.

    Attributes:
        train, validation, test: The parts.
        unused: What else there is at the source, for the table.
        notes: What a reader of the table should know.
        revision: The commit that they are of, if they are from the hub.
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
        UserError: if it cannot be had, or has not the splits that the task needs.
    """
    from supernet.data.hub import load  # not above: the clients take seconds to import

    loaded = load(task, revision)
    dataset = loaded.splits
    name = "/".join(part for part in (task.hub, task.hub_config) if part)

    def split(field: str, *, needed: bool) -> list[str]:
        names = getattr(task, field)
        found = [split for split in names if split in dataset]
        check_one_name(task, field, found, f"hub data set {name}")
        if needed and not found:
            raise UserError(f"hub data set {name} has no split {' or '.join(names)}; there are: {', '.join(dataset)}")
        return found[:1]

    train = split("train_splits", needed=True)
    validation, test = split("validation_splits", needed=False), split("test_splits", needed=not task.validation_splits)
    others = [split for split in dataset if split not in (*train, *validation, *test)]
    unused = (f"splits {listing(others)}",) if others else ()

    def parts(names: Sequence[str]) -> list[Shard]:
        return [_hub_part(dataset[split], f"{name}/{split}") for split in names]

    return RawDataset(parts(train), parts(validation), parts(test), unused, loaded.notes, loaded.revision)


def check_one_name(task: TaskSpec, field: str, found: Sequence[str], where: str) -> None:
    """Raises a UserError if a split of a user's own data is there under two names; other tasks prefer the first."""
    if task.validation_splits and len(found) > 1:
        raise UserError(
            f"{where}: {' and '.join(found)} may both be the {field.partition('_')[0]} split; say which:"
            f" task.{field}=[{found[0]}] or task.{field}=[{found[1]}]"
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
