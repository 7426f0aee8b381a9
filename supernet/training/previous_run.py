"""What a training finds in its run folder: a supernet that is done or is being replaced, checkpoints left behind."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from supernet.artifact import read_info
from supernet.options.training import TrainConfig
from supernet.runtime.digests import differences, moved_commits, row_digests
from supernet.runtime.errors import UserError
from supernet.runtime.files import folder_lock
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.processes import resolve_precision
from supernet.runtime.state import DONE, RUNNING, mark_done_for_killed, read_state
from supernet.training.checkpoints import remove_checkpoints
from supernet.training.materials import read_materials
from supernet.training.run import search_command, supernet_is_newer


def resolved(config: TrainConfig) -> TrainConfig:
    """The configuration with the precision that `auto` means here; its folder is named after that."""
    precision = resolve_precision(config.train.mixed_precision)
    return replace(config, train=replace(config.train, mixed_precision=precision))


def report_unchanged(config: TrainConfig, accelerator: Accelerator, console: Console) -> None:
    """Says that there is nothing to train, and what is known of a training that was to replace the supernet.

    Raises:
        UserError: if the supernet was made of other rows or models than those that are there now.
    """
    target = config.folder / "supernet"
    try:
        info = read_info(target)
    except UserError as error:
        raise UserError(f"{error} (overwrite=true)") from error
    said = f"already trained: {target} (overwrite=true trains it again)"
    was = row_digests(info.splits, info.task.answers) | info.begun_with
    try:
        materials = read_materials(config, accelerator)
    except UserError as error:
        said += f"; whether of the same rows and model cannot be seen: {error}"
    else:
        now = {name: digest for name, digest in materials.origins.items() if info.begun_with or name in was}
        if different := differences(now, was):
            different += f" changed since{moved_commits(materials.revisions, info.revisions)}"
            raise UserError(
                f"{target} was trained with other ones: {different}; overwrite=true trains it again, and "
                "output_dir=FOLDER keeps both"
            )
        said += "" if info.begun_with else "; an older version trained it, which did not keep of which model"
    console.print(said)
    console.print(f"next: {search_command(config)}")
    if (interrupted := _replacement(config.folder)) is not None:
        console.print(interrupted)


def _replacement(folder: Path) -> str | None:
    """What is to be said of a training that was to replace the supernet of a folder, and has not yet."""
    state, steps = read_state(folder), sorted(path.name for path in folder.glob("checkpoints/step-*"))
    if state is None or state.state == DONE or (supernet_is_newer(folder) and steps):
        return None
    at = f"its last checkpoint is {steps[-1]}" if steps else "it has no checkpoint yet"
    how = "overwrite=true goes on with it, overwrite=true resume=never begins it anew"
    return (
        f"note: this supernet is the old one. A training with overwrite=true that is to replace it {state}; {at}: "
        f"{'wait for it' if state.state == RUNNING else how}"
    )


def check_not_running(folder: Path) -> None:
    """Sees early that nobody is at work in the folder; the lock decides later, also about other machines.

    Raises:
        UserError: if a process of this machine is.
    """
    state = read_state(folder)
    if state is not None and state.state == RUNNING and state.host == socket.gethostname():
        raise UserError(f"the training in {folder} {state}; wait until it has ended")


def check_precision_unchanged(config: TrainConfig, given: str) -> None:
    """Sees that `auto` does not begin anew what was begun where it meant another precision.

    Args:
        config: With the precision that was decided.
        given: The one that was given.

    Raises:
        UserError: if there is such a training; names both.
    """
    begins = config.resume != "never" and not any(config.folder.glob("checkpoints/step-*"))
    for name in PRECISIONS if given == AUTO and begins else ():
        other = replace(config, train=replace(config.train, mixed_precision=name)).folder
        if name != config.train.mixed_precision and any(other.glob("checkpoints/step-*")):
            now = config.train.mixed_precision
            raise UserError(
                f"this training was begun in {name} ({other}), and train.mixed_precision=auto is {now} here; go on "
                f"with train.mixed_precision={name}, or begin anew with train.mixed_precision={now}"
            )


def finish_killed_run(folder: Path) -> None:
    """Ends what a process had yet to when it was killed after it had saved its supernet: `TrainingRun.finish`.

    Unless another is at work in the folder.
    """
    with suppress(UserError, OSError), folder_lock(folder):
        if supernet_is_newer(folder):
            if any(folder.glob("checkpoints/step-*")):  # else they are not this supernet's: one to replace it has begun
                mark_done_for_killed(folder)
            remove_checkpoints(folder / "checkpoints")
