"""Loads a task's rows and splits them, as the paper does or as the user's own files do.

`load_rows` gives the rows as text, `load_task` as tokens. Rows are checked and stored column by column.
Texts are in memory once: splits share them, and a split's texts are freed when it is tokenised.
An error message about a file names the file and the line.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from supernet.data.classes import infer_labels
from supernet.data.columns import TEXT_NAMES, infer_columns
from supernet.data.folders import local_source
from supernet.data.readers import listing
from supernet.data.rows import RawSplit, TextSplit, gather, shared_texts
from supernet.data.sources import RawDataset, Shard, embedded_source, hub_source, labelled
from supernet.data.stdlib import AREAS
from supernet.data.tokens import TokenizedSplit, tokenise
from supernet.options.data import MIN_TRAIN_SAMPLES, DataOptions
from supernet.options.labels import other_writing, spellings
from supernet.options.task import EMBEDDED_TASK, Task, TaskSpec
from supernet.runtime.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "validation", "test")
TRAIN_SHARE = 0.7
SHOWN_FILES = 20
"""The table names at most this many files of a split; of longer lists the first and the last file."""


@dataclass(frozen=True)
class Provenance:
    """Where the rows come from, for the summary before training.

    Attributes:
        origins: Short name of the source of each split's rows.
        files: Paths of the files that were read, or names of the hub's splits.
        unused: Columns, files and splits that are not used.
        notes: What was inferred or decided, a sentence each.
        revision: Commit of the data set on the hub; None if the rows come from elsewhere.
    """

    origins: dict[str, str]
    files: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    revision: str | None = None


@dataclass(frozen=True, eq=False)
class TaskRows:
    """A task's splits as text, and the complete task."""

    train: TextSplit
    validation: TextSplit
    test: TextSplit
    task: Task
    provenance: Provenance


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task's splits as tokens, and the complete task, which is stored beside the supernet."""

    train: TokenizedSplit
    validation: TokenizedSplit
    test: TokenizedSplit
    task: Task
    provenance: Provenance

    def digests(self) -> dict[str, str]:
        """A digest of the rows of each split."""
        return {name: getattr(self, name).digest() for name in SPLITS}


def load_task(task: TaskSpec, options: DataOptions, tokenizer: PreTrainedTokenizerBase) -> TaskData:
    """Loads, splits and tokenises a task. Errors as for `load_rows` and `tokens.tokenise`."""
    rows = load_rows(task, options)
    about, parts = (rows.task, rows.provenance), vars(rows).copy()
    del rows
    return _tokenised(*about, parts, tokenizer, options)


def tokenise_rows(rows: TaskRows, options: DataOptions, tokenizer: PreTrainedTokenizerBase) -> TaskData:
    """The tokens of rows from `load_rows`, which stay in memory as text too."""
    return _tokenised(rows.task, rows.provenance, vars(rows).copy(), tokenizer, options)


def _tokenised(
    task: Task, origin: Provenance, parts: dict[str, Any], tokenizer: PreTrainedTokenizerBase, options: DataOptions
) -> TaskData:
    """Tokenises the splits. Each is removed from `parts`, which may be the last to hold its texts."""

    def tokens(name: str) -> TokenizedSplit:
        part, like = parts.pop(name), {"max_length": task.max_length, "sequences": task.sequences}
        return tokenise(part.columns, part.labels, tokenizer, cache_dir=options.cache_dir, **like)

    train, validation, test = map(tokens, SPLITS)
    return TaskData(train, validation, test, task, origin)


