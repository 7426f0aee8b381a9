"""Training checkpoints: what an interrupted training needs to end with the same weights as an uninterrupted one.

A checkpoint is a folder `step-00000500` with

- model.safetensors, optimizer.safetensors: weights; Adam's averages, named `NUMBER.exp_avg` by parameter;
- random.safetensors: one row a process: the micro-batch size and the states of torch's generators;
- state.json: position, conditions, learning rate schedule, fp16's scaler;
- manifest.json: size and SHA-256 of the other files.

The folder is written under another name, flushed to the disk, then renamed. Batches and sub-networks are not stored:
they follow from the number of the step.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor

from supernet import __version__
from supernet.artifact import INFO_FILE
from supernet.options.training import TrainOptions
from supernet.runtime.digests import differences
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import atomic_folder, file_sha256, write_json
from supernet.runtime.processes import broadcast_from_main
from supernet.runtime.reading import load_json
from supernet.runtime.shapes import shaped
from supernet.runtime.storage import check_room, writing
from supernet.training.trainer import Trainer

CHECKPOINTS = "checkpoints"
"""Name of their folder in a run folder."""
MANIFEST = "manifest.json"
PRECISION = "precision"
_FORMAT = 2


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        step: Optimizer steps done.
        epochs: Epochs done, their validation included.
        seconds: Time spent so far, over all parts of an interrupted training.
        metrics_bytes: Length of metrics.jsonl.
        seen: The last recorded losses.
        errors: Validation error of each validated sub-network after the last finished epoch.
        best_epoch: The epoch, from 1, whose sub-networks have the smallest mean validation error; 0 before the first.
        best_error: This mean.
        origins: Digests of rows and models. A training resumes only with the same digests.
    """

    step: int = 0
    epochs: int = 0
    seconds: float = 0.0
    metrics_bytes: int = 0
    seen: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    best_error: float = 0.0
    origins: dict[str, str] = field(default_factory=dict)


