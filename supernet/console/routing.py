"""Commands that take the options of other commands too: which override is for which command.

An override goes to all of the commands that know its key: output_dir and seed are the same in all stages. The name of
a choice (task=mnli, debug=fast) goes to those that have it. A key that is a choice of one command and a value of
another (space of train and of search) is the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from supernet.console.command import Command
from supernet.console.config import SWEEP_FLAGS, begin, command_of, other_flags
from supernet.console.keys import ValueForm, check_key
from supernet.console.overrides import combinations, in_grammar, parse
from supernet.console.sweep import Job, run_jobs
from supernet.console.terminal import one_line_errors
from supernet.runtime.commands import COMMANDS, schema_of, typed_command
from supernet.runtime.errors import UserError

Overrides: TypeAlias = dict[str, list[str]]
"""By command, the overrides that it knows; `load_config` reads them."""


def run_routed(name: str, run: Callable[[list[Job[Overrides]]], object]) -> None:
    """Runs a command that takes the options of `COMMANDS[name].also` too. All of them are checked before it starts.

    Args:
        name: A key of `COMMANDS`.
        run: Runs the jobs: one, or with -m one for each combination. `run_each` runs them one after another.
    """
    with one_line_errors():
        if (typed_line := begin(name)) is None:
            return
        flags, typed = typed_line
        if others := other_flags(flags):
            one = typed_command(COMMANDS[name].also[0])
            raise UserError(f"{others[0]} is for a single command; give it to one, for example '{one} {others[0]}'")
        run(routed_jobs(name, typed, sweep=any(flag in SWEEP_FLAGS for flag in flags)))


def run_each(job: Callable[[Overrides], object]) -> Callable[[list[Job[Overrides]]], object]:
    """A function for `run_routed` that runs jobs one after another, and after a sweep prints a table of them."""

    def run(jobs: list[Job[Overrides]]) -> None:
        if len(jobs) == 1:
            job(jobs[0].config)
        else:
            run_jobs(jobs, job)

    return run


def routed_jobs(name: str, arguments: Sequence[str], *, sweep: bool = False) -> list[Job[Overrides]]:
    """The overrides of each command, for each combination of a sweep's values. All of them are checked.

    Args:
        name: A key of `COMMANDS`.
        arguments: As typed: key=value.
        sweep: Whether a key may have several values. Without a sweep there is one job.

    Raises:
        UserError: for a key that none of the commands knows, a wrong type, an impossible value.
    """
    commands = _commands(name)
    forms: dict[str, ValueForm] = {}
    for command in reversed(commands):
        forms |= command.forms
    forms = {key: form for key, form in forms.items() if not any(key in command.groups for command in commands)}
    texts = [in_grammar(argument, forms, sweep=sweep) for argument in arguments]
    for text in texts:
        _takers(text, commands)  # a mistake in a key comes before a mistake in a value
    chosen = combinations([parse(text) for text in texts]) if sweep else [("", texts)]
    jobs = [Job(job_name, _routed(one, commands)) for job_name, one in chosen]
    for job in jobs:
        for command in commands:
            command.jobs(job.config[command.name], sweep=False)
    return jobs


def route(name: str, arguments: Sequence[str]) -> Overrides:
    """The overrides of each command, without a sweep; see `routed_jobs`."""
    return routed_jobs(name, arguments)[0].config


def _commands(name: str) -> list[Command[Any]]:
    return [command_of(n, schema_of(n)) for n in (name, *COMMANDS[name].also)]


def _routed(texts: Sequence[str], commands: Sequence[Command[Any]]) -> Overrides:
    takers = [_takers(text, commands) for text in texts]
    return {
        command.name: [text for text, those in zip(texts, takers, strict=True) if command in those]
        for command in commands
    }


def _takers(text: str, commands: Sequence[Command[Any]]) -> list[Command[Any]]:
    """The commands that an override is for.

    Raises:
        UserError: if there is none; names the nearest keys of all commands.
    """
    typed, equals, value = text.partition("=")
    key = typed.lstrip("+~")
    knowing = [command for command in commands if key in command.keys or key in command.groups]
    if not equals or not key:
        return [commands[0]]  # it says what is wrong
    if not knowing:
        keys = {name: single for command in reversed(commands) for name, single in command.keys.items()}
        check_key(key, value, keys, {group for command in commands for group in command.groups})
    choosing = [command for command in knowing if key in command.groups]
    having = [command for command in choosing or knowing if value in command.groups.get(key, [value])]
    return having or knowing[:1]
