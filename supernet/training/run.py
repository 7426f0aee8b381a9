"""A training in its run folder: epochs, validation, checkpoints, records, the table at the end."""

from __future__ import annotations

import math
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import numpy as np
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from supernet.artifact import INFO_FILE, Supernet, SupernetInfo, save_supernet
from supernet.console.command import choice_of
from supernet.console.progress import duration, print_summary, show_progress, step_text
from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TEST_RUN, TrainConfig
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.files import remove_leftovers, write_json
from supernet.runtime.processes import all_gather
from supernet.runtime.signals import StopRequest
from supernet.runtime.state import mark_done, mark_running
from supernet.runtime.storage import StorageError
from supernet.space.cost import params_share
from supernet.space.strategies import LARGEST, SMALLEST
from supernet.training.checkpoints import (
    MANIFEST,
    Position,
    check_room_for_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from supernet.training.tracking import Tracking, cut_metrics, peak_memory_gib
from supernet.training.trainer import StepResult, Trainer

LOG_EVERY = 10
"""Steps between two looks at the loss: each waits for the device."""

MIDDLE = "middle"
"""A sub-network that is validated though no step trains it on purpose."""


def supernet_is_newer(folder: Path) -> bool:
    """Whether a run folder's supernet is newer than its checkpoints: a killed process had yet to remove them."""
    times = [path.stat().st_mtime_ns for path in folder.glob(f"checkpoints/*/{MANIFEST}")]
    info = folder / "supernet" / INFO_FILE
    return info.exists() and info.stat().st_mtime_ns > max(times, default=0)


class TrainingRun:
    """A training in its run folder: epochs, checkpoints, validation, records.

    Args:
        config: What to do.
        trainer: Makes the steps.
        tokenizer: Of the trainer's model.
        data: Training and validation rows.
        origins: Digests of all that the training is made of.
        info: What is to be saved with the model, from its validation errors.
        console: Silent but in the main process.
        stop: Whether this process has been asked to stop.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        data: TaskData,
        origins: dict[str, str],
        info: Callable[[dict[str, float]], SupernetInfo],
        console: Console,
        stop: StopRequest,
    ) -> None:
        self.config, self.trainer, self.console, self.stop = config, trainer, console, stop
        self.model, self.tokenizer, self.info = trainer.model, tokenizer, info
        self.accelerator, self.folder = trainer.accelerator, config.folder
        self.checkpoints = self.folder / "checkpoints"
        self.evaluator = Evaluator(
            data.validation,
            data.task,
            tokenizer,
            device=self.accelerator.device,
            mixed_precision=self.accelerator.mixed_precision,
        )
        self.validated = {
            LARGEST: trainer.space.largest,
            MIDDLE: trainer.space.middle,
            SMALLEST: trainer.space.smallest,
        }
        self.position = Position(origins=origins)
        self.saved = 0
        self.started = time.monotonic()

    def start(self) -> None:
        """Goes on from the newest whole checkpoint, or begins anew."""
        main = self.accelerator.is_main_process
        if main:
            if self.config.resume == "never" or supernet_is_newer(self.folder):
                remove_checkpoints(self.checkpoints)
            for folder in (self.folder, self.checkpoints):
                remove_leftovers(folder)
            check_room_for_checkpoints(self.folder, self.trainer)
        checkpoint = newest_checkpoint(self.checkpoints, self.trainer, self.console.print)
        if checkpoint is not None:
            origins = self.position.origins
            self.position = load_checkpoint(checkpoint, self.trainer, origins=origins, warn=self.console.print)
            self.console.print(
                f"going on after step {self.position.step} of {self.trainer.steps} ({checkpoint}; resume=never starts "
                "anew)"
            )
        self.saved = self.position.step
        self.started = time.monotonic() - self.position.seconds
        if main:
            mark_running(self.folder)
            cut_metrics(self.folder, self.position.metrics_bytes)
            write_json(self.folder / "config.json", asdict(self.config))
        self.tracking = Tracking(
            self.accelerator, self.folder, self.config.tracking, asdict(self.config), step=self.position.step
        )

    def train_epoch(self) -> None:
        """Trains on the rows of the epoch that are left, and records the losses every few steps."""
        epoch, done = self.position.epochs, self.position.step - self.position.epochs * self.trainer.steps_per_epoch
        batches = self.trainer.batches(epoch)
        description, steps = f"epoch {epoch + 1}/{self.config.train.epochs}", len(batches)
        later = (self.config.train.epochs - epoch - 1) * steps
        shown = show_progress(self.console, description, steps, unit="steps", done=done, later=later)
        with self._interruptible(), shown as progress:
            start, rows_done = time.perf_counter(), 0
            for i, rows_B in enumerate(batches[done:], start=done):
                learning_rate = self.trainer.schedule.get_last_lr()[0]
                result = self.trainer.step(rows_B, self.position.step, stop=self.stop.asked)
                if not result.done:
                    self._stop()
                rows_done += len(rows_B)
                record, said = i % LOG_EVERY == 0 or i == len(batches) - 1, None
                if record or progress.is_stale:
                    speed = rows_done / (time.perf_counter() - start)
                    said = step_text(self._see(result, record, learning_rate=learning_rate, samples_per_second=speed))
                progress.advance(said)
                self.position.step += 1
                if result.stop:
                    self._stop()
                every = self.config.train.checkpoint_every
                if every is not None and self.position.step % every == 0 and i != len(batches) - 1:
                    self._checkpoint()

    def end_epoch(self) -> None:
        """Validates, keeps the supernet if it is the best so far, and writes a checkpoint."""
        position, epochs = self.position, self.config.train.epochs
        with self._interruptible():
            errors = self._validate()
        if errors is None:
            self._stop()
        position.errors = errors
        position.epochs += 1
        with self._written():
            self.tracking.record(
                {"epoch": position.epochs, "validation_error": position.errors}, step=max(0, position.step - 1)
            )
        said = ", ".join(f"{kind} net {error:.4f}" for kind, error in position.errors.items())
        self.console.print(f"epoch {position.epochs}/{epochs}: validation error {said}")
        mean = float(np.mean(list(position.errors.values())))
        if position.best_epoch == 0 or mean <= position.best_error:
            position.best_epoch, position.best_error = position.epochs, mean
            if position.epochs < epochs and self.accelerator.is_main_process:
                self._save("supernet-best")
        self._checkpoint()

    def finish(self) -> None:
        """Saves the supernet, removes what is not needed any more, and says what came out."""
        if self.accelerator.is_main_process:
            self._save("supernet")
            mark_done(self.folder)
            if self.position.best_epoch == self.config.train.epochs:
                shutil.rmtree(self.folder / "supernet-best", ignore_errors=True)
            remove_checkpoints(self.checkpoints)
            self._summary()

    def _see(self, result: StepResult, record: bool, **more: float) -> dict[str, float]:
        """The losses and what else is known of a step; written down if they are to be recorded."""
        step = self.position.step
        losses = {f"loss_{kind}": loss.item() for kind, loss in result.losses.items()}
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise UserError(
                f"the loss is not finite at step {step}: training has diverged; lower train.learning_rate "
                f"({self.config.train.learning_rate:g}) or use train.mixed_precision=fp32"
            )
        seen = {"step": step, **losses, **more, "memory_gib": peak_memory_gib(self.accelerator.device)}
        if record:
            with self._written():
                self.tracking.record(seen, step=step)
            self.position.seen = seen
        return seen

    def _validate(self) -> dict[str, float] | None:
        """Error of each sub-network to validate, which the processes share out; None if one was asked to stop."""
        processes, mine = self.accelerator.num_processes, self.accelerator.process_index
        found: list[tuple[str, float]] = []
        for kind, subnet in [*self.validated.items()][mine::processes]:
            if not self.stop.asked():
                found.append((kind, self.evaluator.error(extract(self.model, subnet, share=True))))
        errors = dict(all_gather(found))
        return {kind: errors[kind] for kind in self.validated} if len(errors) == len(self.validated) else None

    def _checkpoint(self) -> None:
        self.position.seconds = time.monotonic() - self.started
        self.position.metrics_bytes = self.tracking.bytes_written()
        with self._written():
            save_checkpoint(self.checkpoints, self.trainer, self.position, keep=self.config.train.keep_checkpoints)
        self.saved = self.position.step

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Says after Ctrl-C, which writes no checkpoint, what is not lost."""
        try:
            yield
        except KeyboardInterrupt:
            self._say_stopped("Ctrl-C", self._where())
            raise

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Says of what cannot be written, on a full disk for example, what is not lost."""
        try:
            yield
        except StorageError as error:
            raise StorageError(f"{error}; {self._how()} goes on {self._where()}") from error

    def _stop(self) -> NoReturn:
        self._checkpoint()
        self._say_stopped(self.stop.name, "from there")
        self.accelerator.wait_for_everyone()  # the launcher ends the others when one has ended, also while it writes
        raise SystemExit(self.stop.exit_status)

    def _say_stopped(self, by: str, where: str) -> None:
        done = f"step {self.position.step} of {self.trainer.steps}"
        self.console.print(f"stopped by {by} after {done}; {self._how()} goes on {where}")

    def _how(self) -> str:
        return "the same command" if self.config.resume != "never" else "the same command with resume=auto"

    def _where(self) -> str:
        return f"after step {self.saved}, from the last checkpoint" if self.saved else "from the start"

    def _save(self, name: str) -> None:
        with self._written():
            save_supernet(self.folder / name, Supernet(self.model, self.tokenizer, self.info(self.position.errors)))

    def _summary(self) -> None:
        config, position = self.config, self.position
        seconds, rows = time.monotonic() - self.started, len(self.trainer.split) * config.train.epochs
        best = "the last"
        if position.best_epoch < config.train.epochs:
            best = f"{position.best_epoch}, kept in supernet-best/"
        facts = {
            "epochs": f"{config.train.epochs}, each of {self.trainer.steps_per_epoch} steps",
            "time": f"{duration(seconds)}, {rows / seconds:.0f} samples/s with validation",
            "peak memory": f"{peak_memory_gib(self.accelerator.device):.2f} GiB in the main process",
        }
        losses = {key.removeprefix("loss_"): value for key, value in position.seen.items() if key[:5] == "loss_"}
        facts |= {f"last loss, {kind} net": f"{loss:.4f}" for kind, loss in losses.items()}
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


def search_command(config: TrainConfig) -> str:
    """The command that searches the trained supernet."""
    values = [f"supernet={config.folder}"] + ([f"output_dir={config.output_dir}"] * (config.output_dir != "runs"))
    return f"{typed_command('search')} searcher=ehvi {' '.join(map(shlex.quote, values))}"
