"""Classes that look the same to a reader: their names differ only in capitals, in invisible characters or the like.

They stay different classes, as they are in the file; a note names them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence

from supernet.data.readers import listing
from supernet.options.labels import parse_number

_UNSEEN = ("Cc", "Cf")  # Unicode's categories: control characters, and formats such as a space of no width
_ENDS = " .,;:!?'\""
_VARIANTS = re.compile("[\ufe00-\ufe0f]")  # how the character before is drawn


def alike_notes(names: Sequence[str]) -> list[str]:
    """A note for each kind of difference that is easy to overlook, with the classes that differ only in it."""
    notes, named = [], set[str]()
    for difference, reduced, shown in _DIFFERENCES:
        groups: dict[Hashable, list[str]] = {}
        for name in names:
            groups.setdefault(reduced(name), []).append(name)
        alike = [name for same in groups.values() if len(same) > 1 and not named.issuperset(same) for name in same]
        if alike:
            notes.append(f"classes that differ in {difference} only: {listing(map(shown, alike))}")
            named.update(alike)
    return notes


def _as_seen(name: str) -> str:
    """The name without invisible characters; each letter with its accent is one character; all blanks are alike."""
    composed = unicodedata.normalize("NFKC", _VARIANTS.sub("", name))
    return " ".join("".join(c for c in composed if c.isspace() or unicodedata.category(c) not in _UNSEEN).split())


def _bare(name: str) -> str:
    return _as_seen(name).casefold().strip(_ENDS) or name


def _number(name: str) -> Hashable:
    number = parse_number(name)
    return name if number is None else number


_DIFFERENCES: tuple[tuple[str, Callable[[str], Hashable], Callable[[str], str]], ...] = (
    ("capital letters", str.lower, str),
    ("characters that look alike or cannot be seen", _as_seen, ascii),
    ("how a number is written", _number, str),
    ("capital letters and signs at the ends", _bare, ascii),
)
"""The difference in words, the part of a name that is compared, and how a name is shown."""
