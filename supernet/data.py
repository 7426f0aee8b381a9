"""A task's rows, from local files, the Hugging Face hub or Python's own sources, split as in the paper.

Rows pass through here once, checked and column by column: `load_rows` gives them as text, `load_task` as tokens.
Every mistake in a file is told with its name and line.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from supernet.errors import UserError, first_line, unknown
from supernet.readers import READERS, Record, arrow_rows, check_columns, numbered, shown
from supernet.stdlib import AREAS, stdlib_splits
from supernet.tasks import EMBEDDED_TASK, Task
from supernet.tokens import Split, tokenise

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedTokenizerBase

SOURCES = ("auto", "hub", "local", "embedded")
TRAIN_SHARE = 0.7
MIN_TRAIN_SAMPLES = 4
HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class DataOptions:
    """Where the rows come from and how they are split.

    Attributes:
        source: hub, local (files in `dir`), embedded (task stdlib only), or auto: local if `dir` is given, embedded
            for the task stdlib, else hub.
        dir: Folder of the task's files (`train.jsonl`, `validation.jsonl`), or the folder above it.
        max_train_samples: Upper limit of training and validation rows together, None for all.
        split_seed: Seed of the shuffle before the split; the paper's splits have 128.
        cache_dir: Folder for tokenised rows; None for `~/.cache/plm-supernet`.

    Raises:
        UserError: if a value is impossible.
    """

    source: str = "auto"
    dir: str | None = None
    max_train_samples: int | None = None
    split_seed: int = 128
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("data.source", str(self.source), SOURCES)
        if self.source == "local" and self.dir is None:
            raise UserError("data.source=local needs data.dir=FOLDER, the folder of the task's files")
        if self.max_train_samples is not None and self.max_train_samples < MIN_TRAIN_SAMPLES:
            raise UserError(
                f"data.max_train_samples={self.max_train_samples} leaves too few rows to split into training and"
                f" validation; give {MIN_TRAIN_SAMPLES} or more, or null for all"
            )

    def absolute(self) -> DataOptions:
        """The same with absolute folders, for use from another working folder."""

        def whole(folder: str | None) -> str | None:
            return None if folder is None else os.path.abspath(os.path.expanduser(folder))

        return replace(self, dir=whole(self.dir), cache_dir=whole(self.cache_dir))


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as text.

    Attributes:
        columns: One or two lists of n texts.
        labels: (n,) int64 label ids, or float32 for regression.
    """

    columns: tuple[list[str], ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: Sequence[int]) -> Rows:
        """The rows with these numbers, in this order; the texts themselves are not copied."""
        columns = tuple([column[i] for i in numbers] for column in self.columns)
        return Rows(columns, self.labels[np.asarray(numbers, np.int64)])


@dataclass(frozen=True, eq=False)
class TaskRows:
    """A task's splits as text."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task's splits as tokens."""

    train: Split
    validation: Split
    test: Split

    def digests(self) -> dict[str, str]:
        """What tells one set of rows from another, for each split."""
        return {name: getattr(self, name).digest() for name in ("train", "validation", "test")}


def load_task(task: Task, options: DataOptions, tokenizer: PreTrainedTokenizerBase) -> TaskData:
    """Loads, splits and tokenises a task. Errors as for `load_rows` and `tokens.tokenise`."""
    rows = load_rows(task, options)

    def tokens(part: Rows) -> Split:
        return tokenise(part.columns, part.labels, tokenizer, max_length=task.max_length, cache_dir=options.cache_dir)

    return TaskData(tokens(rows.train), tokens(rows.validation), tokens(rows.test))


