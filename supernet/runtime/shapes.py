"""Checks values from JSON against types: `shaped` converts a value to a dataclass or raises `WrongValue`.

The types of a dataclass's fields say what each key must be. Notes add limits: `Annotated[float, Within(0, 1)]`. This
module imports no torch.
"""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

R = TypeVar("R", bound=Any)

LARGEST = 1e18
"""Larger than any number in our files."""
_SHOWN = 60
"""Characters of a wrong value that an error shows."""


class WrongValue(ValueError):
    """A value of the wrong type or outside its limits. The message has its key, the value and what it must be."""

    @classmethod
    def at(cls, key: str, value: object, must: str) -> WrongValue:
        """The error for the value of a key."""
        return cls(f"{key or 'the content'} is {shown(value)}; it must be {must}")


@dataclass(frozen=True)
class Within:
    """Limits of a number: from `low` to `high`, both included."""

    low: float = -LARGEST
    high: float = LARGEST

    def check(self, value: float, key: str) -> None:
        """Raises WrongValue if the number is outside the limits."""
        if not self.low <= value <= self.high:
            raise WrongValue.at(key, value, self._words())

    def _words(self) -> str:
        if self.high == LARGEST:
            return f"{self.low:g} or more" if self.low > -LARGEST else f"less than {LARGEST:g}"
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class OneOf:
    """The allowed names of a text."""

    names: tuple[str, ...]

    def check(self, value: str, key: str) -> None:
        """Raises WrongValue if the text is none of them."""
        if value not in self.names:
            raise WrongValue.at(key, value, f"one of {', '.join(self.names)}")


@dataclass(frozen=True, eq=False)  # types with notes must be hashable, and a dict of limits is not
class Named:
    """Limits of a table of numbers, by name, and the names that are required."""

    limits: Mapping[str, Within]
    required: tuple[str, ...] = ()

    def check(self, values: Mapping[str, float], key: str) -> None:
        """Raises WrongValue for the first missing name, or the first number outside its limits."""
        for name in self.required:
            if name not in values:
                raise WrongValue(f"{key}.{name} is missing")
        for name, value in values.items():
            self.limits.get(name, Within()).check(value, f"{key}.{name}")


Count = Annotated[int, Within(0)]
Share = Annotated[float, Within(0, 1)]
Amount = Annotated[float, Within(0)]
"""Numbers that are not negative."""


def shaped(kind: Any, value: Any, key: str = "") -> Any:
    """Converts a value from JSON to a type.

    Args:
        kind: A dataclass; a class with `from_json`; int, float, str, bool; a list, tuple, dict or Mapping of such; such
            a type or None; Any (any value with possible numbers); object (any value); each also with notes (Annotated).
            A dataclass with a method `normalised` becomes what that returns.
        value: The value from JSON.
        key: Its dotted key, for messages.

    Raises:
        WrongValue: if the value has another type, or violates a note.
        UserError: from the checks of a dataclass.
    """
    if hasattr(kind, "from_json"):
        return _own(kind, value, key)
    if is_dataclass(kind):
        return _record(cast("type[Any]", kind), value, key)
    return _READERS[get_origin(kind) or kind](kind, value, key)


def _record(kind: type[Any], value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise WrongValue.at(key, value, "a table of values, {...}")
    known, prefix = {f.name: f for f in fields(kind)}, f"{key}." if key else ""
    if strange := [name for name in value if name not in known]:
        near = difflib.get_close_matches(strange[0], known, n=1)
        raise WrongValue(f"key {prefix}{strange[0]} is unknown" + (f", perhaps {near[0]} was meant" if near else ""))
    if missing := [name for name, f in known.items() if name not in value and not _has_default(f)]:
        raise WrongValue(f"{prefix}{missing[0]} is missing")
    kinds = _hints(cast(Hashable, kind))
    values = {name: shaped(kinds[name], v, f"{prefix}{name}") for name, v in value.items()}
    with _named(key):
        made = kind(**values)
        return made.normalised() if hasattr(made, "normalised") else made


def normalised(record: R) -> R:
    """A dataclass with its parts in normal form, by their methods `normalised`.

    Several values can mean the same: a list and a tuple, a name and a list of it.
    """
    parts = {f.name: getattr(record, f.name) for f in fields(record)}
    return replace(record, **{name: part.normalised() for name, part in parts.items() if hasattr(part, "normalised")})


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _own(kind: Any, value: Any, key: str) -> Any:
    with _named(key):
        return kind.from_json(value)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Puts the key in front of the errors of a class's own checks."""
    try:
        yield
    except WrongValue as error:
        raise WrongValue(f"{key}: {error}" if key else str(error)) from error


def _number(kind: Any, value: Any, key: str) -> float:
    # bool is an int to Python; a whole number may be too large for a float.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongValue.at(key, value, "a number")
    if not abs(value) <= LARGEST:  # false of a NaN too
        raise WrongValue.at(key, value, f"a finite number, and no larger than {LARGEST:g}")
    return float(value)


def _whole(kind: Any, value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not abs(value) <= LARGEST:
        raise WrongValue.at(key, value, "a whole number")
    return value


def _exactly(must: str) -> Callable[[Any, Any, str], Any]:
    """A reader for types that JSON has too."""

    def read(kind: Any, value: Any, key: str) -> Any:
        if not isinstance(value, kind):
            raise WrongValue.at(key, value, must)
        return value

    return read


def _anything(kind: Any, value: Any, key: str) -> Any:
    """Any value whose numbers are finite and not too large."""
    if isinstance(value, dict):
        return _table(dict[str, Any], value, key)
    if isinstance(value, list):
        return _items(Any, value, key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(float, value, key)
    return value


def _list(kind: Any, value: Any, key: str) -> list[Any]:
    (part,) = get_args(kind)
    return _items(part, value, key)


def _tuple(kind: Any, value: Any, key: str) -> tuple[Any, ...]:
    parts = get_args(kind)
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(_items(parts[0], value, key))
    if not isinstance(value, (list, tuple)) or len(value) != len(parts):
        raise WrongValue.at(key, value, f"a list of {len(parts)}")
    return tuple(shaped(part, v, f"{key}[{i}]") for i, (part, v) in enumerate(zip(parts, value, strict=True)))


def _items(part: Any, value: Any, key: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise WrongValue.at(key, value, "a list, [...]")
    return [shaped(part, v, f"{key}[{i}]") for i, v in enumerate(value)]


def _table(kind: Any, value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongValue.at(key, value, "a table of values, {...}")
    _, part = get_args(kind)
    return {name: shaped(part, v, f"{key}.{name}" if key else name) for name, v in value.items()}


def _optional(kind: Any, value: Any, key: str) -> Any:
    (part,) = (part for part in get_args(kind) if part is not types.NoneType)
    return None if value is None else shaped(part, value, key)


def _noted(kind: Any, value: Any, key: str) -> Any:
    part, *notes = get_args(kind)
    converted = shaped(part, value, key)
    for note in notes:
        note.check(converted, key)
    return converted


_READERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    int: _whole,
    float: _number,
    str: _exactly("text"),
    bool: _exactly("true or false"),
    list: _list,
    tuple: _tuple,
    dict: _table,
    Mapping: _table,
    Union: _optional,
    types.UnionType: _optional,
    Annotated: _noted,
    Any: _anything,
    object: lambda kind, value, key: value,
}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted keys: {"train": {"epochs": 5}} becomes {"train.epochs": 5}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def shown(value: object) -> str:
    """A value as JSON, cut if it is long, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
