"""A model's weights: in one file with their figures, so that they always belong together; and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_model
from transformers import PreTrainedModel

from supernet.runtime.files import atomic_path


def write_weights(path: Path, model: PreTrainedModel, seen: Mapping[str, float]) -> None:
    """Writes the weights and their metrics into one file, so that they always belong together."""
    with atomic_path(path) as partial:
        save_model(model, str(partial), metadata={name: repr(value) for name, value in seen.items()})


def read_seen(path: Path) -> dict[str, float]:
    """The metrics of the weights in a file."""
    with safe_open(path, framework="pt") as file:
        return {name: float(value) for name, value in sorted(file.metadata().items()) if name != "format"}


def weights_digest_of(model: PreTrainedModel) -> str:
    """16 hexadecimal digits that stand for the weights of a model in memory."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha256.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        sha256.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha256.hexdigest()[:16]