def load_rows(task: TaskSpec, options: DataOptions) -> TaskRows:
    """A task's rows as text, split.

    A task without `validation_splits`, such as those of GLUE, is split as in the paper: `split_rows` divides the
    training rows of the source, and the development set gives the test rows. A task with `validation_splits` (task
    custom) keeps its splits. If the source has only validation rows or only test rows, they are the test rows. A
    missing split is taken from the training rows.

    Raises:
        UserError: if the source cannot be used, or a row does not fit the task; names file and line.
    """
    options = options.normalised()
    task = options.applied_to(task)
    source = _source(task, options)
    notes = list(source.notes)
    named = task.label is not None or bool(task.text)
    if not task.text or task.label is None:
        task, more = _with_columns(task, source.train[0])
        notes += more
    parts, more = _usable(task, source)
    notes += [note for split in parts.values() for part in split for note in part.notes] + more
    gathered = _gathered(task, parts, options)
    notes += [note for split in gathered.values() for note in split.notes]
    if not named:
        _check_header(task, source.train[0], gathered["train"])
    if task.is_open:
        others = [part.labels for name, part in gathered.items() if name != "train"]
        given = source.train[0].classes(task.label_column)
        task, more = infer_labels(task, gathered["train"].labels, others, given)
        notes += more
    whole = task.resolve()
    notes += [note for name, split in gathered.items() for note in _taken_as(whole, name, split)]
    rows = {name: part.rows(whole) for name, part in gathered.items()}
    del gathered
    (train, validation, test), origins, more = _divide(
        task, options, rows, {name: _origin(parts[name]) for name in parts}
    )
    notes += [*more, *shared_texts(train, validation, test)]
    files = tuple(dict.fromkeys(name for split in parts.values() for name in _files(split)))
    provenance = Provenance(origins, files, _unused(task, parts, source), tuple(notes), source.revision)
    return TaskRows(train, validation, test, whole, provenance)


def _with_columns(task: TaskSpec, part: Shard) -> tuple[TaskSpec, list[str]]:
    columns = part.columns()
    if not columns:
        raise UserError(f"{part.name}: no rows; give a file with rows, which names its columns")
    return infer_columns(task, columns, part.name)


def _gathered(task: TaskSpec, parts: Mapping[str, list[Shard]], options: DataOptions) -> dict[str, RawSplit]:
    """The rows of each split, without the rows of ignored labels.

    Raises:
        UserError: if no row has one of these labels.
    """
    written = {label: spellings(label) for label in options.ignore_labels}
    ignored = frozenset[str | None]().union(*written.values())
    gathered = {name: gather(task, parts[name], ignored) for name in parts}
    left_out = {name for split in gathered.values() for name in split.left_out}
    for label, names in written.items():
        if not left_out & names:
            there = listing(gathered["train"].labels.names)
            raise UserError(f"data.ignore_labels: no row has the label '{label}'; there are: {there}")
    return gathered


def _check_header(task: TaskSpec, part: Shard, train: RawSplit) -> None:
    """Raises a UserError if the name of the label's column is a label too: the first line is then probably a row."""
    if task.label in train.labels.names and not any(name.lower() in TEXT_NAMES for name in task.text):
        count = train.labels.counts[train.labels.names.index(task.label)]
        raise UserError(
            f"{part.name}: the first line seems to be a row: '{task.label}', which would be the name of the label's"
            f" column, is also the label of {count} rows; put a line with the columns' names before it, for example"
            f" label,text, or say data.label={task.label} if that is the column's name"
        )


def _taken_as(task: Task, split: str, gathered: RawSplit) -> list[str]:
    """Notes on labels that are not written like their class: 1.0 for 1."""
    if task.label_ids:
        return []
    names = [name for name in gathered.labels.names if name not in task.classes and other_writing(name) in task.classes]
    taken = [f"{name} as {other_writing(name)}" for name in names]
    return [f"labels of the {split} rows are read as other labels: {listing(taken)}"] if taken else []


def _files(parts: Sequence[Shard]) -> list[str]:
    """The files of a split; of long lists the first and the last."""
    names = list(dict.fromkeys(part.name for part in parts))
    return names if len(names) <= SHOWN_FILES else [f"{names[0]} to {names[-1]} ({len(names)} files)"]


def _unused(task: TaskSpec, parts: Mapping[str, list[Shard]], source: RawDataset) -> tuple[str, ...]:
    """Columns of the files, and other files, that are not used."""
    columns = dict.fromkeys(column for split in parts.values() for part in split for column in part.columns())
    unused = [column for column in columns if column not in task.columns]
    return (*([f"columns {listing(unused, 50)}"] if unused else []), *source.unused)


def _origin(parts: Sequence[Shard]) -> str:
    return parts[0].short + (f" and {len(parts) - 1} more" if len(parts) > 1 else "")


# Which parts are which split, and how they are divided


