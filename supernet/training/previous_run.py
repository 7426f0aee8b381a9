"""Results of a previous run in the folder of a training: a supernet, perhaps being replaced, and checkpoints."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from supernet.artifact import read_info
from supernet.console.progress import print_next
from supernet.options.training import TrainConfig
from supernet.runtime.digests import differences, moved_commits, row_digests
from supernet.runtime.errors import UserError
from supernet.runtime.files import folder_lock
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.processes import resolve_precision
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.runtime.state import DONE, RUNNING, mark_done_for_killed, read_state
from supernet.training.checkpoints import CHECKPOINTS, checkpoint_names, remove_checkpoints, supernet_is_newer
from supernet.training.materials import read_materials
from supernet.training.summary import search_command


def with_precision(config: TrainConfig) -> TrainConfig:
    """The configuration with a decided precision in place of `auto`; the run folder is named after it."""
    precision = resolve_precision(config.train.mixed_precision)
    return replace(config, train=replace(config.train, mixed_precision=precision))


def report_unchanged(config: TrainConfig, accelerator: Accelerator, console: Console) -> None:
    """Reports that the supernet exists already, and whether an interrupted training was going to replace it.

    Raises:
        UserError: if the supernet was trained with other rows or models than there are now.
    """
    target = config.folder / "supernet"
    try:
        info = read_info(target)
    except UserError as error:
        raise UserError(f"{error} (overwrite=true)") from error
    message = f"already trained: {target} (overwrite=true trains it again)"
    then = row_digests(info.splits, info.task.answers) | info.begun_with
    try:
        materials = read_materials(config, accelerator)
    except UserError as error:
        message += f"; whether the rows and the model are still the same could not be checked: {error}"
    else:
        now = {name: digest for name, digest in materials.origins.items() if info.begun_with or name in then}
        if changes := differences(now, then):
            raise UserError(
                f"{changes} changed since {target} was trained{moved_commits(materials.revisions, info.revisions)}; "
                "overwrite=true trains it again, output_dir=FOLDER keeps both"
            )
        message += "" if info.begun_with else "; an older version trained it and did not record with which model"
    console.print(message)
    print_next(console, search_command(config))
    if (note := _replacement_note(config.folder)) is not None:
        console.print(note)


def _replacement_note(folder: Path) -> str | None:
    """A note about an unfinished training that is to replace the supernet of a folder; None if there is none."""
    state, checkpoints = read_state(folder), checkpoint_names(folder)
    if state is None or state.state == DONE or (supernet_is_newer(folder) and checkpoints):
        return None
    progress = f"its last checkpoint is {checkpoints[-1]}" if checkpoints else "it has no checkpoint yet"
    advice = "overwrite=true resumes it, overwrite=true resume=never starts it from scratch"
    return (
        f"note: this is the old supernet. The training that replaces it (overwrite=true) {state}; {progress}: "
        f"{'wait for it' if state.state == RUNNING else advice}"
    )


def check_not_running(folder: Path) -> None:
    """Refuses early to train in a folder where another process trains. The lock decides later, for all machines.

    Raises:
        UserError: if a process of this machine is training there.
    """
    state = read_state(folder)
    if state is not None and state.state == RUNNING and state.host == socket.gethostname():
        raise UserError(f"the training in {folder} {state}; wait until it has ended")


def check_precision_unchanged(config: TrainConfig, given: str) -> None:
    """Refuses to start from scratch if `auto` meant another precision in an interrupted training.

    Args:
        config: With the decided precision.
        given: The precision that the user gave.

    Raises:
        UserError: if there is such a training; names both precisions.
    """
    starts = config.resume != "never" and not checkpoint_names(config.folder)
    for name in PRECISIONS if given == AUTO and starts else ():
        other = replace(config, train=replace(config.train, mixed_precision=name)).folder
        if name != config.train.mixed_precision and checkpoint_names(other):
            now = config.train.mixed_precision
            raise UserError(
                f"this training was started in {name} ({other}), and train.mixed_precision=auto is {now} here; resume "
                f"it with train.mixed_precision={name}, or start from scratch with train.mixed_precision={now}"
            )


def finish_killed_run(folder: Path) -> None:
    """Removes the checkpoints of a process that was killed after it saved its supernet (`TrainingRun.finish`).

    Does nothing while another process holds the lock.
    """
    with suppress(UserError, OSError), folder_lock(folder):
        if supernet_is_newer(folder):
            if checkpoint_names(folder):  # without any, the state is that of a training that has begun to replace it
                mark_done_for_killed(folder)
            remove_checkpoints(folder / CHECKPOINTS)


def training_of(supernet_folder: Path) -> TrainConfig | None:
    """The options of a supernet's training, from config.json of its run folder; None if it is not in one.

    Raises:
        UserError: if the file cannot be used.
    """
    path = supernet_folder.parent / "config.json"
    if supernet_folder.name != "supernet" or not path.exists():  # beside another folder it is somebody else's
        return None
    with unusable(str(path), "remove it, and the default values of a training are used"):
        return shaped(TrainConfig, load_json(path))
