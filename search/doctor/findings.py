"""Checks and what they find. Each check stands alone: an error in one is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from supernet.runtime.errors import UserError, first_line

P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

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
class Check(Generic[P_contra]):
    """A row of a table of checks.

    Attributes:
        name: Name of the check.
        find: Looks at a subject, the machine or a planned training, and gives what it finds.
    """

    name: str
    find: Callable[[P_contra], Iterable[Finding]]


@dataclass(frozen=True)
class Row:
    """A finding.

    Attributes:
        check: Name of the check.
        finding: What it found.
        training: Name of the training in a sweep; empty for others.
    """

    check: str
    finding: Finding
    training: str = ""


def run_checks(checks: Sequence[Check[P]], subject: P, training: str = "") -> Iterator[Row]:
    """What each check finds. An error of a check is a finding of its own, and the next check follows.

    An error that several checks meet is a problem of the first; the others say that they cannot be made.
    """
    met: dict[str, str] = {}
    for check in checks:
        for finding in _found(check, subject, met):
            yield Row(check.name, finding, training)


def _found(check: Check[P], subject: P, met: dict[str, str]) -> Iterator[Finding]:
    """What one check finds.

    Args:
        check: The check.
        subject: What it looks at.
        met: Errors that other checks have met, and the first check that met each; is extended.
    """
    try:
        yield from check.find(subject)
    except NotKnownError as error:
        yield Finding(UNKNOWN, str(error))
    except UserError as error:
        first = met.setdefault(str(error), check.name)
        yield Finding(PROBLEM, *_divided(str(error))) if first == check.name else Finding(UNKNOWN, f"see {first}")
    except Exception as error:  # a library may raise anything on a machine that is not as it should be
        yield Finding(UNKNOWN, f"it could not be checked ({type(error).__name__}: {first_line(error)})")


def _divided(message: str) -> tuple[str, str]:
    """An error's message as what is wrong and what to do."""
    wrong, _, advice = message.partition("; ")
    return wrong, advice