def _source(task: TaskSpec, options: DataOptions) -> RawDataset:
    source = options.source_of(task)
    if source == "embedded" and (task.name != EMBEDDED_TASK or task.classes != AREAS or len(task.text) != 1):
        raise UserError(
            f"data.source=embedded has the rows of the unchanged task={EMBEDDED_TASK} only, not of '{task.name}';"
            f" give data.dir=FOLDER or task={EMBEDDED_TASK}"
        )
    if source == "hub" and task.hub is None:
        if task.validation_splits:
            raise UserError(f"task '{task.name}' has no data yet; give data.dir=FILE_OR_FOLDER, or data.hub=NAME")
        raise UserError(f"task '{task.name}' is not on the hub (task.hub is null); give data.dir=FOLDER")
    if source == "local":
        return local_source(task, str(options.dir), options.quotes)
    return embedded_source() if source == "embedded" else hub_source(task, options.hub_revision)


def _usable(task: TaskSpec, source: RawDataset) -> tuple[dict[str, list[Shard]], list[str]]:
    """The parts of each split that has parts, and notes. Test rows without labels are not used."""
    splits = {"train": source.train, "validation": source.validation, "test": source.test}
    notes = []
    if task.validation_splits and source.test and not labelled(source.test, task.label_column):
        notes.append(f"{source.test[0].name} has no labels in column '{task.label}' and is not used")
        splits["test"] = []
    if splits["validation"] and not splits["test"]:
        splits |= {"validation": [], "test": splits["validation"]}
        notes.append(f"{splits['test'][0].short} is the test set, because there is no other")
    return {name: parts for name, parts in splits.items() if parts}, notes


def split_rows(
    rows: TextSplit, seed: int, max_rows: int | None, max_validation_rows: int | None
) -> tuple[TextSplit, TextSplit]:
    """The paper's split of the training rows: shuffle, keep `max_rows`, use the first 70 % for training.

    The other rows are for validation, but at most `max_validation_rows` of them.

    Raises:
        UserError: if one of the two would be empty.

    Source:
        Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture Search", TMLR 2024.
    """
    order, cut = _shuffled(rows, seed, max_rows)
    return rows.take(order[:cut]), rows.take(order[cut:][:max_validation_rows])


def _shuffled(rows: TextSplit, seed: int, max_rows: int | None, *, least_rest: int = 1) -> tuple[list[int], int]:
    """Row numbers in random order, and how many of them are for training; at least `least_rest` must remain."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    order = order[:max_rows]
    cut = int(TRAIN_SHARE * len(order))
    if cut < 1 or len(order) - cut < least_rest:
        splits = "training and validation" if least_rest == 1 else "training, validation and test"
        raise UserError(
            f"{len(order)} training row(s) cannot be split into {splits}; give a training file of"
            f" at least {MIN_TRAIN_SAMPLES} rows"
        )
    return order, cut


def _divide(
    task: TaskSpec, options: DataOptions, rows: dict[str, TextSplit], origins: dict[str, str]
) -> tuple[list[TextSplit], dict[str, str], list[str]]:
    """Training, validation and test rows; where each comes from; notes."""
    seed, limit, most = options.split_seed, options.max_train_samples, task.max_validation_rows
    train, file = rows.pop("train"), origins["train"]
    used = min(len(train), limit or len(train))
    notes = [] if used == len(train) else [f"{used} of {len(train)} rows of {file} are used (data.max_train_samples)"]
    if "validation" in rows:
        if used < len(train):
            train = train.take(_shuffled(train, seed, limit)[0])
        return [train, rows["validation"], rows["test"]], origins, notes
    if "test" in rows:
        shares: tuple[int, ...] = (70, 30)
        parts = [*split_rows(train, seed, limit, most), rows["test"]]
    else:
        shares = (70, 15, 15)
        order, cut = _shuffled(train, seed, limit, least_rest=2)
        end = cut + (len(order) - cut) // 2
        parts = [train.take(order[:cut]), train.take(order[cut:end][:most]), train.take(order[end:])]
    split_off = dict(zip(SPLITS, (f"{share} % of {file}" for share in shares), strict=False))
    if most is not None and used - int(TRAIN_SHARE * used) > most == len(parts[1]):
        notes.append(f"no more than {most} validation rows are used (task.max_validation_rows)")
    return parts, origins | split_off, [*notes, f"{file} is split at random with a fixed seed (data.split_seed)"]
