"""Mistakes a user can make, told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: what was wrong, the value got, what is allowed, what to do next.

    The command line prints the message as one line and exits with status 1; there is no traceback.
    """


def unknown(kind: str, value: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not among `allowed`, with the nearest valid names.

    Args:
        kind: What the name stands for, in the singular ("task").
        value: The name got.
        allowed: The names that would have been valid.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return UserError(f"{kind} '{value}' is unknown; allowed: {', '.join(names)}{hint}")


def first_line(error: BaseException) -> str:
    """The first line of an error of some library, for use inside a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
