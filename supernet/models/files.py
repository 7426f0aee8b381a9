"""Checks the files of a model's folder before transformers reads them; an error is one line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.utils import logging as transformers_logging

from supernet.models.families import FAMILIES
from supernet.models.hub import WEIGHTS
from supernet.runtime.errors import UserError
from supernet.runtime.files import file_sha256
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import OneOf, Within, WrongValue, shaped
from supernet.space.subnetwork import MOST

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_SHOWN = 200
"""Shown characters of a library's error."""
PRETRAINED, TEACHER = "pre-trained model", "teacher"
AGAIN = "fetch the model again, or take another model"

_COUNT = Annotated[int, Within(1, MOST)]
_SIZES: dict[str, Any] = {
    "num_hidden_layers": Annotated[int, Within(1, 1000)],
    "num_attention_heads": _COUNT,
    "hidden_size": _COUNT,
    "intermediate_size": _COUNT,
    "vocab_size": Annotated[int, Within(1, 10**8)],
    "max_position_embeddings": Annotated[int, Within(1, 10**8)],
    "num_labels": _COUNT,
    "initializer_range": Annotated[float, Within(0, 100)],
    "layer_norm_eps": Annotated[float, Within(0, 1)],
    "norm_eps": Annotated[float, Within(0, 1)],
}
"""Allowed values of a configuration, by transformers' common names. A kind of model has only some of them."""

ACTIVATIONS = ("hidden_act", "hidden_activation", "activation")
"""Names of the activation function in configurations. A kind of model has one of them."""

_ACTIVATION = Annotated[str, OneOf(tuple(sorted(ACT2FN)))]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no reports below errors from transformers while the block runs."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()


@contextmanager
def refusing(what: str, advice: str = AGAIN) -> Iterator[None]:
    """While the block runs, turns any error that a library raises over a damaged file into a UserError of one line.

    Transformers, tokenizers and safetensors raise errors of all classes, because they do not check what they read.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        words = re.sub(r"^StrictDataclassFieldValidationError: .*?: TypeError: ", "", words)[:_SHOWN]
        raise UserError(f"{what} ({words}); {advice}") from error


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of the model in a folder.

    Raises:
        UserError: if it cannot be read, or a value in it is impossible.
    """
    path = folder / "config.json"
    with unusable(str(path), AGAIN):
        values = shaped(dict[str, Any], load_json(path))
    if "auto_map" in values and values.get("model_type") not in FAMILIES:
        raise UserError(
            f"{path}: model_type '{values.get('model_type')}' needs the code beside it, which is not executed; take a "
            f"model of these families: {', '.join(FAMILIES)}"
        )
    with refusing(f"{path} cannot be used"), quiet_transformers():
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.model_type in FAMILIES:
        with unusable(str(path), AGAIN):
            _check_values(config)
    return config


def _check_values(config: PreTrainedConfig) -> None:
    """Checks the values of a configuration.

    Raises:
        WrongValue: if a value is not allowed; names the key as in the file.
    """
    sizes = {FAMILIES[config.model_type].units: _COUNT} | _SIZES
    kinds = sizes | dict.fromkeys(ACTIVATIONS, _ACTIVATION)
    for name in (name for name in kinds if hasattr(config, name)):
        shaped(kinds[name], getattr(config, name), config.attribute_map.get(name, name))
    heads = config.num_attention_heads
    if config.hidden_size % heads:
        raise WrongValue(f"a hidden size of {config.hidden_size} cannot be divided among {heads} attention heads")
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise WrongValue.at("pad_token_id", config.pad_token_id, f"from 0 to less than vocab_size, {config.vocab_size}")


def check_files(folder: Path) -> Path:
    """Checks that a folder has a model's files; returns the file with the weights, or their index.

    Raises:
        UserError: if something is missing.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; give a folder that transformers' save_pretrained has written")
    for name in WEIGHTS:
        if (folder / name).is_file():
            if name == WEIGHTS[1]:
                _check_index(folder / name)
            return folder / name
    pickled = [path.name for path in sorted(folder.glob("*.bin"))]
    hint = f"; {pickled[0]} is a pickle, which is not read: save the model again as safetensors" if pickled else ""
    raise UserError(f"{folder} has no weights: no model.safetensors{hint}")


@dataclass(frozen=True)
class _Index:
    """Content of model.safetensors.index.json: the file of each tensor."""

    weight_map: dict[str, str]
    metadata: dict[str, Any]


def _check_index(path: Path) -> None:
    with unusable(str(path), AGAIN):
        files = sorted(set(shaped(_Index, load_json(path)).weight_map.values()))
        if not files:
            raise WrongValue("weight_map is empty")
        for name in files:
            if os.path.basename(name) != name or not name.endswith(".safetensors"):
                raise WrongValue.at("a file of weight_map", name, "a .safetensors file beside it")
            if not (path.parent / name).is_file():
                raise WrongValue(f"{name}, which weight_map names, is not there")


def check_sha256(weights: Path, expected: str) -> None:
    """Checks that a file has the expected checksum.

    Raises:
        UserError: if it cannot be read, or has another checksum.
    """
    try:
        actual = file_sha256(weights)
    except OSError as error:
        raise UserError(f"{weights} cannot be read ({error.strerror}); check its permissions") from error
    if actual != expected:
        raise UserError(
            f"{weights} has sha256 {actual}, expected {expected}: the file is damaged or not the official one; "
            "fetch it again, or say model.sha256=null if it is meant to differ"
        )


def model_digest(folder: Path) -> str:
    """16 hexadecimal digits that stand for a model: its weights and its configuration.

    Raises:
        UserError: if a file cannot be read.
    """
    sha256 = hashlib.sha256()
    parts = [*(folder / name for name in WEIGHTS), *sorted(folder.glob("*.safetensors")), folder / "config.json"]
    try:
        for path in filter(Path.is_file, dict.fromkeys(parts)):
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    sha256.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return sha256.hexdigest()[:16]


def model_digests(pretrained: Path, teacher: Path | None) -> dict[str, str]:
    """The digests of the models that a training starts from."""
    models = {PRETRAINED: pretrained} | ({} if teacher is None else {TEACHER: teacher})
    return {name: model_digest(folder) for name, folder in models.items()}
