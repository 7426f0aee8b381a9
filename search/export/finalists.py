"""Finishing: the finalists of a choice are each trained alone, and validation rows decide which is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from transformers import PreTrainedModel

from search.choice.choose import Choice
from search.export.chosen import Chosen
from search.export.weights import model_of
from search.options.export import ExportConfig
from supernet.artifact import Supernet
from supernet.console.config import load_config
from supernet.data.load import TaskData
from supernet.evaluation.evaluator import Scores
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.finish import LABELS
from supernet.options.training import TrainConfig
from supernet.runtime.files import digest
from supernet.runtime.processes import accelerate_session
from supernet.space.cost import params_share
from supernet.training.finish import Finished, finish, precision_of
from supernet.training.previous_run import training_of
from supernet.training.teacher import Teacher, kept_logits


def model_before(chosen: Chosen, supernet: Supernet) -> PreTrainedModel:
    """The sub-network's model, as it was evaluated."""
    if chosen.run is None:
        return extract(supernet.model, chosen.subnet).eval()
    return model_of(chosen.run, chosen.subnet, supernet)


def share_of(chosen: Chosen, supernet: Supernet) -> float:
    """Its share of the encoder's parameters."""
    return params_share(architecture_of(supernet.model.config), chosen.subnet)


def finalists_of(chosen: Chosen, config: ExportConfig) -> list[Chosen]:
    """The sub-networks to train alone, the chosen one first."""
    if chosen.choice is None or not config.finetune.epochs:
        return [chosen]
    return [replace(chosen, subnet=e.subnet) for e in chosen.choice.finalists[: config.finetune.finalists]]


def best_finished(
    chosen: Chosen, supernet: Supernet, data: TaskData, config: ExportConfig, *, work: Path, console: Console
) -> tuple[Chosen, PreTrainedModel, dict[str, Any]]:
    """Trains each finalist alone. The validation rows decide; see `decide`.

    Args:
        chosen: The choice.
        supernet: Its supernet.
        data: The rows. Test rows are not read.
        config: How to train.
        work: A folder for what a next run resumes.
        console: Receives the lines.

    Returns:
        The best, its model, and what became of all, for export.json.
    """
    finalists = finalists_of(chosen, config)
    training = training_of(chosen.supernet)
    if training is None:
        console.print("note: the supernet's training options are not beside it, so finishing takes the defaults")
        training = load_config("train", TrainConfig, [])
    teacher: Teacher = supernet.model
    if len(finalists) > 1 and config.finetune.targets != LABELS:
        teacher = _predictions(supernet, data, training, work=work, console=console)
    ends = []
    for number, finalist in enumerate(finalists, 1):
        if len(finalists) > 1:
            console.print(f"finalist {number} of {len(finalists)}: {share_of(finalist, supernet):.0%} of the encoder")
        model = model_before(finalist, supernet)
        how = partial(finish, training=training, options=config.finetune, folder=work, seed=config.seed)
        ends.append(how(model, finalist.subnet, teacher, data, supernet.tokenizer, console=console))
    best, what = decide(chosen.choice, [end.after for end in ends])
    if len(finalists) > 1:
        console.print(f"{what} is finalist {best + 1}: {finalists[best].subnet}")
    told = [
        {"params_share": share_of(f, supernet), "error_before": end.before.error, "error_after": end.after.error}
        for f, end in zip(finalists, ends, strict=True)
    ]
    return finalists[best], ends[best].model, {"finished": _figures(ends[best], config), "finalists": told}


def decide(choice: Choice | None, scores: Sequence[Scores]) -> tuple[int, str]:
    """The number of the best finalist, from 0, and what it is.

    It has the smallest error, then the smallest loss. With a limit of the error: it is the cheapest within the limit.

    Args:
        choice: What the finalists are of; None if there is one only.
        scores: On the validation rows, after training, of each finalist.
    """
    order = range(len(scores))
    if choice is not None and choice.cost is not None:
        within = [i for i in order if scores[i].error <= choice.limits["error"]]
        if within:
            costs = [finalist.metrics[choice.cost] for finalist in choice.finalists]
            return min(within, key=lambda i: costs[i]), "the cheapest whose validation error is within the limit"
    return min(order, key=lambda i: (scores[i].error, scores[i].loss)), "the best on the validation rows"


def _predictions(
    supernet: Supernet, data: TaskData, training: TrainConfig, *, work: Path, console: Console
) -> np.ndarray:
    """The full model's predictions of the training rows, for all finalists; a next run reads them from the folder."""
    path = work / f"teacher-{digest([supernet.weights, data.train.digest()])}.npz"
    with accelerate_session(precision_of(training)) as accelerator:
        return kept_logits(path, supernet.model, data, supernet.tokenizer, accelerator=accelerator, console=console)


def _figures(result: Finished, config: ExportConfig) -> dict[str, Any]:
    before, after = result.before.error, result.after.error
    figures = {"epoch": result.epoch, "better": result.better, "error_before": before, "error_after": after}
    return asdict(config.finetune) | {"seed": config.seed} | figures
