"""The modelling file of a folder whose sub-network the stock classes cannot express: the template for its family."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from supernet.export import modeling_pruned
from supernet.export.plan import Plan
from supernet.models import stand_ins
from supernet.models.families import FAMILIES
from supernet.models.files import ACTIVATIONS
from supernet.models.heads import HEADS, head_of
from supernet.runtime.reading import load_json

CODE_FILE = "modeling_pruned.py"

_CONFIG, _MODEL = _CLASSES = ("modeling_pruned.PrunedConfig", "modeling_pruned.PrunedModel")
"""What `auto_map` names: classes in the modelling file."""

_ADAPTER = "adapter_config.json"
"""With such a file, peft makes transformers load another model, which the file names."""

_PREFIX = "pruned-"
_NOT_STOCK = "none, load this model with trust_remote_code=True"
_STAND_INS = Path(os.path.abspath(stand_ins.__file__))
_TEMPLATE = Path(os.path.abspath(modeling_pruned.__file__))


def code_for(model_type: str, model_class: str) -> str:
    """The content of the modelling file.

    Args:
        model_type: Of the stock model, a key of `FAMILIES`.
        model_class: Name of the stock model's class in transformers.
    """
    code = _TEMPLATE.read_text("utf-8")
    alone = _STAND_INS.read_text("utf-8").partition("from __future__ import annotations\n")[2].strip()
    for ours, theirs in (
        ("from supernet.models.stand_ins import STAND_INS, BiasOfHeads", alone),
        ("import BertConfig as ", f"import {CONFIG_MAPPING_NAMES[model_type]} as "),
        ("import BertForSequenceClassification as ", f"import {model_class} as "),
        (f'"{_PREFIX}bert"', f'"{_PREFIX}{model_type}"'),
    ):
        assert code.count(ours) == 1, ours
        code = code.replace(ours, theirs)
    return code


def entries_for(model: PreTrainedModel, plan: Plan) -> dict[str, Any]:
    """The entries of config.json that name the modelling file's classes and say how the layers differ.

    Without the code, every way to load the weights fails. Transformers would otherwise load them into a stock model and
    make up the missing ones at random. So the model type is not the stock model's, and the stock classes, which do not
    care about the type, find an activation that they do not know.
    """
    activation = next(name for name in ACTIVATIONS if hasattr(model.config, name))
    return {
        "model_type": _PREFIX + model.config.model_type,
        "architectures": ["PrunedModel"],
        "auto_map": {"AutoConfig": _CONFIG, head_of(model).auto_class.__name__: _MODEL},
        activation: _NOT_STOCK,
        "pruning": plan.to_json() | {"config": {activation: getattr(model.config, activation)}},
    }


def has_code(folder: Path) -> bool:
    """Whether the configuration in a folder names code."""
    return "auto_map" in load_json(folder / "config.json")


def is_our_code(folder: Path) -> bool:
    """Whether all the code that transformers would run for a folder is exactly what this version writes.

    Then it may run without the user's trust: it is this library's own. A tokenizer can name code too, and an adapter
    another folder.
    """
    config = load_json(folder / "config.json")
    model_type = str(config.get("model_type")).removeprefix(_PREFIX)
    if model_type not in FAMILIES or not isinstance(config.get("auto_map"), dict):
        return False
    if not all(name in _CLASSES for name in config["auto_map"].values()):
        return False
    tokenizer = folder / "tokenizer_config.json"
    if (folder / _ADAPTER).exists() or (tokenizer.exists() and "auto_map" in load_json(tokenizer)):
        return False
    classes = [head.architectures[model_type] for head in HEADS.values() if model_type in head.architectures]
    file = folder / CODE_FILE
    return file.is_file() and file.read_bytes() in [code_for(model_type, name).encode() for name in classes]
