"""A training in its run folder: epochs, validation, checkpoints, records."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn

import numpy as np
from rich.console import Console

from supernet.artifact import Supernet, save_supernet
from supernet.console.choices import choice_of
from supernet.console.progress import duration, show_progress
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TEST_RUN
from supernet.runtime.errors import UserError
from supernet.runtime.files import remove_leftovers, write_json
from supernet.runtime.processes import all_gather
from supernet.runtime.signals import StopRequest
from supernet.runtime.state import mark_done, mark_running
from supernet.runtime.storage import StorageError
from supernet.space.cost import params_share
from supernet.space.strategies import LARGEST, SMALLEST
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
from supernet.training.preparation import Prepared
from supernet.training.summary import print_summary, search_command, step_text
from supernet.training.tracking import Tracking, cut_metrics, peak_memory_gib
from supernet.training.trainer import StepResult

LOG_EVERY = 10
"""Steps between two records of the losses. Reading a loss waits for the device."""

MIDDLE = "middle"
"""A sub-network that is validated, although no step trains it deliberately."""


class TrainingRun:
    """A training in its run folder, resumed or from the start. Made by `started`.

    Args:
        prepared: Trainer, tokenizer, rows.
        position: Where the trainer is.
        tracking: Records the numbers.
        console: Silent except in the main process.
        stop: Whether this process has been asked to stop.
    """

    def __init__(
        self, prepared: Prepared, position: Position, tracking: Tracking, console: Console, stop: StopRequest
    ) -> None:
        self.prepared, self.position, self.tracking = prepared, position, tracking
        self.console, self.stop = console, stop
        self.config, self.trainer, self.model = prepared.config, prepared.trainer, prepared.trainer.model
        self.accelerator, self.folder = self.trainer.accelerator, self.config.folder
        self.checkpoints = self.folder / CHECKPOINTS
        data, space = prepared.materials.data, self.trainer.space
        self.evaluator = Evaluator(
            data.validation,
            data.task,
            prepared.tokenizer,
            device=self.accelerator.device,
            mixed_precision=self.accelerator.mixed_precision,
        )
        self.validated = {LARGEST: space.largest, MIDDLE: space.middle, SMALLEST: space.smallest}
        self.saved_step = position.step
        self.start_time = time.monotonic() - position.seconds

    @classmethod
    @contextmanager
    def started(cls, prepared: Prepared, console: Console, stop: StopRequest) -> Iterator[TrainingRun]:
        """A run at its newest whole checkpoint, or at its beginning. Its trackers are closed after the block.

        Raises:
            UserError: if the checkpoint or a tracker cannot be used, or the disk lacks room.
        """
        config, accelerator = prepared.config, prepared.trainer.accelerator
        position = _starting_position(prepared, console)
        if accelerator.is_main_process:
            mark_running(config.folder)
            cut_metrics(config.folder, position.metrics_bytes)
            write_json(config.folder / "config.json", asdict(config))
        tracking = Tracking(accelerator, config.folder, config.tracking, asdict(config), step=position.step)
        try:
            yield cls(prepared, position, tracking, console, stop)
        finally:
            tracking.finish()

    def train_to_the_end(self) -> None:
        """Trains and validates the epochs that are left, then saves the supernet."""
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

    def end_epoch(self) -> None:
        """Validates, keeps the supernet if it is the best so far, and writes a checkpoint."""
        position, epochs = self.position, self.config.train.epochs
        with self._explained_interrupt():
            errors = self._validate()
        if errors is None:
            self._stop()
        position.errors = errors
        position.epochs += 1
        with self._explained_storage_error():
            self.tracking.record(
                {"epoch": position.epochs, "validation_error": position.errors}, step=max(0, position.step - 1)
            )
        text = ", ".join(f"{kind} {error:.4f}" for kind, error in position.errors.items())
        self.console.print(f"epoch {position.epochs}/{epochs}: validation error {text}")
        mean = float(np.mean(list(position.errors.values())))
        if position.best_epoch == 0 or mean <= position.best_error:
            position.best_epoch, position.best_error = position.epochs, mean
            if position.epochs < epochs and self.accelerator.is_main_process:
                self._save("supernet-best")
        self._checkpoint()

    def finish(self) -> None:
        """Saves the supernet, removes the checkpoints and prints the summary."""
        if self.accelerator.is_main_process:
            self._save("supernet")
            mark_done(self.folder)
            if self.position.best_epoch == self.config.train.epochs:
                shutil.rmtree(self.folder / "supernet-best", ignore_errors=True)
            remove_checkpoints(self.checkpoints)
            self._print_summary()

    def _step_values(self, result: StepResult, **more: float) -> dict[str, float]:
        """The numbers of a step: losses, memory and what `more` gives.

        Raises:
            UserError: if a loss is not finite.
        """
        step = self.position.step
        losses = {f"loss_{kind}": loss.item() for kind, loss in result.losses.items()}
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise UserError(
                f"the loss is not finite at step {step}: training has diverged; lower train.learning_rate "
                f"({self.config.train.learning_rate:g}) or use train.mixed_precision=fp32"
            )
        return {"step": step, **losses, **more, "memory_gib": peak_memory_gib(self.accelerator.device)}

    def _record_step(self, values: dict[str, float]) -> None:
        with self._explained_storage_error():
            self.tracking.record(values, step=self.position.step)
        self.position.seen = values

    def _validate(self) -> dict[str, float] | None:
        """Error of each validated sub-network, divided among the processes; None if a process was asked to stop."""
        processes, mine = self.accelerator.num_processes, self.accelerator.process_index
        own_errors: list[tuple[str, float]] = []
        for kind, subnet in [*self.validated.items()][mine::processes]:
            if not self.stop.asked():
                own_errors.append((kind, self.evaluator.error(extract(self.model, subnet, share=True))))
        errors = dict(all_gather(own_errors))
        return {kind: errors[kind] for kind in self.validated} if len(errors) == len(self.validated) else None

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

    def _save(self, name: str) -> None:
        with self._explained_storage_error():
            info = self.prepared.info(self.position.errors)
            save_supernet(self.folder / name, Supernet(self.model, self.prepared.tokenizer, info))

    def _print_summary(self) -> None:
        config, position = self.config, self.position
        seconds, rows = time.monotonic() - self.start_time, len(self.trainer.split) * config.train.epochs
        best = "the last"
        if position.best_epoch < config.train.epochs:
            best = f"{position.best_epoch}, kept in supernet-best/"
        facts = {
            "epochs": f"{config.train.epochs}, each of {self.trainer.steps_per_epoch} steps",
            "time": f"{duration(seconds)}, {rows / seconds:.0f} rows/s with validation",
            "peak memory": f"{peak_memory_gib(self.accelerator.device):.2f} GiB in the main process",
        }
        losses = {key.removeprefix("loss_"): value for key, value in position.seen.items() if key[:5] == "loss_"}
        facts |= {f"last loss, {kind} sub-network": f"{loss:.4f}" for kind, loss in losses.items()}
        facts["best epoch"] = best
        a = architecture_of(self.model.config)
        shares = {kind: params_share(a, subnet) for kind, subnet in self.validated.items()}
        space = choice_of("space", config.space)
        title = f"{config.task.name}, {config.model.label}, space {space}, strategy {config.strategy.name}"
        print_summary(
            self.console,
            title=title,
            facts=facts,
            errors=position.errors,
            shares=shares,
            folder=self.folder / "supernet",
        )
        if config.test_run:
            self.console.print(f"note: {TEST_RUN}")
        self.console.print(f"next: {search_command(config)}")


def _starting_position(prepared: Prepared, console: Console) -> Position:
    """Loads the newest whole checkpoint, if there is one and resuming is allowed, and returns its position."""
    config, trainer = prepared.config, prepared.trainer
    folder = config.folder / CHECKPOINTS
    if trainer.accelerator.is_main_process:
        if config.resume == "never" or supernet_is_newer(config.folder):
            remove_checkpoints(folder)
        for parent in (config.folder, folder):
            remove_leftovers(parent)
        check_room_for_checkpoints(config.folder, trainer)
    checkpoint, origins = newest_checkpoint(folder, trainer, console.print), prepared.materials.origins
    if checkpoint is None:
        return Position(origins=origins)
    position = load_checkpoint(checkpoint, trainer, origins=origins, warn=console.print)
    console.print(
        f"resuming after step {position.step} of {trainer.steps} ({checkpoint}; resume=never starts from scratch)"
    )
    return position
