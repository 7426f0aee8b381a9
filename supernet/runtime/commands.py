"""The commands, by name, and how the user typed the one that runs: messages name the next command in the same form."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "plm-supernet"


@dataclass(frozen=True)
class CommandRow:
    """A command.

    Attributes:
        module: Where its `main` is. A name, since it is imported only when the command runs.
        description: One line, for people.
        example: What a user may type after the command's name.
        script: File in the root of the repository that runs it, if there is such a file.
    """

    module: str
    description: str
    example: str = ""
    script: str | None = None


COMMANDS: Mapping[str, CommandRow] = {
    "train": CommandRow(
        "supernet.cli",
        "Stage one: fine-tune a pre-trained model as a supernet",
        "task=stdlib experiment=best",
        script="train_supernet.py",
    ),
    "search": CommandRow(
        "search.cli",
        "Stage two: search a supernet for its best sub-networks",
        "searcher=ehvi",
        script="search.py",
    ),
    "select": CommandRow("search.select", "Choose the sub-network of a search that fits a budget", "max_params=0.5"),
    "profile": CommandRow("search.profile", "Measure a latency table, so that a search can compute latencies"),
    "report": CommandRow("search.report.overlay", "Compare many searches in one report"),
}


def typed_command(name: str) -> str:
    """What to type for a command, in the form that the user typed for the command that runs.

    A script (`python search.py`) names scripts, and `python -m supernet` where a command has no script. Everything
    else names the installed program (`plm-supernet search`).

    Args:
        name: A key of `COMMANDS`.
    """
    started = Path(sys.argv[0])
    if started.name in (row.script for row in COMMANDS.values()):
        script = COMMANDS[name].script
        return f"python -m supernet {name}" if script is None else f"python {started.with_name(script)}"
    if (started.parent.name, started.name) == ("supernet", "__main__.py"):
        return f"python -m supernet {name}"
    return f"{PROGRAM} {name}"
