"""Checks and what they find. Each check stands alone: an error in one is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from supernet.runtime.errors import UserError, first_line

P = TypeVar("P")

OK, UNKNOWN, WARNING, PROBLEM = LEVELS = ("ok", "unknown", "warning", "problem")
"""From harmless to serious. unknown: it cannot be told here and now, for example because a model is not here yet."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: One of `LEVELS`.
        text: What is so, in one line.
        advice: What to do next; empty if there is nothing to do.
    """

    level: str
    text: str
    advice: str = ""


class NotKnownError(UserError):
    """Raised by a check that cannot be made: something that it needs is not here."""


@dataclass(frozen=True)
class Check(Generic[P]):
    """A row of a table of checks.

    Attributes:
        name: Name of the check.
        find: Looks at a subject, the machine or a planned training, and gives what it finds.
    """

    name: str
    find: Callable[[P], Iterable[Finding]]


@dataclass(frozen=True)
class Row:
    """A finding with the name of its check."""

    check: str
    finding: Finding


def run_checks(checks: Sequence[Check[P]], subject: P) -> Iterator[Row]:
    """What each check finds. An error of a check is a finding of its own, and the next check follows."""
    for check in checks:
        try:
            for finding in check.find(subject):
                yield Row(check.name, finding)
        except NotKnownError as error:
            yield Row(check.name, Finding(UNKNOWN, str(error)))
        except UserError as error:
            yield Row(check.name, Finding(PROBLEM, *_divided(str(error))))
        except Exception as error:  # a library may raise anything on a machine that is not as it should be
            cause = f"{type(error).__name__}: {first_line(error)}"
            yield Row(check.name, Finding(UNKNOWN, f"it could not be checked ({cause})"))


def _divided(message: str) -> tuple[str, str]:
    """An error's message as what is wrong and what to do."""
    wrong, _, advice = message.partition("; ")
    return wrong, advice
