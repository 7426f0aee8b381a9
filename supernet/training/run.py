"""The training of a supernet in its run folder: validation, the best epoch, the summary."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Console

from supernet.artifact import Supernet, save_supernet
from supernet.console.choices import choice_of
from supernet.console.progress import duration, print_next
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TEST_RUN
from supernet.runtime.processes import all_gather
from supernet.runtime.signals import StopRequest
from supernet.runtime.state import mark_done
from supernet.space.cost import params_share
from supernet.space.strategies import LARGEST, SMALLEST
from supernet.training.checkpoints import remove_checkpoints
from supernet.training.epochs import Begun, Epochs, begin
from supernet.training.preparation import Prepared
from supernet.training.summary import print_summary, search_command
from supernet.training.tracking import peak_memory_gib

MIDDLE = "middle"
"""A sub-network that is validated, although no step trains it deliberately."""


class TrainingRun(Epochs):
    """A training in its run folder, resumed or from the start. Made by `started`.

    Args:
        prepared: Trainer, tokenizer, rows.
        begun: The training.
    """

    advice = "lower train.learning_rate ({rate:g}) or use train.mixed_precision=fp32"

    def __init__(self, prepared: Prepared, begun: Begun) -> None:
        super().__init__(begun)
        self.prepared = prepared
        data, space = prepared.materials.data, self.trainer.space
        self.evaluator = Evaluator(
            data.validation,
            data.task,
            prepared.tokenizer,
            device=self.accelerator.device,
            mixed_precision=self.accelerator.mixed_precision,
        )
        self.validated = {LARGEST: space.largest, MIDDLE: space.middle, SMALLEST: space.smallest}

    @classmethod
    @contextmanager
    def started(cls, prepared: Prepared, console: Console, stop: StopRequest) -> Iterator[TrainingRun]:
        """A run at its newest whole checkpoint, or at its beginning. Errors as for `epochs.begin`."""
        trainer, origins = prepared.trainer, prepared.materials.origins
        folder = prepared.config.folder
        with begin(trainer, folder, origins, console, stop, from_scratch="resume=never") as begun:
            yield cls(prepared, begun)

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

    def _validate(self) -> dict[str, float] | None:
        """Error of each validated sub-network, divided among the processes; None if a process was asked to stop."""
        processes, mine = self.accelerator.num_processes, self.accelerator.process_index
        own_errors: list[tuple[str, float]] = []
        for kind, subnet in [*self.validated.items()][mine::processes]:
            if not self.stop.asked():
                own_errors.append((kind, self.evaluator.error(extract(self.model, subnet, share=True))))
        errors = dict(all_gather(own_errors))
        return {kind: errors[kind] for kind in self.validated} if len(errors) == len(self.validated) else None

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
        print_next(self.console, search_command(config))
