"""A fixed teacher: another fine-tuned model that the sub-networks learn from."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.distillation import Distillation
from supernet.errors import UserError
from supernet.models import load_tokenizer, read_classifier
from supernet.tasks import Task


def load_teacher(
    options: Distillation,
    task: Task,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: torch.device,
) -> PreTrainedModel | None:
    """The model in the folder `options.teacher`, in evaluation mode and without gradients; None if there is none.

    Raises:
        UserError: if it cannot be read, or does not fit the student: other labels, other tokens, or, where hidden
            states are learned from, another hidden size.
    """
    if options.teacher is None:
        return None
    folder = Path(options.teacher).expanduser()
    given = f"distillation.teacher={options.teacher}"
    if not (folder / "config.json").is_file():
        raise UserError(f"{given}: no such folder, or no config.json in it; give a fine-tuned model's folder")
    teacher = read_classifier(folder, task)
    if (theirs := teacher.config.num_labels) != student.config.num_labels:
        raise UserError(
            f"{given} has {theirs} outputs, task '{task.name}' needs {student.config.num_labels}; "
            "give a model fine-tuned for this task"
        )
    its_tokenizer = load_tokenizer(folder, teacher.config)
    same_inputs = set(its_tokenizer.model_input_names) == set(tokenizer.model_input_names)
    if not same_inputs or its_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise UserError(f"{given} has another vocabulary than the model; give a teacher with the model's own tokenizer")
    if options.hidden_weight > 0 and teacher.config.hidden_size != student.config.hidden_size:
        raise UserError(
            f"{given} has a hidden size of {teacher.config.hidden_size}, the model {student.config.hidden_size}; "
            "use distillation.hidden_weight=0 or a teacher of the same hidden size"
        )
    teacher.to(device)  # type: ignore[arg-type]  # transformers hides the type of `to`
    return teacher.eval().requires_grad_(False)
