"""Whether the rows that are here now are those that existing supernets were trained with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from search.doctor.findings import OK, PROBLEM, WARNING, Finding
from search.doctor.plan import read_rows
from supernet.artifact import INFO_FILE, SupernetInfo, find_supernet, read_info
from supernet.models.pretrained import load_tokenizer
from supernet.options.task import EMBEDDED_TASK
from supernet.runtime.digests import differences, row_digests
from supernet.runtime.errors import UserError
from supernet.runtime.files import digest


def origin_findings(output_dir: Path, given: str | None, tasks: Collection[str]) -> Iterator[Finding]:
    """A finding for each supernet of these tasks, in OUTPUT_DIR/train or as given."""
    if given is not None:
        folders = [find_supernet(given, output_dir)]
    else:
        folders = sorted(file.parent for file in output_dir.glob(f"train/*/supernet/{INFO_FILE}"))
    compared, read = 0, dict[str, dict[str, str]]()
    for folder in folders:
        try:
            info = read_info(folder)
            if given is not None or info.task.name in tasks:
                compared += 1
                yield _compared(folder, info, read)
        except UserError as error:
            yield Finding(WARNING, str(error))
    if not compared:
        yield Finding(OK, f"no supernet of task {' or '.join(sorted(tasks))} in {output_dir / 'train'}")


def _compared(folder: Path, info: SupernetInfo, read: dict[str, dict[str, str]]) -> Finding:
    """Compares the rows of a supernet's training with those that its options give now.

    Args:
        folder: The supernet.
        info: Its supernet.json.
        read: Digests of the rows that were read for other supernets; is extended.
    """
    options = replace(info.data, hub_revision=info.revisions.get("data"))
    same_rows = digest([asdict(info.task), asdict(options), info.model])
    if same_rows not in read:
        data = read_rows(info.task, options, load_tokenizer(folder))
        read[same_rows] = row_digests(data.digests(), data.task.answers)
    now, then = read[same_rows], row_digests(info.splits, info.task.answers)
    if not (different := differences(now, then)):
        return Finding(OK, f"the rows are those that {folder} was trained with")
    if info.task.name == EMBEDDED_TASK:
        text = f"{folder} was trained with another Python's stdlib rows: {different} differ"
        python = info.versions.get("python")
        advice = f"use Python {python}, or train again" if python else "use the Python that trained it, or train again"
        return Finding(PROBLEM, text, f"{advice}; a search refuses these rows")
    text = f"the rows are not those that {folder} was trained with: {different} differ"
    return Finding(WARNING, text, "give the same files with data.dir=FOLDER, or train again: a search refuses these")
