"""Data files on the user's disk: which file of a folder belongs to which split."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from supernet.data.readers import SUFFIXES, listing, reader_of
from supernet.data.sources import RawDataset, Shard, check_one_name
from supernet.options.task import TaskSpec
from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path

_NUMBER = r"[-_. ]?(?:part)?[-_. ]?(?P<number>\d+)(?:[-_]of[-_](?P<total>\d+)(?:-[0-9a-f]+)?)?"
"""What follows a split's name in the name of a part: train_1, train-00000-of-00002, and, in clones of hub data sets,
train-00000-of-00001-0a1b2c3d4e5f6a7b."""
_OTHER_DATA = re.compile(
    r".*\.(txt|dat|ndjson|xlsx?|ods|arrow|feather|pkl|pickle|npz?|db|sqlite3?|zip|tar|gz|tgz|bz2|xz|zst|7z)",
    re.IGNORECASE,
)
"""Files that may hold data, but cannot be read."""


def local_source(task: TaskSpec, place: str, quotes: str = "auto") -> RawDataset:
    """The files of a task in a folder; or a single file, if the task allows to split it into all three splits.

    Args:
        task: Names its splits.
        place: Folder or file.
        quotes: What quotes in CSV and TSV files are, see `delimited.dialect_of`.

    Raises:
        UserError: if there is no file to use, or it is not clear which.
    """
    path = user_path(place)
    if os.path.isfile(path):
        return RawDataset([_file_part(_checked_file(task, path), quotes)], [], [])
    folder, passed_over = _task_folder(task, place)
    train, validation, test = (find_split(task, folder, f"{split}_splits") for split in ("train", "validation", "test"))
    if not train and task.validation_splits:
        train = [_only_file(task, folder)]
    if not train:
        raise _no_file(task, folder, task.train_splits)
    if not test and not task.validation_splits:
        raise _no_file(task, folder, task.test_splits)
    used = {*train, *validation, *test}
    places = dict.fromkeys((path, folder))  # the folder that the user named, and the task's folder in it
    others = [file for place in places for file in _entries(place) if file not in used and _is_data(file)]
    unused = [f"file {file}" for file in others]
    unused += [f"folder {other} (data.dir={other} to use it)" for other in passed_over]

    def parts(files: Sequence[Path]) -> list[Shard]:
        return [_file_part(file, quotes) for file in files]

    return RawDataset(parts(train), parts(validation), parts(test), tuple(unused))


def _checked_file(task: TaskSpec, file: Path) -> Path:
    if not task.validation_splits:
        raise UserError(
            f"data.dir={file} is a file; task '{task.name}' has a file for each split: give the folder with its files,"
            " or say task=custom for a file of your own"
        )
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"data.dir={file}: '{file.suffix}' files cannot be read; allowed endings: {_endings()}")
    return file


def _only_file(task: TaskSpec, folder: Path) -> Path:
    """The only data file of a folder, whatever it is called, unless it is called a test set."""
    files = _readable(folder)
    if len(files) != 1:
        raise _no_file(task, folder, task.train_splits)
    for name in (*task.validation_splits, *task.test_splits):
        if _parts(folder, name):
            raise UserError(
                f"{folder}: the only data file is {files[0].name}, which is not a name of training rows; add those as"
                f" train{files[0].suffix}, or say data.dir={files[0]} to split this file into all three"
            )
    return files[0]


def _file_part(file: Path, quotes: str) -> Shard:
    reader = reader_of(file, quotes)
    return Shard(str(file), file.name, reader.columns, reader.records, notes=reader.notes)


def _task_folder(task: TaskSpec, directory: str) -> tuple[Path, list[Path]]:
    """The folder itself if the training file lies there; else the task's folder in it, or a clone's folder `data`.

    sst2, SST-2 and SST_2 are the same name. Also returns such folders that have files but are not used.
    """

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).lower()

    root = user_path(directory)
    if not os.path.isdir(root):
        kind = "a file or folder" if task.validation_splits else "a folder"
        raise UserError(
            f"data.dir={directory} is not {kind}; give the folder of the task's files, or the folder above it"
            + (", or a single file" if task.validation_splits else "")
        )
    named = [entry for entry in _entries(root) if plain(entry.name) == plain(task.name)]
    inside = [*sorted(named, key=lambda entry: (entry.name != task.name, entry.name)), root / "data"]
    inside = [folder for folder in inside if os.path.isdir(folder) and (folder in named or _has_training(task, folder))]
    alone = task.validation_splits and len(_readable(root)) == 1 and root / "data" not in inside
    folder = root if _has_training(task, root) or alone or not inside else inside[0]
    return folder, [other for other in inside if other != folder and _readable(other)]


def _has_training(task: TaskSpec, folder: Path) -> bool:
    return any(_parts(folder, name) for name in task.train_splits)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as e:
        raise UserError(f"{folder} cannot be read ({e.strerror}); check its permissions") from e


def _readable(folder: Path) -> list[Path]:
    return [file for file in _entries(folder) if file.suffix.lower() in SUFFIXES and os.path.isfile(file)]


def _is_data(file: Path) -> bool:
    named = file.suffix.lower() in SUFFIXES or _OTHER_DATA.fullmatch(file.name) is not None
    return named and not file.name.startswith(".") and os.path.isfile(file)


def find_split(task: TaskSpec, folder: Path, field: str) -> list[Path]:
    """The file of a split, or its parts in order; none if there is no such file.

    Args:
        task: Names the split in `field`: train_splits, validation_splits or test_splits.
        folder: Where the files are.
        field: Name of the task's field, see above.

    Raises:
        UserError: if there are two files for a split, or parts are missing.
    """
    parts_of = {name: parts for name in getattr(task, field) if (parts := _parts(folder, name))}
    for name, parts in parts_of.items():
        if not _is_whole(parts):
            files = ", ".join(file.name for _, _, file in parts)
            raise UserError(
                f"{folder}: split '{name}' is not a single file, or lacks a part: {files}; keep a single file, or all"
                f" parts {name}_1, {name}_2 and so on"
                + ("; or name a single file with data.dir=FILE" if task.validation_splits else "")
            )
    check_one_name(task, field, list(parts_of), str(folder))
    return [file for _, _, file in next(iter(parts_of.values()), [])]


def _parts(folder: Path, name: str) -> list[tuple[int | None, int | None, Path]]:
    """Number, total and file of each part; number or total is None where the file's name does not have it."""
    endings = "|".join(suffix[1:] for suffix in SUFFIXES)
    pattern = re.compile(rf"{re.escape(name)}(?:{_NUMBER})?\.(?:{endings})", re.IGNORECASE)

    def number(text: str | None) -> int | None:
        return None if text is None else int(text)

    matches = [(match, entry) for entry in _entries(folder) if (match := pattern.fullmatch(entry.name))]
    parts = [(number(match["number"]), number(match["total"]), entry) for match, entry in matches]
    return sorted(parts, key=lambda part: (part[0] is not None, part[0] or 0))


def _is_whole(parts: Sequence[tuple[int | None, int | None, Path]]) -> bool:
    """Whether the files are one split: one file, or all parts, each once. train and train_2 are two parts."""
    numbers = [number for number, _, _ in parts]
    totals = {total for _, total, _ in parts}
    if totals not in ({None}, {len(parts)}):
        return False
    from_one = list(range(1, len(parts) + 1))
    return numbers in (from_one, list(range(len(parts))), [None, *from_one[1:]])


def _no_file(task: TaskSpec, folder: Path, names: Sequence[str]) -> UserError:
    there = [entry.name for entry in _entries(folder)]
    return UserError(
        f"{folder}: no file of task '{task.name}' for the split {' or '.join(names)}; looked for"
        f" {' or '.join(names)} with the ending {_endings()}; there is: {listing(there) if there else 'nothing'}"
        + ("; rename the training file, or name a single file with data.dir=FILE" if task.validation_splits else "")
    )


def _endings() -> str:
    return ", ".join(SUFFIXES)
