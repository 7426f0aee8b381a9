"""What a training is made of besides its configuration, as digests: rows, pre-trained model, teacher.

Folders and names stay what they are while their content changes. A training that is done, and one that goes on, are
held against what is there now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from supernet.errors import UserError
from supernet.hub_model import WEIGHTS
from supernet.runs import digest

PRETRAINED, TEACHER = "pre-trained model", "teacher"


def model_digest(folder: Path) -> str:
    """16 hexadecimal digits that stand for a model: its weights, in one file or several, and its configuration.

    Raises:
        UserError: if a file cannot be read.
    """
    sha256 = hashlib.sha256()
    parts = [*(folder / name for name in WEIGHTS), *sorted(folder.glob("*.safetensors")), folder / "config.json"]
    try:
        for path in filter(Path.is_file, dict.fromkeys(parts)):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    sha256.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return sha256.hexdigest()[:16]


def of_models(pretrained: Path, teacher: Path | None) -> dict[str, str]:
    """The digests of the models that a training begins with."""
    models = {PRETRAINED: pretrained} | ({} if teacher is None else {TEACHER: teacher})
    return {name: model_digest(folder) for name, folder in models.items()}


def of_rows(digests: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """The digests of the splits and of the classes, whose numbers the splits have, under names to be shown."""
    return {f"{split} rows": of_split for split, of_split in digests.items()} | {"classes": digest(list(classes))}


def changed(now: Mapping[str, str], was: Mapping[str, str]) -> str:
    """What differs, as a list in words; empty if nothing does."""
    names = [name for name in {**now, **was} if now.get(name) != was.get(name)]
    return " and ".join(", ".join(names).rsplit(", ", 1))


def moved(now: Mapping[str, str | None], was: Mapping[str, str | None]) -> str:
    """The commits on the hub that are others than they were, for the end of a sentence; empty if none is."""
    pairs = [(part, was.get(part), now.get(part)) for part in was]
    said = [f"{part}: {old[:12]} then, {new[:12]} now" for part, old, new in pairs if old and new and old != new]
    return f" (commit of the hub, {'; '.join(said)})" if said else ""
