"""What a row of the tables is, and the kinds of damage to files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BAD_JSON = {
    "empty": b"",
    "cut off": b'{"format": 2, "task": {"na',
    "no JSON": b"format: 2\n",
    "no UTF-8": b'{"task": "\xff\xfe"}',
    "nested 100000 deep": b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "an integer of 5000 digits": b'{"format": ' + b"9" * 5000 + b"}",
}
"""What no file that should hold a JSON object may be."""

SOME_BAD_JSON = {what: BAD_JSON[what] for what in ("cut off", "nested 100000 deep", "a list")}
"""For files that the same function reads as one that all of `BAD_JSON` is tried on: supernet.json, run.json."""


@dataclass(frozen=True)
class Place:
    """The folder of one row: what it names in braces, or damages, is copied there from the stock on first use.

    Attributes:
        folder: Of this row alone.
        stock: Folders and files that are whole, by name.
        shared: What all rows use as it is, by name.
        copied: Names of what has been copied; what was removed since is not copied again.
    """

    folder: Path
    stock: dict[str, Path]
    shared: dict[str, Path]
    copied: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Path:
        """What is shared, or the row's own copy of something in stock; a new path if there is no such thing."""
        if name in self.shared:
            return self.shared[name]
        path = self.folder / name
        if name in self.stock and name not in self.copied:
            self.copied.add(name)
            source = self.stock[name]
            shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
        return path

    def __call__(self, path: str) -> Path:
        """A path in a copy: "run/run.json"."""
        name, _, rest = path.partition("/")
        return self[name] / rest if rest else self[name]


Damage = Callable[[Place], object]


@dataclass(frozen=True)
class Bad:
    """A bad input.

    Attributes:
        what: Is wrong; with the command it names the test, so no two rows have the same.
        command: A key of `tests.test_bad_inputs.COMMANDS`.
        arguments: Of the command, separated by spaces, or a tuple where one has spaces. {run} stands for the row's
            copy of the stock's run, and so on. What the command needs besides is added.
        expected: Words that the line must have: the file's name, the key, the value, what to do.
        damage: What is done to the copies before.
        talks: Whether the command says something else on stderr before.
        leaves: Names of files that may be left in the output folder, because they are whole.
    """

    what: str
    command: str
    arguments: str | tuple[str, ...]
    expected: tuple[str, ...]
    damage: tuple[Damage, ...] = ()
    talks: bool = False
    leaves: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.command}: {self.what}"


def put(path: str, content: bytes | str) -> Damage:
    """Writes a file anew."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content

    def damage(place: Place) -> None:
        place(path).parent.mkdir(parents=True, exist_ok=True)
        place(path).write_bytes(data)

    return damage


def cut(path: str, length: int) -> Damage:
    """Cuts a file off after so many bytes."""
    return lambda place: place(path).write_bytes(place(path).read_bytes()[:length])


def remove(path: str) -> Damage:
    """Removes a file or a folder."""

    def damage(place: Place) -> None:
        target = place(path)
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return damage


def folder_instead(path: str) -> Damage:
    """A folder where a file should be."""

    def damage(place: Place) -> None:
        place(path).unlink(missing_ok=True)
        place(path).mkdir(parents=True)

    return damage


def link(path: str, to: str) -> Damage:
    """A symbolic link, to something beside it."""

    def damage(place: Place) -> None:
        place(path).unlink(missing_ok=True)
        place(path).symlink_to(to)

    return damage


DROPPED = object()
"""In `change`: the key is removed."""


def change(path: str, key: str, value: object, *, line: int | None = None) -> Damage:
    """Another value for a dotted key of a JSON file, or of one line (from 1) of a file of JSON lines."""

    def damage(place: Place) -> None:
        lines = place(path).read_text("utf-8").splitlines() if line else [place(path).read_text("utf-8")]
        values = json.loads(lines[(line or 1) - 1])
        _set(values, key.split("."), value)
        lines[(line or 1) - 1] = json.dumps(values)
        place(path).write_text("\n".join(lines) + "\n", "utf-8")

    return damage


def _set(values: object, keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        values = values[int(key)] if isinstance(values, list) else values[key]
    key = int(keys[-1]) if isinstance(values, list) else keys[-1]
    if value is DROPPED:
        del values[key]
    else:
        values[key] = value
