"""The text of `--help` and `--version`."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from textwrap import wrap

from supernet import __version__
from supernet.console.describe import Choice, Description, Option, describe
from supernet.runtime.commands import COMMANDS, PROGRAM, typed_command, typed_launch

NARROWEST, WIDEST = 80, 120
KEY_WIDTH = 28
"""Width of the keys' column; the text of a longer key begins on the next line."""

_CFG = "-c, --cfg job"
FLAGS = {
    "-m, --multirun": "Run each combination of values, such as KEY=A,B KEY=C,D. A table of the results follows.",
    _CFG: "Print all values as they are set, and run nothing.",
    "-V, --version": "Print the version.",
}


def version() -> str:
    """The program's name and version."""
    return f"{PROGRAM} {__version__}"


def overview() -> str:
    """The list of commands, with an example of each."""
    program = typed_command("select").rpartition(" ")[0]
    lines = [
        "Prune a pre-trained language model: train a supernet, then search it for small and accurate sub-networks.",
        "",
        f"usage: {program} COMMAND [key=value ...]",
        "",
        "Commands:",
        *_table({name: row.description for name, row in COMMANDS.items()}, max(map(len, COMMANDS))),
        "",
        "Examples:",
        *(f"  {program} {name} {next(iter(row.examples))}".rstrip() for name, row in COMMANDS.items()),
        "",
        f"'{program} COMMAND --help' shows the options of a command, '{program} --version' the version.",
    ]
    return "\n".join(lines)


def help_of(name: str) -> str:
    """A command's purpose, examples and options.

    Args:
        name: A key of `COMMANDS`.
    """
    description, typed = describe(name), typed_command(name)
    lines = [f"{COMMANDS[name].description}.", "", f"usage: {typed} [key=value ...]", "", "Examples:"]
    lines += _examples(name, typed)
    for note in description.notes:
        lines += ["", *_wrap(note, _width())]
    for choice in description.choices:
        lines += ["", *_choice(choice)]
    lines += _options(description)
    known = {*COMMANDS[name].without, *(option.key for options in description.sections.values() for option in options)}
    for other in COMMANDS[name].also:
        lines += ["", *_options_of(other, known)]
    single = not COMMANDS[name].also
    lines += ["", "Flags:", *_table({flag: text for flag, text in FLAGS.items() if single or flag != _CFG}, KEY_WIDTH)]
    return "\n".join(lines)


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def _examples(name: str, typed: str) -> Iterator[str]:
    examples = {f"{typed} {arguments}".rstrip(): what for arguments, what in COMMANDS[name].examples.items()}
    if COMMANDS[name].script is not None:
        several = f"{typed_launch(name)} {next(iter(COMMANDS[name].examples))}"
        examples[several] = "four processes (on CPUs with --multi_gpu too)"
    for command, what in examples.items():
        yield f"  {command}"
        yield f"      {what}"


def _choice(choice: Choice) -> Iterator[str]:
    yield from _wrap(f"{choice.key}=NAME  {choice.text}{_default(choice.default)}", _width())
    yield from _table(choice.names, KEY_WIDTH)


def _options(description: Description) -> Iterator[str]:
    for section, options in description.sections.items():
        shown = [option for option in options if not option.advanced]
        if shown:
            yield from ("", f"{section}.*" if section else "Options (key=value) and, in brackets, their defaults:")
            yield from _table({option.key: _text(option) for option in shown}, KEY_WIDTH)


def _options_of(name: str, left_out: Collection[str]) -> Iterator[str]:
    """The keys of another command whose options a command takes too, without their texts."""
    description, typed = describe(name), typed_command(name)
    yield from _wrap(f"The options of '{typed}' too; '{typed} --help' explains them:", _width())
    choices = [choice for choice in description.choices if choice.key not in left_out]
    rows = {f"{choice.key}=NAME": ", ".join(choice.names) for choice in choices}
    for section, options in description.sections.items():
        shown = [option.key for option in options if not option.advanced and option.key not in left_out]
        if shown and section not in left_out:
            rows[f"{section}.*" if section else "key=value"] = ", ".join(k.removeprefix(f"{section}.") for k in shown)
    yield from _table(rows, KEY_WIDTH)


def _text(option: Option) -> str:
    names = "; ".join(f"{name} ({what})" for name, what in option.names.items())
    return f"{option.text}{' ' + names + '.' if names else ''}{_default(option.default)}"


def _default(value: str) -> str:
    """A default in brackets. The option's text says what null means."""
    return "" if value in ("", "null") else f" {value}" if value.startswith("[") else f" [{value}]"


def _wrap(text: str, width: int) -> list[str]:
    return wrap(text, width, break_on_hyphens=False)


def _table(rows: Mapping[str, str], width: int) -> Iterator[str]:
    """Keys with texts beside them, wrapped."""
    for key, text in rows.items():
        lines = _wrap(text, _width() - width - 4) or [""]
        if len(key) > width:
            yield f"  {key}"
        else:
            yield f"  {key:<{width}}  {lines.pop(0)}".rstrip()
        yield from (f"  {'':<{width}}  {line}" for line in lines)
