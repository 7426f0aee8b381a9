"""A trained supernet on disk: a plain Hugging Face folder plus one small file that says what it is."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from supernet import __version__
from supernet.models.families import architecture_of
from supernet.models.pretrained import check_model, load_tokenizer, quiet_transformers, read_classifier
from supernet.options.data import DataOptions
from supernet.options.task import Task
from supernet.options.training import IMPORTANCE, Distillation, OrderOptions
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_folder, check_weights, weights_digest, write_json
from supernet.runtime.reading import load_json, read_record, unusable
from supernet.runtime.shapes import Amount, Count, WrongValue
from supernet.runtime.state import unfinished
from supernet.runtime.storage import user_path
from supernet.space.base import SearchSpace
from supernet.space.sampling import SamplingOptions
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.strategies import Strategy

INFO_FILE = "supernet.json"
"""Written last, so a folder that has it is whole."""

_FILES = (INFO_FILE, "config.json", "model.safetensors", "tokenizer.json")
_FORMAT = 2
_AGAIN = "train the supernet again"


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
        revisions: Commits on the hub of the pre-trained model ("model") and of the rows ("data"); None for what is not
            from there.
        layer_importance: A score for each layer, if they were measured.
        seed: The run's seed.
        validation_error: Of the largest, the middle and the smallest sub-network, after the last epoch.
        trained_at: UTC, ISO 8601.
        versions: Of the packages that made it.
        precision: In which it was trained: fp32, bf16 or fp16; None if an older version trained it.
        begun_with: Digests of what it was made of besides the rows: the pre-trained model, and a teacher.
        test_run: Whether it was trained to see that everything works, and for no other purpose.
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
    seed: Count
    validation_error: dict[str, float]
    revisions: dict[str, str | None] = field(default_factory=dict)
    layer_importance: list[Amount] | None = None
    trained_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds"))
    versions: dict[str, str] = field(default_factory=_versions)
    precision: str | None = None
    begun_with: dict[str, str] = field(default_factory=dict)
    test_run: bool = False


@dataclass(frozen=True)
class Supernet:
    """A trained supernet: the full model, its tokenizer, what it is; if it was read, the digest of its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: SupernetInfo
    weights: str = ""

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
            f"'{typed_command('train')}', or name another with supernet=FOLDER"
        )
    return read_record(folder / INFO_FILE, SupernetInfo, _AGAIN, form=_FORMAT)


def _check_fits(info: SupernetInfo, config: PreTrainedConfig) -> None:
    """Sees that what is said of a supernet can be said of this model.

    Raises:
        UserError, WrongValue: if not.
    """
    check_model(info.task, config)
    if not info.task.is_choice and info.task.num_labels != config.num_labels:
        raise WrongValue(
            f"task '{info.task.name}' needs {info.task.num_labels} outputs, the model has {config.num_labels}"
        )
    layers = architecture_of(config).layers
    scores = info.layer_importance
    if (scores is None and info.space.depth == IMPORTANCE) or (scores is not None and len(scores) != layers):
        raise WrongValue.at("layer_importance", scores, f"a list of {layers}, a score for each layer of the model")


def load_supernet(folder: Path, *, weights: str | None = None) -> Supernet:
    """Reads what `save_supernet` wrote; the model is in evaluation mode, on the CPU, and nothing of it in the folder.

    Args:
        folder: The supernet's.
        weights: Digest of the weights that are meant, as a search and `search.select` tell it; None takes any.

    Raises:
        UserError: if the folder is incomplete or damaged, has other weights, or was written meanwhile.
    """
    info, digest = read_info(folder), weights_digest(folder)
    if weights is not None:
        check_weights(folder, weights)
    model = read_classifier(folder, info.task).eval()
    with unusable(str(folder / INFO_FILE), _AGAIN):
        _check_fits(info, model.config)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # it may be a view of the file, whose content may change
    supernet = Supernet(model, load_tokenizer(folder, model.config), info, digest)
    if (read_info(folder), weights_digest(folder)) != (info, digest):
        raise UserError(f"the supernet in {folder} was replaced while it was being read; run the same command again")
    return supernet


def find_supernet(given: str | None, output_dir: Path) -> Path:
    """The supernet folder to search: the one given (or the run folder that holds it), else the newest trained one.

    Raises:
        UserError: if there is none.
    """
    if given is not None:
        folder = user_path(given)
        if not os.path.isdir(folder):
            raise UserError(f"supernet={given}: there is no such folder")
        if (folder / "supernet").is_dir():
            return folder / "supernet"
        if not (folder / INFO_FILE).exists() and (state := unfinished(folder)) is not None:
            raise UserError(f"supernet={given}: its training {state}, and there is no supernet yet; {_GOES_ON}")
        return folder
    found = list(output_dir.glob(f"train/*/supernet/{INFO_FILE}"))
    if not found:
        begun = begun_trainings(output_dir)
        raise UserError(
            f"there is no trained supernet in {output_dir / 'train'}; "
            + (f"{'; '.join(begun)}; {_GOES_ON}" if begun else _how_to_train())
        )
    return max(found, key=_trained_at).parent


_GOES_ON = "wait for it, or give the training's command again, which goes on where it was"


def _how_to_train() -> str:
    example = f"{typed_command('train')} task=stdlib"
    return f"train one first, for example with '{example}', or name one with supernet=FOLDER"


def begun_trainings(output_dir: Path) -> list[str]:
    """What is to be said of each training that has saved no supernet yet."""
    folders = [path for path in sorted(output_dir.glob("train/*")) if not (path / "supernet").exists()]
    states = [(folder.name, unfinished(folder)) for folder in folders]
    return [f"training {name} {state}" for name, state in states if state is not None]


def remarks(folder: Path, info: SupernetInfo) -> list[str]:
    """What a user of a supernet should know, a sentence each: of a test run; its training at work or stopped."""
    said = []
    if info.test_run:
        said.append("it was trained in a test run (debug=fast), so its figures say nothing about the method")
    if folder.name.startswith("supernet") and (state := unfinished(folder.parent)) is not None:
        said.append(f"a training in {folder.parent} {state}; this is the supernet saved there at {info.trained_at}")
    return said


def _trained_at(file: Path) -> tuple[str, str]:
    try:
        return str(load_json(file)["trained_at"]), str(file)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", str(file)  # cannot be the newest; if it is the only one, reading it says what is wrong
