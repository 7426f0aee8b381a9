"""How a command ends: one line for a user's mistake, silence for a closed pipe."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper

from supernet.runtime.distributed import in_group, is_main, rank
from supernet.runtime.errors import UserError
from supernet.runtime.storage import system_errors

GRACE_S = 5.0
"""Seconds after which a launcher has certainly noticed a dead process and killed the others."""

CLOSED_PIPE = 128 + signal.SIGPIPE
"""Exit status of a command whose output nobody reads: the same as after SIGPIPE."""

MAX_COLUMNS = 10_000


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `UserError` into one line and exit status 1.

    Rank 0 prints the errors that all processes share: all errors before the processes work together, and nearly all
    later errors. So another rank first waits `GRACE_S` seconds. If the error was shared, the launcher has killed it by
    then; if not, it prints its own error with its rank. An error that only follows from the end of another process
    waits in the same way.

    If nobody reads the output any more (`| head`), the command ends silently, as if by SIGPIPE.
    """
    try:
        with system_errors(), _output_written():
            yield
    except UserError as error:
        if in_group() and not is_main():
            time.sleep(GRACE_S)
        if in_group() or is_main():
            say_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        if is_main():
            _say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        if not nobody_reads():
            raise
        _discard_output()
        sys.exit(CLOSED_PIPE)
    except Exception:
        if in_group():
            time.sleep(GRACE_S)
        raise


def say_error(error: BaseException) -> None:
    """Prints an error as one line, with the rank in front unless this is the main process."""
    _say(f"{'' if is_main() else f'process {rank()}: '}error: {' '.join(str(error).split())}")


def prepare_terminal() -> None:
    """Makes printing safe: escapes letters that the terminal's encoding lacks, and ignores an absurd width."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "")
        if value and not (value.isascii() and value.isdigit() and 0 < int(value[:9]) <= MAX_COLUMNS):
            del os.environ[name]


@contextmanager
def _output_written() -> Iterator[None]:
    """Flushes standard output. Otherwise Python would do it after the command, with its own error messages.

    Raises:
        UserError: if it cannot be written.
        BrokenPipeError: if nobody reads it.
    """
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich has raised it
            raise SystemExit(CLOSED_PIPE) from end
        _flush()
        raise
    except OSError as error:
        if error.filename is None:
            _flush()  # this may be what failed
        raise
    _flush()


def _flush() -> None:
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise UserError(f"standard output cannot be written ({error.strerror}); direct it elsewhere") from error


def nobody_reads() -> bool:
    """Whether standard output or standard error is a pipe whose other end is closed."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, select.POLLOUT)
    return any(state & select.POLLERR for _, state in poll.poll(0))


def _discard_output() -> None:
    """Discards the output that is not written yet."""
    with suppress(OSError, ValueError, AttributeError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _say(text: str) -> None:
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)
