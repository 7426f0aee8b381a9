"""Mistakes a user can make, told in one line."""

from __future__ import annotations

import difflib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from supernet.group import in_group

GRACE_S = 5.0
"""Seconds after which a launcher has surely seen that one of its processes has ended, and has ended the others."""


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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a mistake of the user into one line and exit status 1.

    What is wrong in every process the first one says. Before they work together that is everything; afterwards nearly
    everything, so another one waits: if the first has ended too the launcher ends this one, which else says its own,
    with its number. An error that follows from the end of another process is kept back in the same way.
    """
    rank = os.environ.get("RANK", "0")
    try:
        yield
    except UserError as error:
        if in_group() and rank != "0":
            time.sleep(GRACE_S)
        if in_group() or rank == "0":
            prefix = "" if rank == "0" else f"process {rank}: "
            print(f"{prefix}error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        if rank == "0":
            print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception:
        if in_group():
            time.sleep(GRACE_S)
        raise
