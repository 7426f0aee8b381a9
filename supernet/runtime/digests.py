"""Digests of what a training starts from: rows, classes, pre-trained model, teacher.

The content of a folder can change while its name stays. Digests show whether a finished or interrupted training started
from what is there now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from supernet.runtime.files import digest


def row_digests(digests: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """Digests under names for messages: of each split's rows, and of the classes that their labels number."""
    rows = {f"{split} rows": split_digest for split, split_digest in digests.items()}
    return rows | {"classes": digest(list(classes))}


def differences(now: Mapping[str, str], was: Mapping[str, str]) -> str:
    """Names of the digests that differ, as text ("train rows and teacher"); empty if none does."""
    names = [name for name in {**now, **was} if now.get(name) != was.get(name)]
    return " and ".join(", ".join(names).rsplit(", ", 1))


def moved_commits(now: Mapping[str, str | None], was: Mapping[str, str | None]) -> str:
    """The commits on the hub that differ, in parentheses after a space; empty if none does."""
    pairs = [(part, was.get(part), now.get(part)) for part in was]
    changes = [f"{part}: {old[:12]} then, {new[:12]} now" for part, old, new in pairs if old and new and old != new]
    return f" (commit of the hub, {'; '.join(changes)})" if changes else ""
