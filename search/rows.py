"""The rows that stage two works with: those of the supernet's training, checked by their digests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search.options.search import RowPlace, SearchData
from supernet.artifact import Supernet
from supernet.data.load import TaskData, TaskRows, load_task, tokenise_rows
from supernet.data.load import load_rows as read_texts
from supernet.options.data import DataOptions
from supernet.options.task import EMBEDDED_TASK
from supernet.runtime.errors import UserError

VALIDATION_SEED = 0
"""Seed of the choice of validation rows if not all are used: the same rows in every search, whatever its seed."""


def load_rows(supernet: Supernet, place: SearchData) -> TaskData:
    """The splits that the supernet was trained with, with the number of validation rows from the options.

    Raises:
        UserError: if they cannot be read, or are other rows: then the search might evaluate on training rows.
    """
    data = load_task(supernet.info.task, _options(supernet, place), supernet.tokenizer)
    _check_same(supernet, data)
    count, rows = place.validation_rows, len(data.validation)
    if count is None or count >= rows:
        return data
    chosen = np.sort(np.random.default_rng(VALIDATION_SEED).choice(rows, count, replace=False))
    return replace(data, validation=data.validation.take(chosen))


def load_texts(supernet: Supernet, place: RowPlace) -> tuple[TaskRows, TaskData]:
    """The splits that the supernet was trained with, as text and as tokens, whole.

    Raises:
        UserError: as for `load_rows`.
    """
    options = _options(supernet, place)
    rows = read_texts(supernet.info.task, options)
    data = tokenise_rows(rows, options, supernet.tokenizer)
    _check_same(supernet, data)
    return rows, data


def _options(supernet: Supernet, place: RowPlace) -> DataOptions:
    """Where the supernet's rows are, or are now."""
    info = supernet.info
    options = replace(info.data, hub_revision=info.revisions.get("data"))
    if place.dir is not None:
        options = replace(options, dir=place.dir, source="local", hub_revision=None)
    if place.cache_dir is not None:
        options = replace(options, cache_dir=place.cache_dir)
    return options


def _check_same(supernet: Supernet, data: TaskData) -> None:
    """Checks that rows are those of the supernet's training, by their digests."""
    info = supernet.info
    if changed := [name for name, digest in data.digests().items() if digest != info.splits.get(name)]:
        reason = "another version of Python" if info.task.name == EMBEDDED_TASK else "other files"
        raise UserError(
            f"the rows of task '{info.task.name}' are not those that the supernet was trained with ({reason}): "
            f"{', '.join(changed)}; name the right files with data.dir=FOLDER, or train again"
        )
