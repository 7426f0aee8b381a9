"""The options of a command, read from the dataclasses and conf/, for `help.py` and `reference.py`.

The text of an option comes from the docstring of its dataclass, its default from the composed configuration.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_type_hints

from supernet.console.choices import PRESETS, choice_texts
from supernet.console.command import Command
from supernet.runtime.commands import schema_of
from supernet.runtime.fields import is_advanced, names_of, variants_of


@dataclass(frozen=True)
class Option:
    """A key that takes a value.

    Attributes:
        key: What to type: "train.epochs".
        text: What it is.
        default: Its value if it is not given, as a user types it.
        names: Names that it takes, with their meanings; empty for most options.
        advanced: Whether usually a file in conf/ sets it, not the user.
    """

    key: str
    text: str
    default: str
    names: Mapping[str, str] = field(default_factory=dict)
    advanced: bool = False

    @property
    def section(self) -> str:
        """The first part of the key; empty for an option of the whole command."""
        return self.key.rpartition(".")[0]


@dataclass(frozen=True)
class Choice:
    """A key that takes the name of a file in conf/: task=mnli.

    Attributes:
        key: What to type: "task".
        text: What it is.
        default: The name if none is given; empty if there is no default.
        names: Its names, with their meanings.
    """

    key: str
    text: str
    default: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class Description:
    """A command, for people.

    Attributes:
        name: A key of `COMMANDS`.
        notes: Paragraphs about the command.
        choices: Keys that take the name of a file in conf/.
        sections: The options by section. Those of the whole command come first, then those in conf/NAME.yaml in its
            order, then those that a choice sets.
    """

    name: str
    notes: tuple[str, ...]
    choices: tuple[Choice, ...]
    sections: Mapping[str, tuple[Option, ...]]


def describe(name: str) -> Description:
    """Reads the options of a command.

    Args:
        name: A key of `COMMANDS`.
    """
    schema = schema_of(name)
    command: Command[Any] = Command(name, schema)
    options = [o for o in options_of(schema, command.default_values) if o.key not in _names(command.groups)]
    texts = texts_of(schema) | PRESETS
    sections = sorted(dict.fromkeys(o.section for o in options), key=["", *command.file, *command.groups].index)
    return Description(
        name,
        tuple(re.split(r"\n\n+", body_of(schema))),
        tuple(
            Choice(group, texts[group], command.chosen.get(group) or "", choice_texts(name, group))
            for group in command.groups
        ),
        {section: tuple(o for o in options if o.section == section) for section in sections},
    )


def _names(groups: Iterable[str]) -> set[str]:
    """The keys that hold the name of the choice."""
    return {f"{group}.name" for group in groups}


def options_of(schema: type[Any], defaults: Mapping[str, Any], prefix: str = "") -> Iterator[Option]:
    """The options of a dataclass and of those inside it.

    Args:
        schema: The dataclass.
        defaults: The composed values by key. Those of other choices are missing; their defaults are the fields'.
        prefix: Of the keys.
    """
    texts, hints, known = texts_of(schema), get_type_hints(schema), set[str]()
    for option in dataclasses.fields(schema):
        key, hint = prefix + option.name, hints[option.name]
        if not dataclasses.is_dataclass(hint):
            default = typed_value(defaults.get(key, option.default))
            yield Option(key, texts[option.name], default, names_of(option), is_advanced(option))
            continue
        for section in (hint, *variants_of(option).values()):
            for inner in options_of(cast("type[Any]", section), defaults, f"{key}."):
                if inner.key not in known:
                    known.add(inner.key)
                    yield dataclasses.replace(inner, text=_for_whom(inner.key, option) + inner.text)


def _for_whom(key: str, option: dataclasses.Field[Any]) -> str:
    """The names that an option is for, if the section has another class for each name."""
    name, classes = key.rpartition(".")[2], variants_of(option)
    owners = [owner for owner, kind in classes.items() if name in {inner.name for inner in dataclasses.fields(kind)}]
    return f"For {' and '.join(owners)}. " if 0 < len(owners) < len(classes) else ""


def texts_of(schema: type[Any]) -> dict[str, str]:
    """The text of each field of a dataclass, from the `Attributes:` of its docstring and of those that it extends."""
    texts: dict[str, str] = {}
    for kind in reversed(schema.__mro__):
        _, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")
        rows = re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", attributes.split("\n\n")[0], re.MULTILINE)
        for names, text in rows:
            texts |= dict.fromkeys(names.split(", "), " ".join(text.split()).replace("`", ""))
    return texts


def body_of(schema: type[Any]) -> str:
    """The text of a docstring between its first line and its lists."""
    text = re.split(r"^(?:Attributes|Args|Raises):$", inspect.cleandoc(schema.__doc__ or ""), flags=re.MULTILINE)[0]
    return text.partition("\n")[2].strip()


def typed_value(value: object) -> str:
    """A value as a user types it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(typed_value, value))}]"
    return re.sub(r"^\$\{(.*)\}$", r"\1", str(value))
