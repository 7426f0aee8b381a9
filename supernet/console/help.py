"""What `--help` and `--version` print."""

from __future__ import annotations

from supernet import __version__
from supernet.runtime.commands import COMMANDS, PROGRAM, typed_command


def version() -> str:
    """The program's name and version."""
    return f"{PROGRAM} {__version__}"


def overview() -> str:
    """What commands there are, with an example of each."""
    width = max(map(len, COMMANDS))
    program = typed_command("train").rpartition(" ")[0]
    commands = [f"  {name:<{width}}  {row.description}" for name, row in COMMANDS.items()]
    examples = [f"  {program} {name} {row.example}" for name, row in COMMANDS.items() if row.example]
    return "\n".join(
        [
            "Prune a pre-trained language model: train a supernet, then search it for small and accurate sub-networks.",
            "",
            f"usage: {program} COMMAND [key=value ...]",
            "",
            "Commands:",
            *commands,
            "",
            "Examples:",
            *examples,
            "",
            f"'{program} COMMAND --help' shows the options of a command, '{program} --version' the version.",
        ]
    )