def save_checkpoint(folder: Path, trainer: Trainer, position: Position, *, keep: int) -> None:
    """Writes a checkpoint and keeps only the newest `keep`. Every process must call it.

    Args:
        folder: Of the checkpoints; made if missing.
        trainer: Between two steps.
        position: Where the trainer is.
        keep: At least 1.
    """
    random_PN = trainer.accelerator.gather(trainer.random_state()[None])
    if not trainer.accelerator.is_main_process:
        return
    with writing(folder):
        folder.mkdir(exist_ok=True)
    target = folder / f"step-{position.step:08d}"
    with atomic_folder(target) as partial:
        save_model(trainer.model, str(partial / "model.safetensors"))
        save_file(_optimizer_tensors(trainer), partial / "optimizer.safetensors")
        save_file({"random": random_PN.cpu()}, partial / "random.safetensors")
        write_json(partial / "state.json", _state(trainer, position))
        files = {path.name: _fingerprint(path) for path in sorted(partial.iterdir())}
        write_json(partial / MANIFEST, {"format": _FORMAT, "files": files})
    older = [path for path in _newest_first(folder) if path.name < target.name]
    damaged = [path for path in _newest_first(folder) if path.name > target.name]  # skipped when this training resumed
    for path in damaged + older[keep - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def check_room_for_checkpoints(folder: Path, trainer: Trainer) -> None:
    """Checks that the disk has room for everything that a training stores at the same time.

    A checkpoint holds the weights and, for each trained weight, Adam's two averages. A new checkpoint is written before
    the oldest is removed. The last supernet and the best supernet are stored too.

    Raises:
        StorageError: if there is less room.
    """
    options, parameters = trainer.config.train, [*trainer.model.parameters()]
    weights = sum(p.numel() * p.element_size() for p in parameters)
    averages = 2 * sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    kept, needed = storage_of(options, trainer.steps, weights=weights, averages=averages)
    fewer = ", or keep fewer with train.keep_checkpoints=1" if kept > 1 else ""
    advice = f"choose another place with output_dir=FOLDER{fewer}"
    check_room(folder, needed, what=f"{kept} checkpoint(s) and the supernet", advice=advice)


def storage_of(options: TrainOptions, steps: int, *, weights: int, averages: int) -> tuple[int, int]:
    """The number of checkpoints that a training of so many steps keeps, and the most bytes that it stores at once.

    Args:
        options: How many checkpoints are written and kept.
        steps: Of the training.
        weights, averages: Bytes of the weights and of Adam's averages.
    """
    written = options.epochs + (0 if options.checkpoint_every is None else steps // options.checkpoint_every)
    at_once = min(options.keep_checkpoints + 1, written)
    return min(options.keep_checkpoints, written), at_once * (weights + averages) + min(2, options.epochs) * weights


def newest_checkpoint(folder: Path, trainer: Trainer, warn: Callable[[str], object]) -> Path | None:
    """The newest whole checkpoint, chosen by the main process for all; None if there is none.

    Args:
        folder: Of the checkpoints.
        trainer: For its processes.
        warn: Receives a message for each damaged checkpoint.
    """
    chosen = None
    for path in _newest_first(folder) if trainer.accelerator.is_main_process else ():
        if (damage := _damage(path)) is None:
            chosen = str(path)
            break
        warn(f"checkpoint {path} is damaged and is skipped: {damage}")
    newest = broadcast_from_main(trainer.accelerator, chosen)
    return None if newest is None else Path(newest)


def load_checkpoint(
    path: Path, trainer: Trainer, *, origins: Mapping[str, str], warn: Callable[[str], object]
) -> Position:
    """Restores model, optimizer, schedule and generators. Every process must call it.

    Args:
        path: What `newest_checkpoint` returned, in a folder that all processes can read.
        trainer: A trainer that has made no step.
        origins: Digests of the current rows and models.
        warn: Receives a message if the result will differ a little from that of an uninterrupted training.

    Raises:
        UserError: if it cannot be read, or was written with other rows, models or precision.
    """
    try:
        state = load_json(path / "state.json")
        position = shaped(Position, state["position"], "position")
        if different := differences(origins, position.origins):
            raise UserError(f"{different} changed since checkpoint {path}; start from scratch with resume=never")
        _compare_conditions(path, state["conditions"], conditions_of(trainer), warn)
        load_model(trainer.model, path / "model.safetensors")
        _load_optimizer(trainer, load_file(path / "optimizer.safetensors"))
        trainer.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(trainer.optimizer.param_groups, trainer.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if trainer.accelerator.scaler is not None and state["scaler"]:
            trainer.accelerator.scaler.load_state_dict(state["scaler"])
        random_PN = load_file(path / "random.safetensors")["random"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"checkpoint {path} cannot be used ({first_line(error)}); start from scratch with resume=never"
        ) from error
    if random_PN.shape == (trainer.accelerator.num_processes, len(trainer.random_state())):
        trainer.set_random_state(random_PN[trainer.accelerator.process_index])
    else:
        trainer.seed_dropout(position.step)
        before, now = len(random_PN), trainer.accelerator.num_processes
        own = trainer.config.sampling.per_rank and before != now
        causes = "dropout, rounding and the sub-networks of each process" if own else "only dropout and rounding"
        warn(
            f"the checkpoint was written by {before} process(es), now there are {now} on "
            f"{trainer.accelerator.device.type}: {causes} will differ from an uninterrupted training"
        )
    return position


def conditions_of(trainer: Trainer) -> dict[str, str]:
    """Conditions that the exact bits of a result depend on, besides configuration, rows and models."""
    device = trainer.accelerator.device
    on_cpu = device.type == "cpu"
    return {
        PRECISION: trainer.config.train.mixed_precision,
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": str(torch.get_num_threads()) if on_cpu else "any",
        "plm-supernet": __version__,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def _compare_conditions(
    path: Path, was: Mapping[str, str], now: Mapping[str, str], warn: Callable[[str], object]
) -> None:
    if now[PRECISION] != was[PRECISION]:
        raise UserError(
            f"checkpoint {path} was trained in {was[PRECISION]}, this training is in {now[PRECISION]}; resume with "
            f"train.mixed_precision={was[PRECISION]}, or start from scratch with resume=never"
        )
    if different := [f"{name} {now[name]} (was {was[name]})" for name in now if now[name] != was[name]]:
        warn(
            f"changed since the checkpoint: {', '.join(different)}; the last digits of the result may differ from "
            "those of an uninterrupted training"
        )


def checkpoint_names(run_folder: Path) -> list[str]:
    """Names of the checkpoints in a run folder, the oldest first; whether they are whole is not checked."""
    return [path.name for path in reversed(_newest_first(run_folder / CHECKPOINTS))]


def supernet_is_newer(run_folder: Path) -> bool:
    """Whether the supernet is newer than all checkpoints, which a killed process then had yet to remove."""
    times = [path.stat().st_mtime_ns for path in run_folder.glob(f"{CHECKPOINTS}/*/{MANIFEST}")]
    info = run_folder / "supernet" / INFO_FILE
    return info.exists() and info.stat().st_mtime_ns > max(times, default=0)


def remove_checkpoints(folder: Path) -> None:
    """Removes all of them. For the main process, after the training or before it starts from scratch."""
    shutil.rmtree(folder, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole."""
    try:
        manifest = load_json(path / MANIFEST)
        if manifest["format"] != _FORMAT:
            return "it was written by another version of this program"
        for name, expected in manifest["files"].items():
            if (size := (path / name).stat().st_size) != expected["bytes"]:
                return f"{name} has {size} bytes instead of {expected['bytes']}"
            if _fingerprint(path / name) != expected:
                return f"the checksum of {name} is wrong"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"it cannot be read ({first_line(error)})"
    return None


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _state(trainer: Trainer, position: Position) -> dict[str, Any]:
    scaler = trainer.accelerator.scaler
    return {
        "position": asdict(position),
        "conditions": conditions_of(trainer),
        "schedule": trainer.schedule.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.optimizer.state_dict()["state"]
    return {f"{i}.{name}": tensor.contiguous() for i, entry in state.items() for name, tensor in entry.items()}


def _load_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
