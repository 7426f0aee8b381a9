"""Stage one, from top to bottom: fine-tune a pre-trained encoder as a supernet, under Accelerate.

An interrupted training goes on where it was: after every so many steps, at the end of each epoch and when a signal
asks it to stop, a checkpoint is written from which it ends with the same weights. engine.py makes one step.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedModel

from supernet.checkpoint import INFO_FILE, SupernetInfo
from supernet.compiling import compiled_layers
from supernet.data import TaskData, load_task
from supernet.describe import describe
from supernet.engine import Trainer
from supernet.errors import UserError
from supernet.families import architecture_of
from supernet.importance import Importance, measure_importance, order_by_importance_, read_importance, write_importance
from supernet.memory import fitting_into_memory
from supernet.models import Pretrained, check_model, load_pretrained, load_tokenizer, locate, read_config
from supernet.options import IMPORTANCE, TrainConfig
from supernet.processes import from_main, processes, say, sole_writer
from supernet.resume import remove_checkpoints
from supernet.runs import only_writer, prepare_folder
from supernet.signals import stop_request
from supernet.spaces import search_space
from supernet.teacher import load_teacher
from supernet.tokens import Split, collate, training_batches
from supernet.tracking import check_trackers
from supernet.training import Run, checkpoints_are_left_over


def train(config: TrainConfig) -> Path:
    """Trains a supernet and returns the folder it was saved in; skips the work if this very run is there already.

    Raises:
        UserError: if the output folder, the model or the data cannot be used.
        SystemExit: if a signal has asked it to stop; what is done is in a checkpoint.
    """
    folder, target = config.folder, config.folder / "supernet"
    check_trackers(config.tracking)
    with processes(
        config.train.mixed_precision, log_with=config.tracking.to, logging_dir=folder / "tensorboard"
    ) as accelerator:
        console = Console(stderr=True, quiet=not accelerator.is_main_process, soft_wrap=True, highlight=False)
        if os.path.isfile(target / INFO_FILE) and not config.overwrite:
            console.print(f"already trained: {target} (overwrite=true trains it again)")
            if accelerator.is_main_process:
                _remove_left_overs(folder)
            return target
        if accelerator.is_main_process:
            prepare_folder(folder.parent)
        pretrained = locate(config.model)
        model_config = read_config(pretrained.folder)
        check_model(config.task, model_config)
        a = architecture_of(model_config)
        build_space = partial(search_space, config.space, layers=a.layers, heads=a.heads, units=a.units)
        build_space(layer_importance=[0.0] * a.layers)  # so that what does not fit the model is told at once
        with accelerator.main_process_first():  # so that one process tokenises and the others find the cache
            data = load_task(config.task, config.data, load_tokenizer(pretrained.folder))
        model, tokenizer = load_pretrained(
            pretrained.folder, data.task, seed=config.seeds.model, label_mean=float(data.train.labels.mean())
        )
        if accelerator.is_main_process:
            describe(data, console)
        importance = _importance(config, accelerator, model, data.train, tokenizer.pad_token_id)
        layer_importance = None if importance is None else importance.layers.tolist()
        if importance is not None and config.order.name == IMPORTANCE:
            order_by_importance_(model, importance)
        space = build_space(layer_importance=layer_importance)
        teacher = load_teacher(config.distillation, data.task, model, tokenizer, device=accelerator.device)
        console.print(
            f"model {config.model.label}: {space.largest}; space {space.name}, strategy {config.strategy.name}, "
            f"{accelerator.num_processes} process(es) on {accelerator.device}"
        )
        trainer = Trainer(
            config, accelerator, model, space, data.train, pad_token_id=tokenizer.pad_token_id, teacher=teacher
        )
        compiled = compiled_layers(trainer.model) if config.train.compile else nullcontext()
        with compiled, sole_writer(accelerator, folder), stop_request() as stop:
            run = Run(
                config,
                trainer,
                tokenizer,
                data,
                partial(_info, config, data, pretrained, layer_importance),
                console,
                stop,
            )
            if accelerator.is_main_process and importance is not None:
                write_importance(folder, importance)
            run.start()
            try:
                while run.position.epochs < config.train.epochs:
                    run.train_epoch()
                    run.end_epoch()
                run.finish()
            finally:
                run.tracking.finish()
    return target


def _remove_left_overs(folder: Path) -> None:
    """Removes checkpoints that a killed process had yet to remove, unless another is at work in the folder."""
    with suppress(UserError, OSError), only_writer(folder):
        if checkpoints_are_left_over(folder):
            remove_checkpoints(folder / "checkpoints")


def _importance(
    config: TrainConfig, accelerator: Accelerator, model: PreTrainedModel, split: Split, pad_token_id: int
) -> Importance | None:
    """Scores of heads and units on training rows, if anything follows them; the main process's, in every process."""
    if IMPORTANCE not in (config.order.name, config.space.depth):
        return None
    measured = None
    if accelerator.is_main_process:
        goes_on = config.resume != "never" and not checkpoints_are_left_over(config.folder)
        if goes_on and any(config.folder.glob("checkpoints/step-*")):
            measured = read_importance(config.folder)  # measured again, it might differ on a GPU in the last digits
        if measured is None:
            batches = training_batches(split, config.train.batch_size, seed=config.seeds.data, epoch=0)
            share = -(-config.train.batch_size // accelerator.num_processes)
            measured, _ = fitting_into_memory(
                partial(_measure, model.to(accelerator.device), split, batches[: config.order.batches], pad_token_id),
                min(config.train.micro_batch_size or share, share),
                max_length=config.task.max_length,
                say=partial(say, accelerator),
            )
    return from_main(accelerator, measured)


def _measure(
    model: PreTrainedModel, split: Split, batches: list[np.ndarray], pad_token_id: int, size: int
) -> Importance:
    parts = (rows[i : i + size] for rows in batches for i in range(0, len(rows), size))
    return measure_importance(model, (collate(split, rows, pad_token_id, model.device) for rows in parts))


def _info(
    config: TrainConfig,
    data: TaskData,
    pretrained: Pretrained,
    layer_importance: list[float] | None,
    errors: dict[str, float],
) -> SupernetInfo:
    """What has to be known of the supernet."""
    return SupernetInfo(
        task=data.task,
        data=config.data.absolute(),
        splits=data.digests(),
        model=config.model.label,
        space=config.space,
        strategy=config.strategy,
        sampling=config.sampling,
        distillation=config.distillation,
        order=config.order,
        revisions={"model": pretrained.revision, "data": data.found.revision},
        layer_importance=layer_importance,
        seed=config.seed,
        validation_error=errors,
        test_run=config.test_run,
    )
