"""The artifact of stage one: a trained supernet as a plain Hugging Face folder with one more file, supernet.json."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from supernet import __version__
from supernet.models.families import architecture_of
from supernet.models.heads import head_for
from supernet.models.pretrained import check_model, load_tokenizer, quiet_transformers, read_classifier
from supernet.options.data import DataOptions
from supernet.options.task import Task
from supernet.options.training import IMPORTANCE, Distillation, OrderOptions
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_folder, check_weights, supernet_in, weights_digest, write_json
from supernet.runtime.reading import load_json, read_record, unusable
from supernet.runtime.shapes import Amount, Count, WrongValue
from supernet.runtime.state import unfinished
from supernet.runtime.storage import user_path
from supernet.space.base import SearchSpace
from supernet.space.sampling import SamplingOptions
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.strategies import Strategy

INFO_FILE = "supernet.json"
"""Written last, so a folder that has it is complete."""

_FILES = (INFO_FILE, "config.json", "model.safetensors", "tokenizer.json")
_FORMAT = 2
_AGAIN = "train the supernet again"


def package_versions() -> dict[str, str]:
    """The versions of this package and of those that compute."""
    ours = {"plm-supernet": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in ("torch", "transformers", "accelerate")}


@dataclass(frozen=True)
class SupernetInfo:
    """What stage two needs to know about a supernet besides its weights.

    Attributes:
        task: The task it was trained for.
        data: Source of its rows, so that the search uses the same splits.
        model: Short name of the pre-trained model.
        splits: Digest of each split's tokens and labels, so that the search can check its rows.
        space: The search space it was trained for.
        strategy, sampling, distillation: How it was trained.
        order: How heads and units were ordered before training.
        revisions: Commits on the hub of the pre-trained model ("model") and of the rows ("data"); None for what is not
            from the hub.
        layer_importance: A score for each layer, if importance was measured.
        seed: The run's seed.
        validation_error: Of the largest, middle and smallest sub-network, after the last epoch.
        trained_at: UTC, ISO 8601.
        versions: Of the packages that trained it.
        precision: fp32, bf16 or fp16; None if an older version trained it.
        begun_with: Digests of the pre-trained model, and of the teacher if there was one.
        test_run: Whether the training was only a test that everything works.
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
    versions: dict[str, str] = field(default_factory=package_versions)
    precision: str | None = None
    begun_with: dict[str, str] = field(default_factory=dict)
    test_run: bool = False


@dataclass(frozen=True)
class Supernet:
    """A trained supernet: full model, tokenizer, info, and the digest of the weights if it was read from a folder."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: SupernetInfo
    weights: str = ""

    @cached_property
    def space(self) -> SearchSpace:
        """The search space it was trained for."""
        a = architecture_of(self.model.config)
        importance = self.info.layer_importance
        return search_space(self.info.space, layers=a.layers, heads=a.heads, units=a.units, layer_importance=importance)


def save_supernet(folder: Path, supernet: Supernet) -> None:
    """Writes the folder completely or not at all. `from_pretrained` of transformers loads it as the full model."""
    with atomic_folder(folder) as partial, quiet_transformers():
        supernet.model.save_pretrained(partial)
        supernet.tokenizer.save_pretrained(partial)
        write_json(partial / INFO_FILE, {"format": _FORMAT} | asdict(supernet.info))


def read_info(folder: Path) -> SupernetInfo:
    """Reads a folder's supernet.json.

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
    """Checks that the info fits the model.

    Raises:
        UserError, WrongValue: if it does not.
    """
    check_model(info.task, config)
    head = head_for(info.task)
    if not head.has_outputs_of(config, info.task):
        raise WrongValue(
            f"task '{info.task.name}' needs {head.outputs(info.task)} outputs, the model has {config.num_labels}"
        )
    layers = architecture_of(config).layers
    scores = info.layer_importance
    if (scores is None and info.space.depth == IMPORTANCE) or (scores is not None and len(scores) != layers):
        raise WrongValue.at("layer_importance", scores, f"a list of {layers}, a score for each layer of the model")


def load_supernet(folder: Path, *, weights: str | None = None) -> Supernet:
    """Reads what `save_supernet` wrote. The model is in evaluation mode, on the CPU, and does not depend on the folder.

    Args:
        folder: The supernet's folder.
        weights: Expected digest of the weights, from a search; None accepts any.

    Raises:
        UserError: if the folder is incomplete or damaged, has other weights, or was replaced while it was read.
    """
    info, digest = read_info(folder), weights_digest(folder)
    if weights is not None:
        check_weights(folder, weights)
    model = read_classifier(folder, info.task).eval()
    with unusable(str(folder / INFO_FILE), _AGAIN):
        _check_fits(info, model.config)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()  # not a view of the file, whose content may change
    supernet = Supernet(model, load_tokenizer(folder, model.config), info, digest)
    if (read_info(folder), weights_digest(folder)) != (info, digest):
        raise UserError(f"the supernet in {folder} was replaced while it was being read; run the same command again")
    return supernet


def find_supernet(given: str | None, output_dir: Path) -> Path:
    """The folder of the supernet to search: the given one, or that in the given run folder, else the newest.

    Raises:
        UserError: if there is none.
    """
    if given is not None:
        folder = user_path(given)
        if not os.path.isdir(folder):
            raise UserError(f"supernet={given}: there is no such folder")
        supernet = supernet_in(folder)
        if supernet == folder and not (folder / INFO_FILE).exists() and (state := unfinished(folder)) is not None:
            raise UserError(f"supernet={given}: its training {state}, and there is no supernet yet; {_WAIT}")
        return supernet
    candidates = list(output_dir.glob(f"train/*/supernet/{INFO_FILE}"))
    if not candidates:
        trainings = unfinished_trainings(output_dir)
        raise UserError(
            f"there is no trained supernet in {output_dir / 'train'}; "
            + (f"{'; '.join(trainings)}; {_WAIT}" if trainings else _how_to_train())
        )
    return max(candidates, key=_trained_at).parent


_WAIT = "wait for it, or repeat the training's command, which resumes it"


def _how_to_train() -> str:
    example = f"{typed_command('train')} task=stdlib"
    return f"train one first, for example with '{example}', or name one with supernet=FOLDER"


def unfinished_trainings(output_dir: Path) -> list[str]:
    """A clause for each training that has not saved a supernet: "training NAME was stopped at ..."."""
    folders = [path for path in sorted(output_dir.glob("train/*")) if not (path / "supernet").exists()]
    states = [(folder.name, unfinished(folder)) for folder in folders]
    return [f"training {name} {state}" for name, state in states if state is not None]


def remarks(folder: Path, info: SupernetInfo) -> list[str]:
    """Notes for users of a supernet, each a clause: it is from a test run; its training is running or was stopped."""
    notes = []
    if info.test_run:
        notes.append("it was trained in a test run (debug=fast), so its figures say nothing about the method")
    if folder.name.startswith("supernet") and (state := unfinished(folder.parent)) is not None:
        notes.append(f"a training in {folder.parent} {state}; this is the supernet saved there at {info.trained_at}")
    return notes


def _trained_at(file: Path) -> tuple[str, str]:
    try:
        return str(load_json(file)["trained_at"]), str(file)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", str(file)  # never the newest; if it is the only one, reading it raises the error
