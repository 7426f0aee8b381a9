"""Stage one, from top to bottom: fine-tune a pre-trained encoder as a supernet, under Accelerate.

An interrupted training goes on where it was: after every so many steps, at the end of each epoch and when a signal
asks it to stop, a checkpoint is written from which it ends with the same weights. engine.py makes one step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedModel

from supernet.artifact import INFO_FILE, SupernetInfo
from supernet.console.command import choice_of
from supernet.console.progress import plain_console, show_progress
from supernet.data.batches import Batch, collate, training_batches
from supernet.data.summary import print_data_summary
from supernet.data.tokens import TokenizedSplit
from supernet.models.families import architecture_of
from supernet.models.pretrained import load_pretrained
from supernet.options.training import IMPORTANCE, TrainConfig
from supernet.runtime.files import prepare_folder
from supernet.runtime.processes import (
    accelerate_session,
    broadcast_from_main,
    check_same_everywhere,
    lock_run_folder,
    print_with_rank,
)
from supernet.runtime.signals import stop_request
from supernet.training.compiling import compiled_layers
from supernet.training.importance import (
    Importance,
    measure_importance,
    order_by_importance_,
    read_importance,
    write_importance,
)
from supernet.training.materials import Materials, read_materials
from supernet.training.memory import halve_until_it_fits
from supernet.training.previous_run import (
    check_not_running,
    check_precision_unchanged,
    finish_killed_run,
    report_unchanged,
    resolved,
)
from supernet.training.run import TrainingRun, supernet_is_newer
from supernet.training.teacher import load_teacher
from supernet.training.tracking import check_trackers
from supernet.training.trainer import Trainer


def train(config: TrainConfig) -> Path:
    """Trains a supernet and returns the folder it was saved in; skips the work if this very run is there already.

    Raises:
        UserError: if the output folder, the model or the data cannot be used, or are not those of an earlier run.
        SystemExit: if a signal has asked it to stop; what is done is in a checkpoint.
    """
    given, config = config.train.mixed_precision, resolved(config)
    folder, target = config.folder, config.folder / "supernet"
    check_trackers(config.tracking)
    with accelerate_session(given, log_with=config.tracking.to, logging_dir=folder / "tensorboard") as accelerator:
        console = plain_console(stderr=True, quiet=not accelerator.is_main_process)
        if os.path.isfile(target / INFO_FILE) and not config.overwrite:
            report_unchanged(config, accelerator, console)
            if accelerator.is_main_process:
                finish_killed_run(folder)
            return target
        check_precision_unchanged(config, given)
        if accelerator.is_main_process:
            prepare_folder(folder.parent)
            check_not_running(folder)
        materials = read_materials(config, accelerator)
        check_same_everywhere(materials.origins)
        data, mean = materials.data, float(materials.data.train.labels.mean())
        model, tokenizer = load_pretrained(
            materials.pretrained.folder, data.task, seed=config.seeds.model, label_mean=mean
        )
        if accelerator.is_main_process:
            print_data_summary(data, console)
        padding = tokenizer.pad_token_id
        importance = _importance(config, accelerator, model, data.train, padding, console)
        layer_importance = None if importance is None else importance.layers.tolist()
        if importance is not None and config.order.name == IMPORTANCE:
            order_by_importance_(model, importance)
        space = materials.build_space(layer_importance)
        teacher = load_teacher(config.distillation, data.task, model, tokenizer, device=accelerator.device)
        console.print(
            f"model {config.model.label}: {space.largest}; space {choice_of('space', config.space)}, "
            f"strategy {config.strategy.name}, "
            f"{accelerator.num_processes} process(es) on {accelerator.device} in {config.train.mixed_precision}"
        )
        trainer = Trainer(config, accelerator, model, space, data.train, pad_token_id=padding, teacher=teacher)
        compiled = compiled_layers(trainer.model) if config.train.compile else nullcontext()
        with compiled, lock_run_folder(accelerator, folder), stop_request() as stop:
            info = partial(_info, config, materials, layer_importance)
            run = TrainingRun(config, trainer, tokenizer, data, materials.origins, info, console, stop)
            if accelerator.is_main_process and importance is not None:
                write_importance(folder, importance)
            _run_to_its_end(run)
    return target


def _run_to_its_end(run: TrainingRun) -> None:
    run.start()
    try:
        while run.position.epochs < run.config.train.epochs:
            run.train_epoch()
            run.end_epoch()
        run.finish()
    finally:
        run.tracking.finish()


def _importance(
    config: TrainConfig,
    accelerator: Accelerator,
    model: PreTrainedModel,
    split: TokenizedSplit,
    pad_token_id: int,
    console: Console,
) -> Importance | None:
    """Scores of heads and units on training rows, if anything follows them; the main process's, in every process."""
    if IMPORTANCE not in (config.order.name, config.space.depth):
        return None
    measured = None
    if accelerator.is_main_process:
        goes_on = config.resume != "never" and not supernet_is_newer(config.folder)
        if goes_on and any(config.folder.glob("checkpoints/step-*")):
            # Measured again, it might differ on a GPU in the last digits.
            measured = read_importance(config.folder, architecture_of(model.config).sizes)
        if measured is None:
            batches = training_batches(split, config.train.batch_size, seed=config.seeds.data, epoch=0)
            batches = batches[: config.order.batches]
            console.print(f"measuring the importance of heads and units on {len(batches)} training batches")
            share = -(-config.train.batch_size // accelerator.num_processes)
            measured, _ = halve_until_it_fits(
                partial(_measure, model.to(accelerator.device), split, batches, pad_token_id, console),
                min(config.train.micro_batch_size or share, share),
                max_length=config.task.max_length,
                report=partial(print_with_rank, accelerator),
            )
    return broadcast_from_main(accelerator, measured)


def _measure(
    model: PreTrainedModel,
    split: TokenizedSplit,
    batches: list[np.ndarray],
    pad_token_id: int,
    console: Console,
    size: int,
) -> Importance:
    parts = [rows[i : i + size] for rows in batches for i in range(0, len(rows), size)]
    with show_progress(console, "importance", len(parts), unit="batches") as progress:

        def collated() -> Iterator[Batch]:
            for rows in parts:
                yield collate(split, rows, pad_token_id, model.device)
                progress.advance()

        return measure_importance(model, collated())


def _info(
    config: TrainConfig, materials: Materials, layer_importance: list[float] | None, errors: dict[str, float]
) -> SupernetInfo:
    """What has to be known of the supernet."""
    return SupernetInfo(
        task=materials.data.task,
        data=config.data.absolute(),
        splits=materials.data.digests(),
        model=config.model.label,
        space=config.space,
        strategy=config.strategy,
        sampling=config.sampling,
        distillation=config.distillation,
        order=config.order,
        revisions=materials.revisions,
        layer_importance=layer_importance,
        seed=config.seed,
        validation_error=errors,
        precision=config.train.mixed_precision,
        begun_with=materials.models,
        test_run=config.test_run,
    )