def load_rows(task: Task, options: DataOptions) -> TaskRows:
    """A task's rows as text, split as in the paper.

    The training rows of the source are split by `split_rows`; the test rows are its development set.

    Raises:
        UserError: if the source cannot be used, or a row is not as the task says; with file and line number.
    """
    source = _choose_source(task, options)
    if source == "local":
        train, test = _local_rows(task, str(options.dir))
    elif source == "embedded":
        train, test = (_gather(task, [("stdlib", numbered(zip(*part, strict=True)))]) for part in stdlib_splits())
    else:
        train, test = _hub_rows(task)
    train_part, validation_part = split_rows(
        train, options.split_seed, options.max_train_samples, task.max_validation_rows
    )
    return TaskRows(train_part, validation_part, test)


def split_rows(rows: Rows, seed: int, max_rows: int | None, max_validation_rows: int | None) -> tuple[Rows, Rows]:
    """The paper's split of the training rows: shuffle, keep `max_rows`, the first 70 % are for training.

    The others are for validation, at most `max_validation_rows` of them.

    Raises:
        UserError: if one of the two would be empty.

    Source:
        Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture Search", TMLR 2024.
    """
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    order = order[:max_rows]
    cut = int(TRAIN_SHARE * len(order))
    if not 0 < cut < len(order):
        raise UserError(
            f"{len(order)} training row(s) cannot be split into training and validation; give a training file of"
            f" at least {MIN_TRAIN_SAMPLES} rows"
        )
    return rows.take(order[:cut]), rows.take(order[cut:][:max_validation_rows])


def _choose_source(task: Task, options: DataOptions) -> str:
    source = options.source
    if source == "auto":
        source = "local" if options.dir is not None else "embedded" if task.name == EMBEDDED_TASK else "hub"
    if source == "embedded" and (task.name != EMBEDDED_TASK or task.classes != AREAS or len(task.text) != 1):
        raise UserError(
            f"data.source=embedded has the rows of the unchanged task={EMBEDDED_TASK} only, not of '{task.name}';"
            f" give data.dir=FOLDER or task={EMBEDDED_TASK}"
        )
    if source == "hub" and task.hub is None:
        raise UserError(f"task '{task.name}' is not on the hub (task.hub is null); give data.dir=FOLDER")
    return source


# Rows, whatever their source


def _gather(task: Task, parts: Iterable[tuple[str, Iterable[Record]]]) -> Rows:
    """Checks the records of one split, given as (source for messages, records), and puts them into columns."""
    columns: tuple[list[str], ...] = tuple([] for _ in task.text)
    labels: list[int | float] = []
    names: list[str] = []
    for source, records in parts:
        names.append(source)
        for number, values in records:
            *texts, label = values
            _check_texts(task, texts, source, number)
            value = task.parse_label(label)
            if value is None:
                raise UserError(
                    f"{source}:{number}: label {shown(label)} in column '{task.label}' is not allowed;"
                    f" task '{task.name}' takes {task.allowed_labels}"
                )
            for column, text in zip(columns, texts, strict=True):
                column.append(text)
            labels.append(value)
    if not labels:
        raise UserError(f"{', '.join(names)}: no rows; give a file with rows of the columns {', '.join(_wanted(task))}")
    return Rows(columns, np.array(labels, np.float32 if task.is_regression else np.int64))


def _check_texts(task: Task, texts: Sequence[object], source: str, number: int) -> None:
    """Of two texts one may be empty, as in a few rows of QQP."""
    for name, text in zip(task.text, texts, strict=True):
        if not isinstance(text, str):
            raise UserError(f"{source}:{number}: column '{name}' holds {shown(text)}, it must hold text")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UserError(f"{source}:{number}: column '{name}' holds half a surrogate pair, not text") from None
    if not any(str(text).strip() for text in texts):
        raise UserError(f"{source}:{number}: no text in column {', '.join(task.text)}; remove the row or fill it")


def _wanted(task: Task) -> list[str]:
    return [*task.text, task.label]


# Local files


def _local_rows(task: Task, directory: str) -> tuple[Rows, Rows]:
    folder = _task_folder(task, directory)
    train, test = (_find_split(task, folder, names) for names in (task.train_splits, task.test_splits))
    return _read_split(task, train), _read_split(task, test)


