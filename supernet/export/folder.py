"""A model as a folder that transformers loads: configuration, weights, tokenizer, and code where it is needed."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.export.code import CODE_FILE, code_for, entries_for
from supernet.export.native import padded
from supernet.export.plan import plan_of
from supernet.models.files import quiet_transformers
from supernet.options.export import AUTO, CODE, NATIVE
from supernet.options.task import Task
from supernet.runtime.files import write_json
from supernet.runtime.reading import load_json


def write_model(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, *, layout: str = AUTO
) -> str:
    """Writes a model, readable by everybody, and returns its layout: native or code.

    Args:
        folder: Exists, and is empty.
        model: An extracted sub-network, or a full model.
        tokenizer: Its tokenizer. The written tokenizer cuts texts at the task's length.
        task: What the model was trained for.
        layout: native, code, or auto: native if the stock classes suffice, else code.

    Raises:
        UserError: if layout=native cannot express the sub-network.
    """
    model = padded(model) if layout == NATIVE else model
    plan = plan_of(model)
    layout = NATIVE if plan.is_empty and layout != CODE else CODE
    with quiet_transformers():
        model.save_pretrained(folder, max_shard_size="1000GB")  # engines read a single file
        tokenizer.save_pretrained(folder)
    config = load_json(folder / "config.json")
    if layout == CODE:
        config |= entries_for(model, plan)
        code = code_for(model.config.model_type, type(model).__name__)
        (folder / CODE_FILE).write_text(code, "utf-8")
    write_json(folder / "config.json", config)
    settings = folder / "tokenizer_config.json"
    ours = {"model_max_length": task.max_length}
    dropped = ("local_files_only", "is_local")  # how we read it
    write_json(settings, {k: v for k, v in load_json(settings).items() if k not in dropped} | ours)
    for path in folder.iterdir():
        path.chmod(0o644)  # transformers writes files that other users cannot read
    return layout
