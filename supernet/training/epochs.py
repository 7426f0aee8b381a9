"""A training in a folder, epoch by epoch: steps, records, checkpoints, and what is printed if it stops."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NoReturn

from rich.console import Console

from supernet.console.progress import show_progress
from supernet.runtime.errors import UserError
from supernet.runtime.files import remove_leftovers, write_json
from supernet.runtime.signals import StopRequest
from supernet.runtime.state import mark_running
from supernet.runtime.storage import StorageError
from supernet.training.checkpoints import (
    CHECKPOINTS,
    Position,
    check_room_for_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    supernet_is_newer,
)
from supernet.training.summary import step_text
from supernet.training.tracking import Tracking, cut_metrics, peak_memory_gib
from supernet.training.trainer import StepResult, Trainer

LOG_EVERY = 10
"""Steps between two records of the losses. Reading a loss waits for the device."""


@dataclass(frozen=True)
class Begun:
    """A training that has begun in a folder, or resumes there. Made by `begin`.

    Attributes:
        trainer: Makes the steps.
        folder: For checkpoints and records; no other process writes there.
        position: Where the trainer is.
        tracking: Records the numbers.
        console: Silent except in the main process.
        stop: Whether this process has been asked to stop.
    """

    trainer: Trainer
    folder: Path
    position: Position
    tracking: Tracking
    console: Console
    stop: StopRequest


class Epochs(ABC):
    """The epochs of a training.

    Args:
        begun: The training.
    """

    advice: ClassVar[str]
    """What a user may do if the training diverges; {rate} stands for the learning rate."""

    def __init__(self, begun: Begun) -> None:
        self.trainer, self.folder, self.position = begun.trainer, begun.folder, begun.position
        self.tracking, self.console, self.stop = begun.tracking, begun.console, begun.stop
        self.config, self.model = begun.trainer.config, begun.trainer.model
        self.accelerator = begun.trainer.accelerator
        self.checkpoints = begun.folder / CHECKPOINTS
        self.saved_step = begun.position.step
        self.start_time = time.monotonic() - begun.position.seconds

    @abstractmethod
    def end_epoch(self) -> None:
        """Validates and writes a checkpoint."""

    @abstractmethod
    def finish(self) -> None:
        """Saves the result and removes the checkpoints."""

    def train_to_the_end(self) -> None:
        """Trains and validates the epochs that are left, then saves the result."""
        while self.position.epochs < self.config.train.epochs:
            self.train_epoch()
            self.end_epoch()
        self.finish()

    def train_epoch(self) -> None:
        """Makes the steps that are left of the epoch, and records the losses every `LOG_EVERY` steps."""
        epoch, done = self.position.epochs, self.position.step - self.position.epochs * self.trainer.steps_per_epoch
        batches = self.trainer.batches(epoch)
        description, steps = f"epoch {epoch + 1}/{self.config.train.epochs}", len(batches)
        later = (self.config.train.epochs - epoch - 1) * steps
        shown_progress = show_progress(self.console, description, steps, unit="steps", done=done, later=later)
        with self._explained_interrupt(), shown_progress as progress:
            start, rows_done = time.perf_counter(), 0
            for i, rows_B in enumerate(batches[done:], start=done):
                learning_rate = self.trainer.schedule.get_last_lr()[0]
                result = self.trainer.step(rows_B, self.position.step, stop=self.stop.asked)
                if not result.done:
                    self._stop()
                rows_done += len(rows_B)
                record, text = i % LOG_EVERY == 0 or i == len(batches) - 1, None
                if record or progress.is_stale:
                    speed = rows_done / (time.perf_counter() - start)
                    values = self._step_values(result, learning_rate=learning_rate, samples_per_second=speed)
                    text = step_text(values)
                    if record:
                        self._record_step(values)
                progress.advance(text)
                self.position.step += 1
                if result.stop:
                    self._stop()
                every = self.config.train.checkpoint_every
                if every is not None and self.position.step % every == 0 and i != len(batches) - 1:
                    self._checkpoint()

    def _step_values(self, result: StepResult, **more: float) -> dict[str, float]:
        """The numbers of a step: losses, memory and what `more` gives.

        Raises:
            UserError: if a loss is not finite.
        """
        step = self.position.step
        losses = {f"loss_{kind}": loss.item() for kind, loss in result.losses.items()}
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise UserError(
                f"the loss is not finite at step {step}: training has diverged; "
                + self.advice.format(rate=self.config.train.learning_rate)
            )
        return {"step": step, **losses, **more, "memory_gib": peak_memory_gib(self.accelerator.device)}

    def _record_step(self, values: dict[str, float]) -> None:
        with self._explained_storage_error():
            self.tracking.record(values, step=self.position.step)
        self.position.seen = values

    def _checkpoint(self) -> None:
        self.position.seconds = time.monotonic() - self.start_time
        self.position.metrics_bytes = self.tracking.bytes_written()
        with self._explained_storage_error():
            save_checkpoint(self.checkpoints, self.trainer, self.position, keep=self.config.train.keep_checkpoints)
        self.saved_step = self.position.step

    @contextmanager
    def _explained_interrupt(self) -> Iterator[None]:
        """After Ctrl-C, which writes no checkpoint, says where the training can resume."""
        try:
            yield
        except KeyboardInterrupt:
            self._print_stopped("Ctrl-C", self._resume_point())
            raise

    @contextmanager
    def _explained_storage_error(self) -> Iterator[None]:
        """After a failed write, on a full disk for example, says where the training can resume."""
        try:
            yield
        except StorageError as error:
            raise StorageError(f"{error}; {self._resume_command()} {self._resume_point()}") from error

    def _stop(self) -> NoReturn:
        self._checkpoint()
        self._print_stopped(self.stop.name, "resumes from there")
        self.accelerator.wait_for_everyone()  # once a process has ended, the launcher kills those that still write
        raise SystemExit(self.stop.exit_status)

    def _print_stopped(self, cause: str, resume_point: str) -> None:
        done = f"step {self.position.step} of {self.trainer.steps}"
        self.console.print(f"stopped by {cause} after {done}; {self._resume_command()} {resume_point}")

    def _resume_command(self) -> str:
        return "the same command" if self.config.resume != "never" else "the same command with resume=auto"

    def _resume_point(self) -> str:
        step = self.saved_step
        return f"resumes after step {step}, from the last checkpoint" if step else "starts from scratch"


@contextmanager
def begin(
    trainer: Trainer,
    folder: Path,
    origins: Mapping[str, str],
    console: Console,
    stop: StopRequest,
    *,
    from_scratch: str,
) -> Iterator[Begun]:
    """Brings a trainer to the newest whole checkpoint in a folder, or leaves it at the beginning.

    Args:
        trainer: A trainer that has made no step.
        folder: Of the training.
        origins: Digests of rows and models; see `load_checkpoint`.
        console: Silent except in the main process.
        stop: Whether this process has been asked to stop.
        from_scratch: What a user does to start from the beginning, for a message.

    Yields:
        The training; its trackers are closed after the block.

    Raises:
        UserError: if the checkpoint or a tracker cannot be used, or the disk lacks room.
    """
    config, accelerator = trainer.config, trainer.accelerator
    position = _starting_position(trainer, folder, origins, console, from_scratch)
    if accelerator.is_main_process:
        mark_running(folder)
        cut_metrics(folder, position.metrics_bytes)
        write_json(folder / "config.json", asdict(config))
    tracking = Tracking(accelerator, folder, config.tracking, asdict(config), step=position.step)
    try:
        yield Begun(trainer, folder, position, tracking, console, stop)
    finally:
        tracking.finish()


def _starting_position(
    trainer: Trainer, folder: Path, origins: Mapping[str, str], console: Console, from_scratch: str
) -> Position:
    """Loads the newest whole checkpoint, if there is one and resuming is allowed, and returns its position."""
    checkpoints = folder / CHECKPOINTS
    if trainer.accelerator.is_main_process:
        if trainer.config.resume == "never" or supernet_is_newer(folder):
            remove_checkpoints(checkpoints)
        for parent in (folder, checkpoints):
            remove_leftovers(parent)
        check_room_for_checkpoints(folder, trainer)
    checkpoint = newest_checkpoint(checkpoints, trainer, console.print)
    if checkpoint is None:
        return Position(origins=dict(origins))
    position = load_checkpoint(checkpoint, trainer, origins=origins, warn=console.print)
    console.print(
        f"resuming after step {position.step} of {trainer.steps} ({checkpoint}; {from_scratch} starts from scratch)"
    )
    return position