def _read_split(task: Task, files: Sequence[Path]) -> Rows:
    return _gather(task, [(str(file), READERS[file.suffix](file, _wanted(task))) for file in files])


def _task_folder(task: Task, directory: str) -> Path:
    """The folder itself, or the task's folder in it: sst2, SST-2 and SST_2 are the same."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]", "", name).lower()

    root = Path(directory).expanduser()
    if not os.path.isdir(root):
        raise UserError(f"data.dir={directory} is not a folder; give the folder of the task's files, or the one above")
    inside = [entry for entry in _entries(root) if plain(entry.name) == plain(task.name) and os.path.isdir(entry)]
    return min(inside, key=lambda entry: (entry.name != task.name, entry.name), default=root)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as e:
        raise UserError(f"{folder} cannot be read ({e.strerror}); check its permissions") from e


def _find_split(task: Task, folder: Path, names: Sequence[str]) -> list[Path]:
    """The file of a split, or its parts (train-00000-of-00002.parquet) in order."""
    there = [entry.name for entry in _entries(folder)]
    endings = "|".join(suffix[1:] for suffix in READERS)
    for name in names:
        pattern = re.compile(rf"{re.escape(name)}(?:-\d+-of-(\d+))?\.(?:{endings})")
        found = [match for entry in there if (match := pattern.fullmatch(entry))]
        if any(int(match[1] or 1) != len(found) for match in found):
            files = ", ".join(match[0] for match in found)
            raise UserError(f"{folder}: split '{name}' is not one file, or lacks a part: {files}; leave one")
        if found:
            return [folder / match[0] for match in found]
    listing = ", ".join(there[:12]) + (", ..." if len(there) > 12 else "")
    raise UserError(
        f"{folder}: no file of task '{task.name}' for the split {' or '.join(names)}; looked for"
        f" {' or '.join(names)} with the ending {', '.join(READERS)}; there is: {listing or 'nothing'}"
    )


# The hub


def _hub_rows(task: Task) -> tuple[Rows, Rows]:
    dataset = _load_hub_dataset(task)
    name = "/".join(part for part in (task.hub, task.hub_config) if part)

    def split(names: Sequence[str]) -> Rows:
        found = next((split for split in names if split in dataset), None)
        if found is None:
            raise UserError(f"hub data set {name} has no split {' or '.join(names)}; there are: {', '.join(dataset)}")
        source = f"{name}/{found}"
        check_columns(_wanted(task), dataset[found].column_names, source)
        tables = dataset[found].select_columns(_wanted(task)).with_format("arrow").iter(batch_size=10_000)
        return _gather(task, [(source, numbered(row for t in tables for row in arrow_rows(t, _wanted(task))))])

    return split(task.train_splits), split(task.test_splits)


def _load_hub_dataset(task: Task) -> DatasetDict:
    """The data set from the hub, or from the local cache of an earlier download if the hub cannot be reached.

    Asked first whether it is there: the download itself would try five times, loudly, before it gives up.
    """
    import datasets
    import huggingface_hub

    verbosity = datasets.logging.get_verbosity()
    offline = datasets.config.HF_HUB_OFFLINE
    datasets.logging.set_verbosity_error()
    reason: Exception | None = None
    try:
        try:
            hub = huggingface_hub.HfApi(endpoint=datasets.config.HF_ENDPOINT)
            hub.dataset_info(str(task.hub), timeout=HUB_TIMEOUT_S)
        except Exception as e:  # whatever the reason, the cache may still have it
            reason = e
            datasets.config.HF_HUB_OFFLINE = True
        return datasets.load_dataset(task.hub, task.hub_config)
    except Exception as e:  # of many kinds: network, missing data set or configuration, full disk
        raise UserError(
            f"task '{task.name}' cannot be loaded from the hub data set {task.hub} ({first_line(reason or e)});"
            f" give data.dir=FOLDER with its files, or task={EMBEDDED_TASK}, which needs no download"
        ) from e
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
        datasets.logging.set_verbosity(verbosity)
