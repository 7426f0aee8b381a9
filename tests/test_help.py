"""Help and docs/options.md: all options, with their texts and defaults, as the code has them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import search.cli
from supernet.console.choices import groups_of
from supernet.console.command import Command
from supernet.console.config import load_config
from supernet.console.describe import describe, options_of, texts_of
from supernet.console.help import help_of
from supernet.console.reference import reference
from supernet.options.training import TrainConfig
from supernet.runtime.commands import COMMANDS
from supernet.runtime.fields import ADVANCED, names, variants

ROOT = Path(__file__).parent.parent
commands = pytest.mark.parametrize("command", COMMANDS)


def schema_of(command):
    module, _, name = COMMANDS[command].options.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)


@commands
def test_the_help_has_every_option_and_every_choice(command):
    lines = [line.split() for line in help_of(command).splitlines()]
    first = {words[0] for words in lines if words}
    description, known = describe(command), Command(command, schema_of(command))
    options = [option for options in description.sections.values() for option in options]
    names_of_choices = {f"{group}.name" for group in known.groups}
    assert {option.key for option in options} == known.forms.keys() - names_of_choices
    assert {option.key for option in options if not option.advanced} <= first
    assert not {option.key for option in options if option.advanced} & first
    assert {f"{group}=NAME" for group in known.groups} <= first
    assert {name for group in known.groups for name in groups_of(command)[group]} <= first


@pytest.mark.parametrize("command", [name for name, row in COMMANDS.items() if row.also])
def test_the_options_of_other_commands_are_shown_once_and_only_if_they_are_taken(command):
    row = COMMANDS[command]
    others = help_of(command).partition(" too; ")[2].replace(",", " ").replace("=NAME", " ").replace(".*", " ").split()
    own = {option.key for options in describe(command).sections.values() for option in options if "." not in option.key}
    assert {"task", "train", "epochs"} <= set(others)
    assert not {*row.without, *own} & {word for word in others if word not in row.also}


@commands
def test_every_option_and_every_choice_has_a_text(command):
    description = describe(command)
    texts = [(option.key, option.text) for options in description.sections.values() for option in options]
    texts += [(choice.key, choice.text) for choice in description.choices]
    texts += [(name, text) for choice in description.choices for name, text in choice.names.items()]
    assert not [key for key, text in texts if not text]
    assert not [text for _, text in texts if "None" in text or "`" in text]


@commands
def test_the_default_in_the_help_is_the_one_that_holds(command):
    """Typing all of them changes nothing."""
    needed = {name: ["max_params=0.5"] for name in ("select", "export", "compress")}.get(command, [])
    sections = describe(command).sections.values()
    owned = ("searcher.", "evaluator.")  # of which some are another choice's
    given = [f"{o.key}={o.default}" for options in sections for o in options if not o.key.startswith(owned)]
    columns = ("task.label=", "data.label=null", "data.text=null", "data.choices=null", "text=", "choices=")
    given = [text for text in given if not text.startswith((*columns, "seeds.", "max_params="))]
    assert load_config(command, schema_of(command), [*needed, *given]) == load_config(
        command, schema_of(command), needed
    )


def test_the_page_of_options_is_the_one_that_the_code_makes():
    """After a change: python -m supernet.console.reference > docs/options.md"""
    assert (ROOT / "docs" / "options.md").read_text() == reference()


@commands
@pytest.mark.parametrize("columns", [20, 80, 100, 300])
def test_the_help_is_readable_at_any_width(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = help_of(command)
    body = text[text.index("Options (key=value)") :]
    assert max(map(len, body.splitlines())) <= max(80, min(columns, 120))


def test_a_command_prints_its_help(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search.py", "searcher=random", "--help"])
    search.cli.main()
    said = capsys.readouterr().out
    assert said.startswith(
        "Stage two: search a supernet for its best sub-networks.\n\nusage: python search.py [key=val"
    )
    assert "  accelerate launch --num_processes 4 search.py searcher=ehvi\n" in said
    assert "Hydra" not in said


def test_texts_come_from_docstrings_and_their_classes():
    @dataclass(frozen=True)
    class Base:
        """A base.

        Attributes:
            name: Its name,
                in two lines.
            low, high: One of `two`.
        """

        name: str
        low: int = 0
        high: int = field(default=1, metadata=ADVANCED)

    @dataclass(frozen=True)
    class Other(Base):
        """Another.

        Attributes:
            turns: How often.
        """

        turns: float = 0.5

    @dataclass(frozen=True)
    class Config:
        """All.

        Attributes:
            part: A part.
            kind: A kind.
        """

        part: Base = field(metadata=variants({"other": Other, "base": Base}))
        kind: str | None = field(default=None, metadata=names({"a": "first"}))

    assert texts_of(Other) == {
        "name": "Its name, in two lines.", "low": "One of two.", "high": "One of two.", "turns": "How often.",
    }  # fmt: skip
    options = {option.key: option for option in options_of(Config, {"part.name": "base"}, "")}
    assert (options["part.name"].default, options["part.low"].default, options["part.turns"].default) == (
        "base", "0", "0.5",
    )  # fmt: skip
    assert options["part.turns"].text == "For other. How often."
    assert [options[key].advanced for key in ("part.low", "part.high")] == [False, True]
    assert (options["kind"].default, options["kind"].names) == ("null", {"a": "first"})


def test_a_configuration_is_composed_once(monkeypatch):
    composed, compose = [], Command._composed
    monkeypatch.setattr(Command, "_composed", lambda self, texts: composed.append(texts) or compose(self, texts))
    Command("train", TrainConfig).jobs(["task=rte", "train.epochs=2"], sweep=False)
    assert composed == [("task=rte",)]
