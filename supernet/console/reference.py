"""All options of all commands, as the page docs/options.md.

Write it again after a change: python -m supernet.console.reference > docs/options.md
"""

from __future__ import annotations

from collections.abc import Iterator

from supernet.console.describe import Choice, Option, describe
from supernet.runtime.commands import COMMANDS, PROGRAM


def reference() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Options"
    yield ""
    yield f"An option is typed as `key=value` after the command: `{PROGRAM} train task=sst2 train.epochs=3`."
    yield "This page is generated from the code: `python -m supernet.console.reference > docs/options.md`."
    for name, row in COMMANDS.items():
        description = describe(name)
        yield from ("", f"## {PROGRAM} {name}", "", f"{row.description}.")
        for note in description.notes:
            yield from ("", " ".join(note.split()))
        yield from ("", "```", *(f"{PROGRAM} {name} {arguments}".rstrip() for arguments in row.examples), "```")
        for choice in description.choices:
            yield from _choice(choice)
        for section, options in description.sections.items():
            yield from _section(section, options)
        if row.also:
            others = ", ".join(f"[{PROGRAM} {other}](#{PROGRAM}-{other})" for other in row.also)
            without = f", without {', '.join(f'`{key}`' for key in row.without)}" if row.without else ""
            yield from ("", f"It also takes the options of {others}{without}.")


def _choice(choice: Choice) -> Iterator[str]:
    default = f" Default: `{choice.default}`." if choice.default else ""
    yield from ("", f"### {choice.key}=NAME", "", f"{choice.text}{default}", "", "| name | what it is |", "|---|---|")
    for name, text in choice.names.items():
        yield f"| `{name}` | {_cell(text)} |"


def _section(section: str, options: tuple[Option, ...]) -> Iterator[str]:
    title = f"{section}.*" if section else "General options"
    yield from ("", f"### {title}", "", "| option | default | what it is |", "|---|---|---|")
    for option in options:
        names = "".join(f" `{name}`: {text}." for name, text in option.names.items())
        yield f"| `{option.key}` | `{option.default}` | {_cell(option.text + names)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(reference(), end="")
