"""From the command line to a job: its configuration as typed, frozen values, checked before anything starts.

`command.py` checks it, `overrides.py` translates what was typed into Hydra's grammar, `choices.py` reads conf/. No
other module knows Hydra.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from supernet.console.choices import CONFIG_MODULE
from supernet.console.command import Command
from supernet.console.help import help_of, version
from supernet.console.overrides import in_grammar
from supernet.console.start import loaded
from supernet.console.sweep import Job, run_jobs
from supernet.console.terminal import one_line_errors, prepare_terminal
from supernet.runtime.errors import UserError, first_line

C = TypeVar("C")

command_of: Callable[..., Command[Any]] = cache(Command)
"""Cache of commands, since composing is slow."""

HELP_FLAGS = ("-h", "--help")
VERSION_FLAGS = ("-V", "--version")
SWEEP_FLAGS = ("-m", "--multirun")
_FLAGS_WITH_VALUE = {
    "-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
    "--experimental-rerun", "-i", "--info",
}  # fmt: skip
_OF_FLAGS = ("The --", "Only one of --", "Expecting one subcommand")
"""How Hydra's errors about its flags begin."""
HYDRA_FLAGS = {"--hydra-help", "--resolve", "-r", "--run", "-sc", "--shell-completion"}
HYDRA_FLAGS |= _FLAGS_WITH_VALUE | {*SWEEP_FLAGS}


def run_app(config_name: str, schema: type[C], job: Callable[[C], object]) -> None:
    """Runs a command: configuration from conf/`config_name`.yaml and the command line, checked before anything starts.

    Args:
        config_name: Primary configuration; its defaults list begins with "`config_name`_schema".
        schema: Frozen dataclass that the configuration becomes.
        job: Runs a configuration. In a sweep (`-m`) it is called once for each combination. If it returns its run
            folder, the table at the end of a sweep shows it.
    """
    with one_line_errors():
        if (typed_line := begin(config_name)) is None:
            return
        command: Command[C] = command_of(config_name, schema)
        flags, typed = typed_line
        sweep = any(flag in SWEEP_FLAGS for flag in flags)
        others = other_flags(flags)
        overrides = [in_grammar(argument, command.forms, sweep=sweep) for argument in typed]
        # With other flags of Hydra (help, a configuration folder of the user) Hydra does the checking.
        jobs = [] if others else command.jobs(overrides, sweep=sweep)
        if others or any(text.lstrip("+~").startswith("hydra") for text in overrides):
            sys.argv[1:] = [*flags, *command.spelled_out(overrides)]
            _run_hydra(command, job)
        elif sweep:
            run_jobs(jobs, job)
        else:
            job(jobs[0].config)


def begin(name: str) -> tuple[list[str], list[str]] | None:
    """Prepares the terminal and answers --help and --version.

    Args:
        name: A key of `COMMANDS`.

    Returns:
        Flags, each before its value, and the other arguments of the command line; None if it is answered.

    Raises:
        UserError: if there is no such flag.
    """
    loaded()
    prepare_terminal()
    if set(sys.argv[1:]) & {*VERSION_FLAGS}:
        print(version())
        return None
    if set(sys.argv[1:]) & {*HELP_FLAGS}:
        print(help_of(name))
        return None
    return _flags_and_overrides(sys.argv[1:])


def other_flags(flags: Sequence[str]) -> list[str]:
    """The flags that ask for something else than a sweep, without their values."""
    return [flag.partition("=")[0] for flag in flags if flag.startswith("-") and flag not in SWEEP_FLAGS]


def load_config(config_name: str, schema: type[C], overrides: Sequence[str] = ()) -> C:
    """The configuration of a command line, without running anything.

    Raises:
        UserError: for an unknown name or key, a wrong type, an impossible value.
    """
    return load_sweep(config_name, schema, overrides, sweep=False)[0].config


def load_sweep(config_name: str, schema: type[C], overrides: Sequence[str], *, sweep: bool = True) -> list[Job[C]]:
    """The jobs of a sweep, without running any; see `load_config`."""
    command: Command[C] = command_of(config_name, schema)
    return command.jobs([in_grammar(text, command.forms, sweep=sweep) for text in overrides], sweep=sweep)


def _run_hydra(command: Command[C], job: Callable[[C], object]) -> None:
    """Lets Hydra show help and configuration, or start a sweep's jobs elsewhere (hydra/launcher=...)."""

    @hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=command.name)
    def run(config: DictConfig) -> None:
        with one_line_errors():
            job(command.typed(config))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints errors itself, for example that of a closed pipe
    try:
        run()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(command.message(error)) from error
    except ValueError as error:
        if not str(error).startswith(_OF_FLAGS):
            raise
        raise UserError(first_line(error)) from error


def _flags_and_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags, each before its value, and the other arguments. Hydra needs them apart; people mix them.

    Raises:
        UserError: if Hydra has no such flag.
    """
    flags: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        if flags and flags[-1] in _FLAGS_WITH_VALUE and not argument.startswith("-"):
            flags.append(argument)
        elif not argument.startswith("-"):
            overrides.append(argument)
        elif argument.partition("=")[0] in HYDRA_FLAGS:
            flags.append(argument)
        else:
            flag = argument.partition("=")[0]
            raise UserError(f"'{flag}' is not understood; write key=value without dashes, for example task=mnli")
    return flags, overrides
