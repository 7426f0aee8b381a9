"""What models say of each row of a split, and the files that keep it: then models can be compared row by row.

This module imports no torch. k models, n rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from supernet.runtime.files import atomic_path
from supernet.runtime.shapes import WrongValue
from supernet.runtime.storage import writing

T = TypeVar("T")

LABELS_FILE = "labels.npy"
"""Beside the files of predictions."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of each row of a split.

    Attributes:
        answers_n: Ids of classes or choices; for regression numbers.
        losses_n: The loss of each row.
    """

    answers_n: np.ndarray
    losses_n: np.ndarray


def write_predictions(path: Path, models: Sequence[Predictions], labels_n: np.ndarray) -> None:
    """Writes what models say of the same rows, and once for all files of a folder the labels of the rows.

    Numbers are kept as float32, ids in as few bytes as they need.

    Args:
        path: The file; its folder is made if need be.
        models: The k models.
        labels_n: The labels.

    Raises:
        StorageError: if they cannot be written.
    """
    answers_kn, losses_kn = np.stack([m.answers_n for m in models]), np.stack([m.losses_n for m in models])
    ids = np.issubdtype(answers_kn.dtype, np.integer)
    answers_kn = answers_kn.astype(np.min_scalar_type(answers_kn.max()) if ids else np.float32)
    with writing(path.parent):
        path.parent.mkdir(exist_ok=True)
    labels = path.parent / LABELS_FILE
    if not labels.exists():
        with atomic_path(labels) as partial, partial.open("wb") as file:
            np.save(file, labels_n, allow_pickle=False)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, answers=answers_kn, losses=losses_kn.astype(np.float32))


def read_predictions(path: Path, *, models: int, rows: int) -> list[Predictions]:
    """Reads what `write_predictions` wrote.

    Args:
        path: The file.
        models: k, how many the file must have.
        rows: n, of each.

    Raises:
        OSError, ValueError: if it cannot be read, or has something else; for `reading.unusable` to turn into one line.
    """
    answers_kn, losses_kn = _read(path, lambda content: (content["answers"], content["losses"]))
    for name, array in (("answers", answers_kn), ("losses", losses_kn)):
        if array.shape != (models, rows) or array.dtype.kind not in "iuf":
            raise WrongValue.at(name, f"{array.dtype}{list(array.shape)}", f"numbers of the shape {[models, rows]}")
        if not np.isfinite(array).all():
            raise WrongValue(f"{name} has values that are not finite")
    return [Predictions(answers, losses) for answers, losses in zip(answers_kn, losses_kn, strict=True)]


def read_labels(folder: Path) -> np.ndarray:
    """(n,) the labels in a folder of predictions.

    Raises:
        OSError, ValueError: if they cannot be read; for `reading.unusable` to turn into one line.
    """
    labels_n = _read(folder / LABELS_FILE, np.asarray)
    if labels_n.ndim != 1 or labels_n.dtype.kind not in "iuf":
        raise WrongValue("it holds no list of labels")
    return labels_n


def _read(path: Path, pick: Callable[[Any], T]) -> T:
    """What `pick` takes from a file of numpy. Errors of all classes become an OSError or a ValueError."""
    try:
        with path.open("rb") as file:
            return pick(np.load(file, allow_pickle=False))
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged archive, no array of that name, an array larger than memory
        raise WrongValue(f"it is damaged: {type(error).__name__}") from error
