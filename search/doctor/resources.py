"""Memory and disk space that a planned training needs, by formula, against what is free."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import torch

from search.doctor.container import free_for_tensors
from search.doctor.findings import OK, PROBLEM, Finding
from search.doctor.plan import Plan
from supernet.models.families import architecture_of
from supernet.models.pretrained import read_config
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.storage import check_room, size_text
from supernet.space.cost import total_params
from supernet.space.training_memory import TrainingMemory, training_memory
from supernet.training.checkpoints import storage_of
from supernet.training.teacher import teacher_folder

RESERVE = 1.1
"""The formula leaves out workspaces of matrix products and what an allocator keeps."""
UNKNOWN_STEPS = 10**9
"""Where the rows are not known: as many steps as need the most room."""


def memory_findings(plan: Plan) -> Iterator[Finding]:
    """Whether a training fits into memory."""
    rows, length = _largest_pass(plan)
    needed = _needed(plan, rows, length)
    text = (
        f"a training needs about {size_text(needed.total * RESERVE)} by formula: weights {size_text(needed.weights)}, "
        f"gradients {size_text(needed.gradients)}, optimizer {size_text(needed.optimizer)}, activations of {rows}x"
        f"{length} tokens {size_text(needed.activations)}"
    )
    free = free_for_tensors()
    fits = needed.total * RESERVE <= free
    yield Finding(
        OK if fits else PROBLEM,
        f"{text}; {size_text(free)} are free",
        "" if fits else _smaller(plan, rows, length, free),
    )


def fits_into_memory(plan: Plan) -> bool:
    """Whether a step can be made here."""
    return _needed(plan, *_largest_pass(plan)).total * RESERVE <= free_for_tensors()


def _smaller(plan: Plan, rows: int, length: int, free: int) -> str:
    """What to do if a training does not fit."""
    sequences = _sequences(plan)
    per_pass = rows // sequences
    while per_pass > 1:
        per_pass //= 2
        if _needed(plan, per_pass * sequences, length).total * RESERVE <= free:
            return f"use train.micro_batch_size={per_pass}; the result differs by rounding and dropout only"
    if _needed(plan, sequences, length, recomputed=True).total * RESERVE <= free:
        return "use train.micro_batch_size=1 train.gradient_checkpointing=true"
    return "take a smaller model, a shorter task.max_length, or a machine with more memory"


def _largest_pass(plan: Plan) -> tuple[int, int]:
    """Sequences and tokens of the largest forward pass."""
    options = plan.given.train
    rows = min(options.micro_batch_size or options.batch_size, options.batch_size)
    try:
        length = int(plan.data.train.sequence_lengths.max())
    except UserError:  # another check says why
        length = plan.given.task.max_length
    return rows * _sequences(plan), length


def _sequences(plan: Plan) -> int:
    try:
        return plan.data.task.sequences
    except UserError:  # another check says why
        return max(1, len(plan.given.task.choices))


def _needed(plan: Plan, rows: int, length: int, *, recomputed: bool = False) -> TrainingMemory:
    config, model = plan.config, plan.model_config
    dropout = getattr(model, "attention_probs_dropout_prob", getattr(model, "attention_dropout", 0.0))
    return training_memory(
        plan.architecture,
        rows=rows,
        length=length,
        stored_scores=bool(dropout) and not torch.cuda.is_available(),
        recomputed=recomputed or config.train.gradient_checkpointing,
        teacher_params=_teacher_params(config),
        bytes_per_activation=4 if config.train.mixed_precision == "fp32" or not torch.cuda.is_available() else 3,
    )


def _teacher_params(config: TrainConfig) -> int:
    folder = teacher_folder(config.distillation)
    if folder is None:
        return 0
    architecture = architecture_of(read_config(folder))
    return total_params(architecture, architecture.full)


def disk_findings(plan: Plan) -> Iterator[Finding]:
    """Whether checkpoints and the supernet have room."""
    a, config = plan.architecture, plan.config
    try:
        steps = config.train.epochs * -(-len(plan.data.train) // config.train.batch_size)
    except UserError:  # another check says why
        steps = UNKNOWN_STEPS
    weights = 4 * total_params(a, a.full)
    kept, needed = storage_of(config.train, steps, weights=weights, averages=2 * weights)
    what = f"{kept} checkpoint(s) and the supernet"
    check_room(config.folder, needed, what=what, advice="choose another place with output_dir=FOLDER")
    there = next(path for path in (config.folder, *config.folder.parents) if path.exists())
    free = size_text(shutil.disk_usage(there).free)
    yield Finding(OK, f"{what} take up to {size_text(needed)} in {config.folder.parent}; {free} are free")
