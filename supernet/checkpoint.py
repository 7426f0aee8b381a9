"""A trained supernet on disk: a plain Hugging Face folder plus one small file that says what it is."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet import __version__
from supernet.errors import UserError
from supernet.families import architecture_of
from supernet.models import load_tokenizer, quiet_transformers, read_classifier
from supernet.options import DataOptions, Distillation, OrderOptions
from supernet.runs import atomic_folder, file_sha256, write_json
from supernet.sampling import SamplingOptions
from supernet.space import SearchSpace
from supernet.spaces import SpaceOptions, search_space
from supernet.strategies import Strategy
from supernet.tasks import Task

INFO_FILE = "supernet.json"
"""Written last, so a folder that has it is whole."""

_FILES = (INFO_FILE, "config.json", "model.safetensors", "tokenizer.json")
_FORMAT = 2

_PARTS: dict[str, Callable[..., object]] = {
    "task": Task,
    "data": DataOptions,
    "space": SpaceOptions,
    "strategy": Strategy,
    "sampling": SamplingOptions,
    "distillation": Distillation,
    "order": OrderOptions,
}
"""Values of `SupernetInfo` that are dataclasses themselves."""


def _versions() -> dict[str, str]:
    ours = {"plm-supernet": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in ("torch", "transformers", "accelerate")}


@dataclass(frozen=True)
class SupernetInfo:
    """What has to be known of a supernet besides its weights.

    Attributes:
        task: What it was trained for.
        data: Where its rows came from, so that the search sees the same split.
        model: Short name of the pre-trained model.
        splits: Digest of each split's tokens and labels, so that the search can see that it has the same rows.
        space: The search space it was trained for.
        strategy, sampling, distillation: How it was trained.
        order: How heads and units were ordered before training.
        layer_importance: A score for each layer, if they were measured.
        seed: The run's seed.
        validation_error: Of the largest, the middle and the smallest sub-network, after the last epoch.
        trained_at: UTC, ISO 8601.
        versions: Of the packages that made it.
    """

    task: Task
    data: DataOptions
    splits: dict[str, str]
    model: str
    space: SpaceOptions
    strategy: Strategy
    sampling: SamplingOptions
    distillation: Distillation
    order: OrderOptions
    seed: int
    validation_error: dict[str, float]
    layer_importance: list[float] | None = None
    trained_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds"))
    versions: dict[str, str] = field(default_factory=_versions)


@dataclass(frozen=True)
class Supernet:
    """A trained supernet: the full model, its tokenizer, and what it is."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: SupernetInfo

    @property
    def space(self) -> SearchSpace:
        """The search space it was trained for."""
        a = architecture_of(self.model.config)
        importance = self.info.layer_importance
        return search_space(self.info.space, layers=a.layers, heads=a.heads, units=a.units, layer_importance=importance)


def save_supernet(folder: Path, supernet: Supernet) -> None:
    """Writes the folder, whole or not at all. Stock `from_pretrained` loads it as the full model."""
    with atomic_folder(folder) as partial, quiet_transformers():
        supernet.model.save_pretrained(partial)
        supernet.tokenizer.save_pretrained(partial)
        write_json(partial / INFO_FILE, {"format": _FORMAT} | asdict(supernet.info))


def read_info(folder: Path) -> SupernetInfo:
    """What `folder` says of its supernet.

    Raises:
        UserError: if the folder is incomplete or of another format.
    """
    missing = [name for name in _FILES if not os.path.isfile(folder / name)]
    if missing:
        raise UserError(
            f"supernet folder {folder} is incomplete: no {' and no '.join(missing)}; train it again with "
            "train_supernet.py, or name another with supernet=FOLDER"
        )
    try:
        values = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise ValueError("written by another version of this program")
        return SupernetInfo(**values | {name: kind(**values[name]) for name, kind in _PARTS.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / INFO_FILE} cannot be used ({error}); train the supernet again") from error


def load_supernet(folder: Path) -> Supernet:
    """Reads what `save_supernet` wrote; the model is in evaluation mode, on the CPU.

    Raises:
        UserError: if the folder is incomplete or damaged.
    """
    info = read_info(folder)
    model = read_classifier(folder, info.task)
    return Supernet(model.eval(), load_tokenizer(folder, model.config), info)


def weights_digest(folder: Path) -> str:
    """16 hexadecimal digits that stand for a supernet's weights: of the file that `save_supernet` wrote."""
    return file_sha256(folder / "model.safetensors")[:16]


def find_supernet(given: str | None, output_dir: Path) -> Path:
    """The supernet folder to search: the one given (or the run folder that holds it), else the newest trained one.

    Raises:
        UserError: if there is none.
    """
    if given is not None:
        folder = Path(given).expanduser()
        if not os.path.isdir(folder):
            raise UserError(f"supernet={given}: there is no such folder")
        return folder / "supernet" if (folder / "supernet").is_dir() else folder
    found = list(output_dir.glob(f"train/*/supernet/{INFO_FILE}"))
    if not found:
        raise UserError(
            f"there is no trained supernet in {output_dir / 'train'}; train one first, for example with "
            "'accelerate launch train_supernet.py task=stdlib', or name one with supernet=FOLDER"
        )
    return max(found, key=_trained_at).parent


def _trained_at(file: Path) -> tuple[str, str]:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["trained_at"]), str(file)
    except (OSError, ValueError, KeyError, TypeError):
        return "", str(file)  # cannot be the newest; if it is the only one, reading it says what is wrong
