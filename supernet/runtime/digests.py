"""What a training is made of besides its configuration, as digests: rows, pre-trained model, teacher.

Folders and names stay what they are while their content changes. A training that is done, and one that goes on, are
held against what is there now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supernet.runtime.files import digest


def row_digests(digests: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """The digests of the splits and of the classes, whose numbers the splits have, under names to be shown."""
    return {f"{split} rows": of_split for split, of_split in digests.items()} | {"classes": digest(list(classes))}


def differences(now: Mapping[str, str], was: Mapping[str, str]) -> str:
    """What differs, as a list in words; empty if nothing does."""
    names = [name for name in {**now, **was} if now.get(name) != was.get(name)]
    return " and ".join(", ".join(names).rsplit(", ", 1))


def moved_commits(now: Mapping[str, str | None], was: Mapping[str, str | None]) -> str:
    """The commits on the hub that are others than they were, for the end of a sentence; empty if none is."""
    pairs = [(part, was.get(part), now.get(part)) for part in was]
    said = [f"{part}: {old[:12]} then, {new[:12]} now" for part, old, new in pairs if old and new and old != new]
    return f" (commit of the hub, {'; '.join(said)})" if said else ""
