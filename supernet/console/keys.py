"""The keys of a command: the values that they take, and suggestions for unknown keys."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from supernet.runtime.errors import UserError
from supernet.runtime.fields import is_single, variants_of

TRUTH = "true or false"
_WORDS = {int: "a whole number", float: "a number", bool: TRUTH, str: "text"}

COLUMNS = {f"{section}.{name}" for section in ("data", "task") for name in ("text", "label", "choices")}
"""Keys that name columns. A column may be called null."""

ALIASES = {
    "bf16": "train.mixed_precision",
    "dataset": "data.hub",
    "device": "train.mixed_precision",
    "file": "data.dir",
    "fp16": "train.mixed_precision",
    "gradient_accumulation_steps": "train.micro_batch_size",
    "output": "output_dir",
    "path": "data.dir",
    "trials": "max_evaluations",
}
"""Names in other programs that do not resemble our names."""

MOSTLY_MEANT = {"data": "data.dir", "model": "model.name_or_path"}
"""For a section: the key that a user probably means who gives it a file or a folder."""


@dataclass(frozen=True)
class ValueForm:
    """The form of a key's value.

    Attributes:
        word: In messages: "a whole number".
        text: Whether it may be a text.
        several: Whether it may be a list.
        single: Whether it is a list that may be given as a single text.
        column: Whether it names columns.
    """

    word: str
    text: bool = False
    several: bool = False
    single: bool = False
    column: bool = False

    @property
    def texts(self) -> bool:
        """Whether it may be a list of texts."""
        return self.several and self.word in ("text", "a list of text")


def forms_of(schema: type[Any], prefix: str = "") -> dict[str, ValueForm]:
    """The form of each key's value, by the dotted name of the key."""
    forms: dict[str, ValueForm] = {}
    hints = get_type_hints(schema)
    for option in dataclasses.fields(schema):
        key, hint = prefix + option.name, hints[option.name]
        if dataclasses.is_dataclass(hint):
            for section in (hint, *variants_of(option).values()):
                forms |= forms_of(cast("type[Any]", section), f"{key}.")
        else:
            forms[key] = _form(key, hint, single=is_single(option))
    return forms


def _form(key: str, hint: Any, *, single: bool) -> ValueForm:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not types.NoneType)
    column = key in COLUMNS
    if hint is Any:  # a name or a list of them
        return ValueForm("text", text=True, several=True, column=column)
    if get_origin(hint) in (list, tuple):
        word = f"a list of {_WORDS[get_args(hint)[0]].removeprefix('a ')}"
        return ValueForm(word, text=single, several=True, single=single, column=column)
    return ValueForm(_WORDS[hint], text=hint is str, column=column)


def check_key(key: str, value: str, keys: Mapping[str, bool], groups: Iterable[str]) -> None:
    """Checks that a key exists and takes a value.

    Args:
        key: Without plus signs.
        value: The value given for it.
        keys: All keys, and whether each holds a single value (not others).
        groups: Keys that take the name of a group of values (task=mnli).

    Raises:
        UserError: with the keys that the user may have meant.
    """
    if keys.get(key):
        return
    if key in keys:
        meant = f"did you mean {MOSTLY_MEANT[key]}={value}? " if key in MOSTLY_MEANT else ""
        inside = ", ".join(name for name in keys if name.startswith(f"{key}."))
        raise UserError(f"key '{key}' stands for several; {meant}give one of {inside}")
    meant = " or ".join(nearest_keys(key, [*groups, *(name for name, single in keys.items() if single)]))
    raise UserError(f"key '{key}' is unknown; {f'did you mean {meant}? ' if meant else ''}--help shows all keys")


def nearest_keys(key: str, known: Sequence[str]) -> list[str]:
    """Up to three keys that the user may have meant, of the same section if there are any."""
    section, _, last = key.rpartition(".")
    alike = [name for name in known if _is_short_for(last, name.rpartition(".")[2]) or ALIASES.get(last) == name]
    here = [name for name in alike if name.rpartition(".")[0] == section]
    return (here or alike or difflib.get_close_matches(key, known, n=3, cutoff=0.6))[:3]


def _is_short_for(typed: str, name: str) -> bool:
    """Whether a name is a usual short or long form of another (lr, max_len, num_train_epochs), or the same name."""
    short, long = typed.split("_"), name.split("_")
    initials = len(long) > 1 and typed == "".join(part[:1] for part in long)
    shortened = len(short) == len(long) and all(
        b.startswith(a) and len(a) > 1 for a, b in zip(short, long, strict=True)
    )
    return initials or shortened or set(long) <= set(short)
