"""Errors for users, one line instead of a traceback, and the checks of names and numbers that raise them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

MAX_COUNT = 2**31 - 1
"""Largest number of rows, steps, epochs: more than anyone means, and less than the limits of torch and NumPy."""

MAX_SEED = 2**31
"""Well below the largest seed of NumPy's and torch's global generators, with room for a seed of each process."""


class UserError(Exception):
    """A mistake that the user can fix. The message says what is wrong, the value, what is allowed, what to do next.

    A command prints it as one line and exits with status 1, without a traceback.
    """


def unknown(kind: str, value: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not among `allowed`, with the nearest valid names.

    Args:
        kind: What the name names, in the singular ("task").
        value: The unknown name.
        allowed: The valid names.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return UserError(f"{kind} '{value}' is unknown; allowed: {', '.join(names)}{hint}")


def one_of(key: str, value: str, allowed: Iterable[str]) -> None:
    """Checks a name.

    Raises:
        UserError: if it is not among `allowed`.
    """
    names = list(allowed)
    if value not in names:
        raise unknown(key, value, names)


def at_least(key: str, value: int, low: int, *, what: str = "") -> None:
    """Checks a count.

    Args:
        key: What the user typed.
        value: The value got.
        low: The least that is allowed.
        what: What to add to "1 or more": the unit, or what null stands for.

    Raises:
        UserError: if it is less, or more than anyone means.
    """
    if not low <= value <= MAX_COUNT:
        allowed = f"{low} or more{what}" if value < low else f"{MAX_COUNT} or less"
        raise UserError(f"{key} is {value}; it must be {allowed}")


def within(key: str, value: float, low: float, high: float, *, what: str = "") -> None:
    """Checks a number that has bounds, both allowed.

    Args:
        key: What the user typed.
        value: The value got. NaN is never allowed.
        low: The least that is allowed.
        high: The most that is allowed.
        what: What to add to "from 0 to 1".

    Raises:
        UserError: if the value is outside.
    """
    if not low <= value <= high:
        raise UserError(f"{key} is {value}; it must be from {low:.10g} to {high:.10g}{what}")


def positive(key: str, value: float, *, what: str = "") -> None:
    """Checks a number that must be greater than 0.

    Raises:
        UserError: if it is not, or is not finite.
    """
    if not 0 < value < math.inf:
        raise UserError(f"{key} is {value}; it must be a number greater than 0{what}")


def first_line(error: BaseException) -> str:
    """The first line of a library's error, for use inside a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
