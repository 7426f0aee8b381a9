"""Files and folders that are written completely or not at all; digests, locks, names of run folders."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from supernet.runtime.errors import UserError
from supernet.runtime.storage import writing

LOCK_FILE = ".lock"
"""In a run folder, see `folder_lock`."""


def digest(values: Any) -> str:
    """Eight hexadecimal digits of a hash of plain values, such as a configuration."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def file_sha256(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal digits."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


def weights_digest(supernet: Path) -> str:
    """16 hexadecimal digits of a hash of the weights in a supernet's folder.

    Raises:
        UserError: if the file cannot be read.
    """
    path = supernet / "model.safetensors"
    try:
        return file_sha256(path)[:16]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the folder and its permissions") from error


def check_weights(supernet: Path, expected: str) -> None:
    """Checks that the weights in a supernet's folder have this digest.

    Raises:
        UserError: if they have another digest.
    """
    if (current := weights_digest(supernet)) != expected:
        raise UserError(
            f"the supernet in {supernet} is not the one that was searched: the digest of its weights is {current}, it "
            f"was {expected}; the supernet was trained again or replaced, so search it again"
        )


def folder_name(*parts: str) -> str:
    """The parts joined by dashes; other characters than letters, digits, dots and dashes become underscores."""
    return "-".join(re.sub(r"[^\w.-]+", "_", part) for part in parts)


def supernet_in(folder: Path) -> Path:
    """The folder of a supernet: `supernet` in a training's run folder, otherwise the folder itself."""
    return folder / "supernet" if (folder / "supernet").is_dir() else folder


def supernet_name(folder: Path) -> str:
    """Name of a supernet: that of its training's run folder, or of its own folder if it lies elsewhere."""
    return folder.parent.name if folder.name == "supernet" else folder.name


def prepare_folder(folder: Path) -> None:
    """Makes a folder and checks that it is writable, before hours of work depend on it.

    Raises:
        UserError: if it cannot be made or written.
    """
    with writing(f"the output folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. After the block it replaces `path`; if the block fails, it is removed.

    Raises:
        StorageError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(path):
            yield partial
            sync(partial)
            os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`. After the block it replaces `folder`; if the block fails, it is removed.

    Everything is flushed to the disk before the folder gets its name, so even a power failure leaves no partial folder.

    Raises:
        StorageError: if it cannot be written.
    """
    with writing(folder), _partial_folder(folder) as partial:
        yield partial
        for path in (*partial.rglob("*"), partial):
            sync(path)
        old = partial.with_suffix(".old")
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        partial.chmod(folder.parent.stat().st_mode & 0o777)  # mkdtemp's own mode excludes other users
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the partial files of a killed process. For the process that holds the folder's lock."""
    for path in (*folder.glob(".*.partial"), *folder.glob(".*.old")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Writes JSON atomically."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def append_json_line(path: Path, values: dict[str, Any]) -> None:
    """Appends a JSON object as one line and flushes it to the disk. If it does not fit, the file stays as it was.

    Raises:
        StorageError: if it cannot be written.
    """
    line = (json.dumps(values) + "\n").encode()
    with writing(path), path.open("ab", buffering=0) as file:
        length = file.tell()
        try:
            if file.write(line) < len(line):  # the disk is full
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(length)
            raise


def cut_half_written_line(path: Path) -> None:
    """Removes the part of a line that a killed process may have left at the end of a file. The file may be missing."""
    if path.exists():
        content = path.read_bytes()
        with writing(path):
            os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock on a folder while the block runs, so that only one process writes there.

    Raises:
        UserError: if another process holds the lock.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=0.1)  # a reader of state.json may hold it for a moment
    with writing(folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise UserError(f"another process is writing in {folder}; wait until it has ended") from error
    try:
        yield
    finally:
        lock.release()
