"""The weights that a baseline changes: weights/N.safetensors in its run folder, for each trial N.

Mask tuning changes some tensors of a sub-network. Those are written, and all others are the supernet's. A baseline that
changes none writes no files.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from transformers import PreTrainedModel

from search.trials import weights_file
from supernet.models.files import refusing
from supernet.models.slicing import extract
from supernet.runtime.files import atomic_path
from supernet.space.subnetwork import SubNetwork


def write_changed(folder: Path, number: int, small: PreTrainedModel, subnet: SubNetwork, full: PreTrainedModel) -> None:
    """Writes the tensors of a smaller model that differ from those of the full model.

    Args:
        folder: The run folder.
        number: Of the trial.
        small: The smaller model, on the device of `full`.
        subnet: What it keeps.
        full: The full model that it was made of.

    Raises:
        StorageError: if the file cannot be written.
    """
    path, before = weights_file(folder, number), extract(full, subnet, share=True).state_dict()
    changed = {n: tensor for n, tensor in small.state_dict().items() if not torch.equal(tensor, before[n])}
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_bytes(save({name: tensor.contiguous() for name, tensor in changed.items()}))


def read_changed_(folder: Path, number: int, small: PreTrainedModel) -> bool:
    """Gives a smaller model, in place, the tensors that `write_changed` wrote; False if there is no such file.

    Args:
        folder: The run folder.
        number: Of the trial.
        small: Extracted from the supernet.

    Raises:
        UserError: if the file is damaged, or belongs to another sub-network.
    """
    path = weights_file(folder, number)
    if not path.exists():
        return False
    with refusing(f"{path}, the weights of trial {number}, cannot be used", "start again with overwrite=true"):
        unexpected = small.load_state_dict(load_file(path), strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"it has {', '.join(unexpected)}")
    return True
