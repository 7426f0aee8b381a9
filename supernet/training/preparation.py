"""Prepares the first step: rows, model, importance, search space and teacher, together a `Prepared` training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.artifact import SupernetInfo
from supernet.console.choices import choice_of
from supernet.console.progress import show_progress
from supernet.data.batches import Batch, collate, training_batches
from supernet.data.summary import print_data_summary
from supernet.data.tokens import TokenizedSplit
from supernet.models.families import architecture_of
from supernet.models.pretrained import load_pretrained
from supernet.options.training import IMPORTANCE, TrainConfig
from supernet.runtime.processes import broadcast_from_main, check_same_everywhere, print_with_rank
from supernet.training.checkpoints import checkpoint_names, supernet_is_newer
from supernet.training.importance import Importance, measure_importance, order_by_importance_, read_importance
from supernet.training.materials import Materials, read_materials
from supernet.training.memory import halve_until_it_fits
from supernet.training.teacher import load_teacher
from supernet.training.trainer import Trainer


@dataclass(frozen=True)
class Prepared:
    """A training that is ready for its first step.

    Attributes:
        config: The options, with the decided precision.
        materials: The rows, and digests of everything that the training starts from.
        tokenizer: The model's tokenizer.
        trainer: Makes the steps; has the model, the search space and the accelerator.
        importance: Scores of heads and units; None if nothing needs them.
    """

    config: TrainConfig
    materials: Materials
    tokenizer: PreTrainedTokenizerBase
    trainer: Trainer
    importance: Importance | None

    def info(self, validation_error: dict[str, float]) -> SupernetInfo:
        """The content of supernet.json."""
        config, materials = self.config, self.materials
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
            layer_importance=_layer_scores(self.importance),
            seed=config.seed,
            validation_error=validation_error,
            precision=config.train.mixed_precision,
            begun_with=materials.models,
            test_run=config.test_run,
        )


def prepare(config: TrainConfig, accelerator: Accelerator, console: Console) -> Prepared:
    """Reads the rows and the model, orders heads and units, and makes the trainer. Writes nothing into the run folder.

    Raises:
        UserError: if model, rows or teacher cannot be used, or differ between processes.
    """
    materials = read_materials(config, accelerator)
    check_same_everywhere(materials.origins)
    data = materials.data
    model, tokenizer = load_pretrained(
        materials.pretrained.folder, data.task, seed=config.seeds.model, labels=data.train.labels
    )
    if accelerator.is_main_process:
        print_data_summary(data, console)
    padding = tokenizer.pad_token_id
    importance = _importance(config, accelerator, model, data.train, padding, console)
    if importance is not None and config.order.name == IMPORTANCE:
        order_by_importance_(model, importance)
    space = materials.build_space(_layer_scores(importance))
    teacher = load_teacher(config.distillation, data.task, model, tokenizer, device=accelerator.device)
    console.print(
        f"model {config.model.label}: {space.largest}; space {choice_of('space', config.space)}, "
        f"strategy {config.strategy.name}, "
        f"{accelerator.num_processes} process(es) on {accelerator.device} in {config.train.mixed_precision}"
    )
    trainer = Trainer(config, accelerator, model, space, data.train, pad_token_id=padding, teacher=teacher)
    return Prepared(config, materials, tokenizer, trainer, importance)


def _layer_scores(importance: Importance | None) -> list[float] | None:
    return None if importance is None else importance.layers.tolist()


def _importance(
    config: TrainConfig,
    accelerator: Accelerator,
    model: PreTrainedModel,
    split: TokenizedSplit,
    pad_token_id: int,
    console: Console,
) -> Importance | None:
    """Scores of heads and units on training rows, measured by the main process; None if nothing needs them."""
    if IMPORTANCE not in (config.order.name, config.space.depth):
        return None
    scores = None
    if accelerator.is_main_process:
        resumes = config.resume != "never" and not supernet_is_newer(config.folder) and checkpoint_names(config.folder)
        if resumes:
            # On a GPU, a second measurement might differ in the last digits.
            scores = read_importance(config.folder, architecture_of(model.config).sizes)
        if scores is None:
            batches = training_batches(split, config.train.batch_size, seed=config.seeds.data, epoch=0)
            batches = batches[: config.order.batches]
            console.print(f"measuring the importance of heads and units on {len(batches)} training batches")
            share = -(-config.train.batch_size // accelerator.num_processes)
            scores, _ = halve_until_it_fits(
                partial(_measure, model.to(accelerator.device), split, batches, pad_token_id, console),
                min(config.train.micro_batch_size or share, share),
                max_length=config.task.max_length,
                report=partial(print_with_rank, accelerator),
            )
    return broadcast_from_main(accelerator, scores)


def _measure(
    model: PreTrainedModel,
    split: TokenizedSplit,
    batches: list[np.ndarray],
    pad_token_id: int,
    console: Console,
    micro_batch_size: int,
) -> Importance:
    parts = [rows[i : i + micro_batch_size] for rows in batches for i in range(0, len(rows), micro_batch_size)]
    with show_progress(console, "importance", len(parts), unit="batches") as progress:

        def collated() -> Iterator[Batch]:
            for rows in parts:
                yield collate(split, rows, pad_token_id, model.device)
                progress.advance()

        return measure_importance(model, collated())
