"""Where a task's rows come from: local files, the Hugging Face hub, or Python's own sources.

Each split becomes a list of parts, which know their columns and are read when they are needed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.errors import UserError
from supernet.readers import READERS, Record, arrow_rows, check_columns, columns_of, delimiter_of, numbered
from supernet.stdlib import stdlib_splits
from supernet.tasks import Task

if TYPE_CHECKING:
    from datasets import Dataset


_DELIMITER_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, eq=False)
class Part:
    """A file of a split, or the like.

    Attributes:
        name: For messages: the file's path.
        short: For tables: the file's name.
        columns: Names of the columns; none if the part is empty.
        records: The values of the wanted columns, row by row; checks that the columns are there.
        classes: Class names that the source itself gives to a column's ids; none if it does not.
        hidden: Whether a column has nothing but -1 for "not public", as the labels of many test sets on the hub.
        note: What a reader of the table should know of it, or nothing.
    """

    name: str
    short: str
    columns: Callable[[], list[str]]
    records: Callable[[Sequence[str]], Iterable[Record]]
    classes: Callable[[str], tuple[str, ...]] = lambda column: ()
    hidden: Callable[[str], bool] = lambda column: False
    note: str = ""


@dataclass(frozen=True, eq=False)
class Source:
    """The parts of each split as they are at the source; an empty list where a split is not there.

    Attributes:
        train, validation, test: The parts.
        notes: What a reader of the table should know.
        revision: The commit that they are of, if they are from the hub.
    """

    train: list[Part]
    validation: list[Part]
    test: list[Part]
    notes: tuple[str, ...] = ()
    revision: str | None = None


def embedded_source() -> Source:
    """The rows of task=stdlib."""
    parts = [Part("stdlib", "Python's own sources", list, _embedded_rows(*split)) for split in stdlib_splits()]
    return Source(parts[:1], [], parts[1:])


def _embedded_rows(texts: list[str], labels: list[int]) -> Callable[[Sequence[str]], Iterable[Record]]:
    return lambda wanted: numbered(zip(texts, labels, strict=True))


# Local files


def local_source(task: Task, place: str) -> Source:
    """The files of a task in a folder; or one file, for a task that can be split into all three splits.

    Raises:
        UserError: if there is nothing to be used, or it is not clear what.
    """
    path = Path(place).expanduser()
    if os.path.isfile(path):
        return _single_file(task, path)
    folder = _task_folder(task, place)
    train = find_split(folder, task.train_splits)
    if not task.validation_splits:
        test = find_split(folder, task.test_splits)
        for files, names in ((train, task.train_splits), (test, task.test_splits)):
            if not files:
                raise _no_file(task, folder, names)
        return Source(train, [], test)
    if not train:
        single = [entry for entry in _entries(folder) if entry.suffix.lower() in READERS]
        if len(single) != 1:
            raise _no_file(task, folder, task.train_splits)
        return _single_file(task, single[0])
    return Source(train, find_split(folder, task.validation_splits), find_split(folder, task.test_splits))


def _single_file(task: Task, file: Path) -> Source:
    if not task.validation_splits:
        raise UserError(
            f"data.dir={file} is a file; task '{task.name}' has a file for each split: give the folder they lie in, "
            "or say task=custom for a file of your own"
        )
    if file.suffix.lower() not in READERS:
        raise UserError(f"data.dir={file}: '{file.suffix}' files cannot be read; the ending must be {_endings()}")
    return Source([_file_part(file)], [], [])


def _file_part(file: Path) -> Part:
    suffix = file.suffix.lower()
    note = ""
    if suffix == ".csv" and (delimiter := delimiter_of(file)) != ",":
        note = f"{file.name}: columns are separated by {_DELIMITER_NAMES[delimiter]}"
    return Part(str(file), file.name, partial(columns_of, file), partial(READERS[suffix], file), note=note)


def _task_folder(task: Task, directory: str) -> Path:
    """The folder itself, or the task's folder in it: sst2, SST-2 and SST_2 are the same."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).lower()

    root = Path(directory).expanduser()
    if not os.path.isdir(root):
        kind = "a file or folder" if task.validation_splits else "a folder"
        raise UserError(
            f"data.dir={directory} is not {kind}; give the folder of the task's files, or the one above"
            + (", or one file" if task.validation_splits else "")
        )
    inside = [entry for entry in _entries(root) if plain(entry.name) == plain(task.name) and os.path.isdir(entry)]
    return min(inside, key=lambda entry: (entry.name != task.name, entry.name), default=root)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as e:
        raise UserError(f"{folder} cannot be read ({e.strerror}); check its permissions") from e


