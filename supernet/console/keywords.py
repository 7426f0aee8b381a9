"""From keyword arguments to the same typed options as the command line gives: `data_dir="a.csv"` is data.dir=a.csv."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

from supernet.console.command import Command
from supernet.console.config import command_of
from supernet.console.keys import ValueForm, nearest_keys
from supernet.console.overrides import quoted
from supernet.runtime.commands import PROGRAM
from supernet.runtime.errors import UserError

C = TypeVar("C")


def config_from(name: str, schema: type[C], keywords: Mapping[str, object]) -> C:
    """The options of a command as a program gives them.

    Args:
        name: Of the command.
        schema: The dataclass of its options.
        keywords: Values by key, with _ in place of the dots: task, data_dir, train_epochs. The dots are allowed too. A
            value is taken as it is, whatever characters it has. None for the name of a group (experiment) leaves the
            group as it is.

    Raises:
        UserError: for an unknown name, with the nearest names; for a wrong type, an impossible value.
    """
    command: Command[C] = command_of(name, schema)
    return command.jobs(list(_overrides(command, keywords)), sweep=False)[0].config


def _overrides(command: Command[Any], keywords: Mapping[str, object]) -> Iterator[str]:
    known = {_keyword(key): key for key in (*command.keys, *command.groups)}
    meant = [key for key in known.values() if command.keys.get(key) or key in command.groups]
    for given, value in keywords.items():
        key = known.get(_keyword(given))
        if key is None:
            near = " or ".join(map(_keyword, nearest_keys(given, meant)))
            hint = f"; did you mean {near}?" if near else ""
            raise UserError(
                f"option '{given}' of {command.name} is unknown{hint}; '{PROGRAM} {command.name} --help' shows all"
            )
        if key not in command.groups:
            yield f"{key}={_written(given, value, command.forms.get(key, _SECTION))}"
        elif value is not None:
            yield f"{key}={_written(given, value, _SECTION)}"


_SECTION = ValueForm("a value")
"""The form of what is no key with a value: the message about it is the command line's."""


def _keyword(key: str) -> str:
    return key.replace(".", "_")


def _written(name: str, value: object, form: ValueForm) -> str:
    """A value in the grammar of the command line.

    Raises:
        UserError: if it is of a type that no option has.
    """
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_item(name, item) for item in value)}]"
    if form.single and not (value is None and form.column):
        return "[]" if value is None else f"[{_item(name, value)}]"
    return _item(name, value)


def _item(name: str, value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (Integral, Real)):  # NumPy's numbers too
        return repr(int(value) if isinstance(value, Integral) else float(value))
    if isinstance(value, (str, os.PathLike)):
        return quoted(os.fspath(value))
    raise UserError(f"{name} is {value!r}; give text, a number, True, False, None, a path, or a list of these")
