"""A fixed teacher: a fine-tuned model that sub-networks learn from, or what it predicts.

Shape letters: N training rows, C outputs of the head for each row.
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from supernet.console.progress import show_progress
from supernet.data.load import TaskData
from supernet.data.readers import listing
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import FAMILIES
from supernet.models.files import refusing
from supernet.models.heads import HEADS, head_for
from supernet.models.pretrained import check_model, load_tokenizer, read_classifier, read_config
from supernet.models.weights import weights_digest_of
from supernet.options.task import Task
from supernet.options.training import SAME, TOP, Distillation
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_path, supernet_in
from supernet.runtime.storage import user_path

Teacher: TypeAlias = PreTrainedModel | np.ndarray
"""A fixed model, which predicts batch by batch, or its (N, C) predictions of the training rows (`teacher_logits`)."""


def teacher_logits(
    teacher: PreTrainedModel,
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device | str = "cpu",
    mixed_precision: str = "no",
) -> np.ndarray:
    """(N, C) predictions of the training rows, in their order, from a single pass.

    They never change, so one pass serves all epochs, and several sub-networks. It is for heads that predict once for
    each row, as all of `HEADS` do: predictions of each token would not fit into an array.

    Args:
        teacher: A model of a known family in evaluation mode. It stays as it is, and where it is.
        data: The rows.
        tokenizer: The model's tokenizer, for padding.
        device: Where to compute.
        mixed_precision: See `Evaluator`.
    """
    device = torch.device(device)
    model = teacher if teacher.device == device else copy.deepcopy(teacher).to(device)  # type: ignore[arg-type]
    evaluator = Evaluator(data.train, data.task, tokenizer, device=device, mixed_precision=mixed_precision)
    return evaluator.logits(model)


def kept_logits(
    path: Path,
    teacher: Teacher,
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    *,
    accelerator: Accelerator,
    console: Console,
) -> np.ndarray:
    """`teacher_logits`, computed once and kept in a file; what a caller has computed is returned as it is.

    Raises:
        UserError: if the file is damaged, or cannot be written.
    """
    if isinstance(teacher, np.ndarray):
        return teacher
    if not path.exists():
        device, precision = accelerator.device, accelerator.mixed_precision
        with show_progress(console, f"the full model's predictions of {len(data.train)} rows"):
            logits_NC = teacher_logits(teacher, data, tokenizer, device=device, mixed_precision=precision)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, logits=logits_NC)
    problem, advice = f"{path} cannot be used", "remove it, and the predictions are computed again"
    with refusing(problem, advice), path.open("rb") as source, np.load(source, allow_pickle=False) as saved:
        return saved["logits"]


def teacher_digest(teacher: Teacher) -> str:
    """16 hexadecimal digits that stand for the weights of a model, or for its predictions."""
    if isinstance(teacher, PreTrainedModel):
        return weights_digest_of(teacher)
    content = f"{teacher.shape} {teacher.dtype}".encode() + teacher.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def load_teacher(
    options: Distillation,
    task: Task,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device,
) -> PreTrainedModel | None:
    """The model in the folder `options.teacher`, in evaluation mode and without gradients; None if there is none.

    The run folder of a training stands for its supernet.

    Raises:
        UserError: if it cannot be read, or does not fit the student: another kind of task, other classes, other tokens,
            fewer positions, or, where hidden states are learned from, another hidden size.
    """
    folder = teacher_folder(options)
    if folder is None:
        return None
    given = f"distillation.teacher={options.teacher}"
    config = read_config(folder)
    _check_outputs(given, config, task)
    if config.model_type in FAMILIES:
        try:
            check_model(task, config)
        except UserError as error:
            raise UserError(f"{given}: {error}") from error
    teacher = read_classifier(folder, task)
    teacher_tokenizer = load_tokenizer(folder, teacher.config)
    same_inputs = set(teacher_tokenizer.model_input_names) == set(tokenizer.model_input_names)
    if not same_inputs or teacher_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise UserError(f"{given} has another vocabulary than the model; give a teacher with the model's own tokenizer")
    if options.hidden_weight > 0 and teacher.config.hidden_size != student.config.hidden_size:
        raise UserError(
            f"{given} has a hidden size of {teacher.config.hidden_size}, the model {student.config.hidden_size}; "
            "use distillation.hidden_weight=0 or a teacher of the same hidden size"
        )
    layers, teacher_layers = student.config.num_hidden_layers, teacher.config.num_hidden_layers
    if options.hidden_weight > 0 and options.hidden_map == SAME and teacher_layers != layers:
        raise UserError(
            f"{given} has {teacher_layers} layers, the model {layers}; use distillation.hidden_map={TOP} or a teacher "
            "of as many layers"
        )
    teacher.to(device)  # type: ignore[arg-type]  # transformers hides the type of `to`
    return teacher.eval().requires_grad_(False)


def teacher_folder(options: Distillation) -> Path | None:
    """The folder of the teacher; None if there is no teacher.

    Raises:
        UserError: if there is no such folder, or no config.json in it.
    """
    if options.teacher is None:
        return None
    folder = supernet_in(user_path(options.teacher))
    if not (folder / "config.json").is_file():
        raise UserError(
            f"distillation.teacher={options.teacher}: no such folder, or no config.json in it; give a fine-tuned "
            "model's folder"
        )
    return folder


def _check_outputs(given: str, config: PreTrainedConfig, task: Task) -> None:
    """Checks that the teacher's outputs mean the same as the student's, as far as its config.json tells."""
    what, head = "give a model fine-tuned for this task", head_for(task)
    for name in (config.architectures or ())[:1]:
        others = {other.words for other in HEADS.values() if name in other.architectures.values()}
        if others and head.words not in others:
            raise UserError(
                f"{given} is a model for {' or '.join(others)}, task '{task.name}' needs one for {head.words}; {what}"
            )
    if not head.has_outputs_of(config, task):
        raise UserError(
            f"{given} has {config.num_labels} outputs, task '{task.name}' needs {head.outputs(task)}; {what}"
        )
    names = [str(name) for _, name in sorted((config.id2label or {}).items())]
    generic = names == [f"LABEL_{i}" for i in range(len(names))]
    same = [name.casefold() for name in names] == [name.casefold() for name in task.classes]
    if task.classes and not (generic or same):
        raise UserError(
            f"{given} has the classes {listing(names)}, task '{task.name}' has {listing(task.classes)}, in this order; "
            f"{what}, or correct id2label in its config.json"
        )
