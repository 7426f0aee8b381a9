"""Metadata of dataclass fields, besides their types.

`field(default=2, metadata=NO_EFFECT)` is an option that does not change the result. `identity` leaves it out, so run
folders are not named after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

_COUNTS_AS, _VARIANTS, _NAMES, _ADVANCED = "counts_as", "variants", "names", "advanced"
_SINGLE = "single"

NO_EFFECT: Mapping[str, Any] = {_COUNTS_AS: None}
"""Metadata of an option that does not change the result."""


COUNTED_APART: Mapping[str, Any] = NO_EFFECT
"""Metadata of an option that changes the result, but is known in another way: a folder by its content, for example."""


def counts_as(value_of: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Metadata of an option that can be written in several ways, such as a relative path.

    Args:
        value_of: Gives what identifies the value. It is not asked about None.
    """
    return {_COUNTS_AS: value_of}


def variants(classes: Mapping[str, type[Any]]) -> Mapping[str, Any]:
    """Metadata of a field whose class depends on the `name` in it.

    Args:
        classes: By name, subclasses of the field's type. Other names have the field's type itself.
    """
    return {_VARIANTS: classes}


def names(texts: Mapping[str, str]) -> Mapping[str, Any]:
    """Metadata of a field that takes names from a table.

    Args:
        texts: What each name means, for people.
    """
    return {_NAMES: texts}


def names_of(option: Field[Any]) -> Mapping[str, str]:
    """The names that a field takes, and what each means; empty if there is no table of them."""
    return option.metadata.get(_NAMES, {})


ADVANCED: Mapping[str, Any] = {_ADVANCED: True}
"""Metadata of an option that the files in conf/ set. --help leaves it out."""


def is_advanced(option: Field[Any]) -> bool:
    """Whether the files in conf/ set an option rather than the user."""
    return option.metadata.get(_ADVANCED, False)


SINGLE: Mapping[str, Any] = {_SINGLE: True}
"""Metadata of a list that a user may also give as a single value: format=csv."""


def is_single(option: Field[Any]) -> bool:
    """Whether a user may give a single value instead of a list."""
    return option.metadata.get(_SINGLE, False)


def variants_of(option: Field[Any]) -> Mapping[str, type[Any]]:
    """The classes of a field whose class depends on the `name` in it; empty for other fields."""
    return option.metadata.get(_VARIANTS, {})


def identity(options: Any) -> dict[str, Any]:
    """The values of a dataclass, in plain types, that change the result.

    Args:
        options: A dataclass; dataclasses inside it are read in the same way. If a dataclass has its own method
            `identity`, its result is used.
    """
    values = {}
    for option in fields(options):
        value, counted = getattr(options, option.name), option.metadata.get(_COUNTS_AS, lambda value: value)
        if counted is None:
            continue
        if is_dataclass(value):
            values[option.name] = value.identity() if hasattr(value, "identity") else identity(value)
        else:
            values[option.name] = None if value is None else counted(value)
    return values


def absolute(path: str) -> str:
    """A path, absolute."""
    return os.path.abspath(os.path.expanduser(path))


def absolute_folder(name: str) -> str:
    """A name, as an absolute path if there is such a folder. It may be the name of something on the hub."""
    return absolute(name) if os.path.isdir(os.path.expanduser(name)) else name
