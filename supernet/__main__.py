"""One command for everything: `plm-supernet search searcher=ehvi`, also as `python -m supernet search searcher=ehvi`.

With several processes: `accelerate launch --num_processes 4 -m supernet search searcher=ehvi`.
"""

from __future__ import annotations

import importlib
import sys

from supernet.console.start import leave_at_interrupt

HELP, VERSION = ("-h", "--help", "help"), ("-V", "--version")


def main() -> None:
    """Runs the command that the first argument names. Its libraries are loaded only then."""
    leave_at_interrupt()

    from supernet.runtime.commands import COMMANDS

    name = sys.argv[1] if len(sys.argv) > 1 else HELP[0]
    if name in COMMANDS:
        del sys.argv[1]
        module, _, function = COMMANDS[name].main.partition(":")
        getattr(importlib.import_module(module), function)()
    else:
        _about(name)


def _about(argument: str) -> None:
    """Prints the version or what commands there are, or refuses an unknown command."""
    from supernet.console.help import overview, version
    from supernet.console.terminal import one_line_errors, prepare_terminal
    from supernet.runtime.commands import COMMANDS
    from supernet.runtime.errors import unknown

    with one_line_errors():
        prepare_terminal()
        if argument not in (*HELP, *VERSION):
            raise unknown("command", argument, COMMANDS)
        print(version() if argument in VERSION else overview())


if __name__ == "__main__":
    main()
