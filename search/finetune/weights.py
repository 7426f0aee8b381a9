"""The weights of sub-networks that were trained alone: weights/N.safetensors in the run folder, for a kept trial N."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import load_model
from transformers import PreTrainedModel

from search.trials import Trial, weights_file
from supernet.models.files import refusing
from supernet.models.slicing import extract
from supernet.space.subnetwork import SubNetwork


def finetuned(
    folder: Path, trials: Sequence[Trial], full: PreTrainedModel
) -> Callable[[SubNetwork], PreTrainedModel | None]:
    """A function that reads a trained model of a run: a member of its front or the full model; None if it was not kept.

    Args:
        folder: The run folder.
        trials: Of the run.
        full: A model of the full size; only its shape matters.
    """
    numbers = {trial.subnet: trial.number for trial in trials}

    def read(subnet: SubNetwork) -> PreTrainedModel | None:
        path = weights_file(folder, numbers[subnet])
        if not path.exists():
            return None
        model = extract(full, subnet)
        with refusing(
            f"{path}, the weights of trial {numbers[subnet]}, cannot be used", "start again with overwrite=true"
        ):
            load_model(model, path)
        return model.eval()

    return read
