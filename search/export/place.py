"""Where an export goes: its folder, its work folder, and whether it is there already."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.options.export import ExportConfig
from supernet.export.report import REPORT_FILE, read_report, verified_files
from supernet.runtime.errors import UserError
from supernet.runtime.files import digest, folder_lock, folder_name, prepare_folder
from supernet.runtime.shapes import flatten
from supernet.runtime.storage import user_path


def place_of(config: ExportConfig, label: str, identity: dict[str, Any]) -> Path:
    """The folder of an export: OUTPUT_DIR/export/NAME. The same choice and options always have the same name.

    Args:
        config: The options; a name of the user's own wins.
        label: The part for people.
        identity: What the export is the result of.
    """
    made = folder_name(label, digest(identity)) if config.name is None else folder_name(config.name)
    return user_path(config.output_dir) / "export" / made


@contextmanager
def only_one(folder: Path) -> Iterator[Path]:
    """Keeps other processes from exporting to a folder while the block runs.

    Args:
        folder: Of the export; need not exist.

    Yields:
        A folder, not made yet, for work that the next run resumes. It is removed at the end of the block, and stays if
        the block fails.

    Raises:
        UserError: if another process exports there.
    """
    prepare_folder(folder.parent)
    home = folder.parent / f".work-{folder.name}"
    prepare_folder(home)
    work = home / "finetune"
    with folder_lock(home):
        for kind in ("partial", "old"):  # of a killed process, see `atomic_folder`
            for left in folder.parent.glob(f".{glob.escape(folder.name)}.????????.{kind}"):
                shutil.rmtree(left, ignore_errors=True)
        try:
            yield work
        except BaseException:
            if not work.exists():
                shutil.rmtree(home, ignore_errors=True)
            raise
        shutil.rmtree(home, ignore_errors=True)


def check_same(folder: Path, identity: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether a folder holds this very export, whole.

    Raises:
        UserError: if it holds something else, or a file has changed; says what differs. With `overwrite` only if it is
            no export folder.
    """
    if not folder.exists():
        return False
    if not (folder / REPORT_FILE).is_file():
        raise UserError(f"{folder} is not an export folder, so it is not replaced; give another name=NAME")
    if overwrite:
        return False
    was, now = map(_as_typed, (read_report(folder).origin.get("identity", {}), identity))
    pairs = [(key, now.get(key), was.get(key)) for key in {**now, **was} if not _without_effect(key, was, now)]
    if changed := [f"{key} is {_shown(new)}, was {_shown(old)}" for key, new, old in pairs if new != old]:
        raise UserError(
            f"{folder} holds another export: {'; '.join(changed)}; export it again with overwrite=true, or give "
            "another name=NAME"
        )
    verified_files(folder)
    return True


def _as_typed(identity: dict[str, Any]) -> dict[str, Any]:
    """What an export is the result of, by the keys that a user types."""
    finishing = identity.get("finetune") or {"epochs": 0}
    values = flatten(identity | {"finetune": finishing})
    return {key: value for key, value in values.items() if (key, value) != ("max_format_loss", None)}


def _without_effect(key: str, was: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether another option, which differs, leaves this one without effect on a side."""
    return key.startswith(("finetune.", "max_format_loss")) and not (key in was and key in now)


def _shown(value: object) -> str:
    text = f"[{','.join(map(str, value))}]" if isinstance(value, list) else "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