def find_split(folder: Path, names: Sequence[str]) -> list[Part]:
    """The file of a split, or its parts (train-00000-of-00002.parquet) in order; none if there is no such file.

    Raises:
        UserError: if there are two files for a split, or parts are missing.
    """
    there = [entry.name for entry in _entries(folder)]
    endings = "|".join(suffix[1:] for suffix in READERS)
    for name in names:
        pattern = re.compile(rf"{re.escape(name)}(?:-\d+-of-(\d+))?\.(?:{endings})", re.IGNORECASE)
        found = [match for entry in there if (match := pattern.fullmatch(entry))]
        if any(int(match[1] or 1) != len(found) for match in found):
            files = ", ".join(match[0] for match in found)
            raise UserError(f"{folder}: split '{name}' is not one file, or lacks a part: {files}; leave one")
        if found:
            return [_file_part(folder / match[0]) for match in found]
    return []


def _no_file(task: Task, folder: Path, names: Sequence[str]) -> UserError:
    there = [entry.name for entry in _entries(folder)]
    listing = ", ".join(there[:12]) + (", ..." if len(there) > 12 else "")
    return UserError(
        f"{folder}: no file of task '{task.name}' for the split {' or '.join(names)}; looked for"
        f" {' or '.join(names)} with the ending {_endings()}; there is: {listing or 'nothing'}"
        + ("; rename the training file, or name a single file with data.dir=FILE" if task.validation_splits else "")
    )


def _endings() -> str:
    return ", ".join(READERS)


# The hub


def hub_source(task: Task, revision: str | None = None) -> Source:
    """The splits of a data set on the hub.

    Args:
        task: Names the data set.
        revision: Branch, tag or commit; None is the default branch.

    Raises:
        UserError: if it cannot be had, or has not the splits that the task needs.
    """
    from supernet.hub_data import load  # not above: the clients take seconds to import

    found = load(task, revision)
    dataset = found.splits
    name = "/".join(part for part in (task.hub, task.hub_config) if part)

    def split(names: Sequence[str], *, needed: bool) -> list[Part]:
        found = next((split for split in names if split in dataset), None)
        if found is not None:
            return [_hub_part(dataset[found], f"{name}/{found}")]
        if needed:
            raise UserError(f"hub data set {name} has no split {' or '.join(names)}; there are: {', '.join(dataset)}")
        return []

    train = split(task.train_splits, needed=True)
    test = split(task.test_splits, needed=not task.validation_splits)
    return Source(train, split(task.validation_splits, needed=False), test, found.notes, found.revision)


def _hub_part(dataset: Dataset, name: str) -> Part:
    def records(wanted: Sequence[str]) -> Iterator[Record]:
        check_columns(wanted, dataset.column_names, name)
        tables = dataset.select_columns(list(wanted)).with_format("arrow").iter(batch_size=10_000)
        return numbered(row for table in tables for row in arrow_rows(table, wanted))

    def classes(column: str) -> tuple[str, ...]:
        return tuple(getattr(dataset.features.get(column), "names", None) or ())

    def hidden(column: str) -> bool:
        return bool(classes(column)) and dataset.unique(column) == [-1]

    return Part(name, name, lambda: list(dataset.column_names), records, classes, hidden)


def labelled(parts: Sequence[Part], column: str) -> bool:
    """Whether a split's first part has labels: many test files have none."""
    return bool(parts) and not (column not in parts[0].columns() or parts[0].hidden(column))
