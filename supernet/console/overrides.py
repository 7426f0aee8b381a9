"""Translates what people type on the command line into Hydra's grammar.

In that grammar `01` is a number, `a,b` two values of a sweep, and `a[1` or `größe` a mistake. People mean the value of
a key that holds text literally, and also anything that the grammar does not understand. Such values are quoted here.
What the grammar offers for text still works: quotes, escapes, `null` for none, and the functions of sweeps.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import HydraException

from supernet.console.keys import ValueForm
from supernet.runtime.errors import UserError

_OTHER = ValueForm("a value")
_NULL = "null"


def in_grammar(argument: str, forms: Mapping[str, ValueForm], *, sweep: bool) -> str:
    """An argument from which Hydra reads the intended value.

    Args:
        argument: As typed: key=value. Anything else is left as it is.
        forms: The form of each key's value.
        sweep: Whether commas divide values. Without it a value is a file's name, if there is such a file, and a text
            in which spaces follow the commas.
    """
    key, _, value = argument.partition("=")
    form = forms.get(key.lstrip("+"), _OTHER)
    if not value:
        return argument
    parts = _divided(value)
    if form.text and not sweep and value != _NULL and (_is_file(value) or any(part[:1] == " " for part in parts[1:])):
        return f"{key}={_listed(quoted(value), form)}"
    if not all(part.strip() for part in parts):  # not in the grammar; the error shows it as typed
        return argument
    return f"{key}={','.join(_value(part.strip(), form) for part in parts)}"


def parse(argument: str) -> Override:
    """Parses an argument in the grammar.

    Raises:
        UserError: if it is not in the grammar.
    """
    parsed = _parsed(argument)
    if parsed is None:
        raise UserError(f"'{argument}' is not understood; write key=value, for example task=mnli")
    return parsed


def choices(override: Override) -> list[str]:
    """The values of an override, as people write them; a single value if there is no sweep over it.

    Raises:
        UserError: if they are not given one by one.
    """
    named = override.is_discrete_sweep() and not isinstance(override.value(), Glob)
    if override.is_sweep_override() and not named:
        raise UserError(
            f"{override.input_line} names no values; give them one by one: {override.get_key_element()}=VALUE,VALUE"
        )
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    return [_shown(value) for value in values]


def combinations(overrides: Sequence[Override]) -> list[tuple[str, list[str]]]:
    """Each combination of a sweep's values: its name for people, and its overrides in the grammar.

    Raises:
        UserError: if values are not given one by one.
    """
    several = [_alternatives(override) for override in overrides]
    return [
        (" ".join(shown for shown, _ in chosen if shown), [text for _, text in chosen])
        for chosen in itertools.product(*several)
    ]


def quoted(text: str) -> str:
    """A text in quotes, so that neither the grammar nor OmegaConf's interpolation changes any part of it."""
    return "'" + re.sub(r"(\\*)(\$\{|'|\Z)", lambda m: 2 * m[1] + ("\\" if m[2] else "") + m[2], text) + "'"


def _alternatives(override: Override) -> list[tuple[str, str]]:
    if not override.is_sweep_override():
        return [("", str(override.input_line))]
    shown, key = choices(override), override.get_key_element()
    texts = (f"{key}={value}" for value in override.sweep_string_iterator())
    return [(f"{override.key_or_group}={s}", text) for s, text in zip(shown, texts, strict=True)]


def _value(typed: str, form: ValueForm) -> str:
    """One value in the grammar."""
    if form.texts and typed.startswith("[") and typed.endswith("]"):
        return f"[{','.join(_text(part.strip()) for part in _divided(typed[1:-1]) if part.strip())}]"
    if form.single and typed == _NULL and not form.column:
        return "[]"
    if (parsed := _parsed(f"key={typed}")) is None:
        return _listed(quoted(typed), form)
    if form.single and not (parsed.is_sweep_override() or isinstance(parsed.value(), list)):
        return _listed(_text(typed), form)
    if not (form.text or form.texts) or _is_meant_for_the_grammar(typed, parsed, form):
        return typed
    return quoted(typed)


def _is_meant_for_the_grammar(typed: str, parsed: Override, form: ValueForm) -> bool:
    """Whether a possible text is deliberately written in the grammar."""
    if typed in ("", _NULL):
        return not typed or not form.column
    escaped = re.search(r"\\[\\()\[\]{}:=, \t]", typed) is not None
    return (
        escaped
        or parsed.is_sweep_override()
        or isinstance(parsed.value(), (list, dict))
        or typed.startswith(("'", '"'))
    )


def _listed(value: str, form: ValueForm) -> str:
    """A value, put into a list if a single value stands for a list."""
    return f"[{value}]" if form.single else value


def _text(typed: str) -> str:
    """An element of a list of texts."""
    return typed if typed.startswith(("'", '"')) and _parsed(f"key={typed}") is not None else quoted(typed)


def _divided(text: str) -> list[str]:
    """The parts between the commas that stand in no brackets and no quotes, and are not escaped."""
    parts, depth, quote, before = [""], 0, "", ""
    for match in re.finditer(r"\\.|.", text, flags=re.DOTALL):
        c = match[0]
        if c == "," and not depth and not quote:
            parts.append("")
            before = ""
            continue
        parts[-1] += c
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"" and before in ("", "[", "{", "(", ",", ":"):
            quote = c
        else:
            depth = max(0, depth + (c in "[{(") - (c in ")}]"))
        before = c if c.strip() else before
    return parts


def _is_file(value: str) -> bool:
    return os.path.lexists(os.path.expanduser(value)) if "\0" not in value else False


def _shown(value: object) -> str:
    if isinstance(value, list):
        shown = ",".join(map(_shown, value))
        return shown if len(value) == 1 else f"[{shown}]"
    return value.text if isinstance(value, QuotedString) else str(value)


@lru_cache(maxsize=1024)  # each argument is parsed several times, a millisecond each
def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
