"""Errors of the operating system as one line each: full disks, folders that cannot be written."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supernet.runtime.errors import UserError, first_line

OUTPUT_DIR = "output_dir=FOLDER"
"""The override for where most files are written."""

_AGAIN = "make room and give the same command again"
_CAUSES = {
    errno.ENOSPC: ("the disk is full", _AGAIN),
    errno.EDQUOT: ("the quota of this disk is used up", _AGAIN),
    errno.EFBIG: ("files may not be that large here", "raise the limit, see 'ulimit -f'"),
    errno.EACCES: ("permission denied", "check the permissions"),
    errno.EPERM: ("not permitted", "check the permissions"),
    errno.EROFS: ("the file system is read-only", "check how it is mounted"),
    errno.EIO: ("the disk reports an error", "check the disk"),
    errno.ESTALE: ("the network drive has lost it", "check the drive"),
    errno.ENAMETOOLONG: ("the name is too long", "shorten it"),
    errno.ELOOP: ("its symbolic links lead in a circle", "put the links right"),
    errno.ENOTDIR: ("a part of its path is a file", "check the path"),
    errno.EMFILE: ("too many files are open", "raise the limit, see 'ulimit -n'"),
}
"""Meaning of an error number, and what to do."""


class StorageError(UserError):
    """Something could not be written. Files that were complete before are unchanged."""


@contextmanager
def writing(what: Path | str, place: str = OUTPUT_DIR) -> Iterator[None]:
    """Turns an error of the operating system in the block into a line with the path and another place to write.

    Of nested blocks, the outermost names its path: for example a folder, not a file in it.

    Args:
        what: A file or folder, perhaps with a noun: "the cache folder X".
        place: The override that writes elsewhere.

    Raises:
        StorageError: for such an error, also if a library in Rust has wrapped it.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except Exception as error:
        cause = error.__cause__ if isinstance(error, StorageError) else error
        number = None if cause is None else _number(cause)
        if cause is None or number is None:
            raise
        wrong, advice = _CAUSES.get(number, (getattr(cause, "strerror", None) or first_line(cause), "check the path"))
        raise StorageError(
            f"{what} cannot be written ({wrong}); {advice}, or choose another place with {place}"
        ) from cause


@contextmanager
def system_errors() -> Iterator[None]:
    """Turns the remaining errors of the operating system into one line each, around a whole command.

    Raises:
        StorageError: for errors of `_CAUSES`. Other errors pass: they may be bugs of this program.
    """
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except FileNotFoundError as error:
        if "temporary directory" not in str(error):
            raise
        raise StorageError(f"{error.strerror}; name a folder that can be written with TMPDIR=FOLDER") from error
    except Exception as error:
        number = _number(error)
        if number not in _CAUSES:
            raise
        cause, advice = _CAUSES[number]
        file = getattr(error, "filename", None) or f"a file, perhaps a temporary one in {tempfile.gettempdir()},"
        raise StorageError(f"{file} cannot be used ({cause}); {advice}") from error


def user_path(text: str) -> Path:
    """A path that a user typed. `~` and `~user` are home folders; other names that begin with `~` stay."""
    return Path(os.path.expanduser(text))


def check_room(folder: Path, needed: int, *, what: str, advice: str) -> None:
    """Checks that a disk has room, before hours of work depend on it.

    Args:
        folder: Where the files go. Its present content counts as free, since it is replaced.
        needed: Bytes, at most.
        what: The files, for the message: "2 checkpoints and the supernet".
        advice: What to do instead of making room.

    Raises:
        StorageError: if there is less room.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    present = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(there).free
    if needed > free + present:
        raise StorageError(
            f"{folder} has too little room: {what} may need {size_text(needed - present)}, and {size_text(free)} are "
            f"free; make room, or {advice}"
        )


def _number(error: BaseException) -> int | None:
    """The operating system's error number behind an error; None if there is none."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))
    return None if match is None else int(match[1])


def size_text(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(0, size) / 2**20:.1f} MiB"
