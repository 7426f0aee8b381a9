"""Training checkpoints: all that an interrupted training needs to go on to the very same weights.

A checkpoint is a folder `step-00000500` with

- model.safetensors, optimizer.safetensors: weights; Adam's averages, named `NUMBER.exp_avg` by parameter;
- random.safetensors: one row for each process: the state of torch's generators and the size of micro-batches;
- state.json: where the training was and under which conditions, the schedule, fp16's scaler;
- manifest.json: size and SHA-256 of the other files.

It is written under another name, seen to the disk and renamed. What it does not hold follows from the step's number:
the batches, the sub-networks, the learning rate's course.
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
from supernet.runtime.digests import differences
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import atomic_folder, file_sha256, write_json
from supernet.runtime.processes import broadcast_from_main
from supernet.runtime.reading import load_json
from supernet.runtime.shapes import shaped
from supernet.runtime.storage import check_room, writing
from supernet.training.trainer import Trainer, random_state, set_random_state

MANIFEST = "manifest.json"
PRECISION = "precision"
_FORMAT = 2


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        step: Optimizer steps done.
        epochs: Epochs done, their validation included.
        seconds: Spent so far, in all parts of an interrupted training.
        metrics_bytes: Length of metrics.jsonl.
        seen: The last line of losses.
        errors: Validation error of each sub-network that was validated, after the last epoch done.
        best_epoch: The epoch, from 1, whose sub-networks have the smallest mean validation error; 0 before the first.
        best_error: That mean.
        origins: Digests of rows and models, which must not have changed when the training goes on.
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
    """Writes a checkpoint and removes those that are not among the newest `keep`. To be called in every process.

    Args:
        folder: Of the checkpoints; made if it is not there.
        trainer: Between two steps.
        position: Where it is.
        keep: At least 1.
    """
    random_PN = trainer.accelerator.gather(_random_state(trainer)[None])
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
    damaged = [path for path in _newest_first(folder) if path.name > target.name]  # passed over when this one went on
    for path in damaged + older[keep - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def check_room_for_checkpoints(folder: Path, trainer: Trainer) -> None:
    """Sees that the disk has room for what a training may have there at once.

    Each checkpoint holds the weights and, of each that is trained, Adam's two averages; one more is written before the
    oldest is removed. Then there are the last supernet and the best one; the new best is written beside the old.

    Raises:
        StorageError: if there is less room.
    """
    options, parameters = trainer.config.train, [*trainer.model.parameters()]
    weights = sum(p.numel() * p.element_size() for p in parameters)
    averages = 2 * sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    written = options.epochs + (0 if options.checkpoint_every is None else trainer.steps // options.checkpoint_every)
    kept = min(options.keep_checkpoints, written)
    fewer = ", or keep fewer with train.keep_checkpoints=1" if kept > 1 else ""
    check_room(
        folder,
        min(kept + 1, written) * (weights + averages) + min(2, options.epochs) * weights,
        what=f"{kept} checkpoint(s) and the supernet",
        advice=f"choose another place with output_dir=FOLDER{fewer}",
    )


def newest_checkpoint(folder: Path, trainer: Trainer, warn: Callable[[str], object]) -> Path | None:
    """The newest whole checkpoint, which the main process chooses for all; None if there is none.

    Args:
        folder: Of the checkpoints.
        trainer: For its processes.
        warn: Told of each checkpoint that is damaged, and what is wrong with it.
    """
    chosen = None
    for path in _newest_first(folder) if trainer.accelerator.is_main_process else ():
        if (wrong := _damage(path)) is None:
            chosen = str(path)
            break
        warn(f"checkpoint {path} is damaged and is passed over: {wrong}")
    found = broadcast_from_main(trainer.accelerator, chosen)
    return None if found is None else Path(found)


def load_checkpoint(
    path: Path, trainer: Trainer, *, origins: Mapping[str, str], warn: Callable[[str], object]
) -> Position:
    """Puts model, optimizer, schedule and generators where the checkpoint was. To be called in every process.

    Args:
        path: What `newest_checkpoint` returned. Every process reads it: the folder is one that all of them see.
        trainer: One that has made no step.
        origins: Digests of the rows and models at hand.
        warn: Told what makes the result differ in its last digits, or by dropout, from an uninterrupted training's.

    Raises:
        UserError: if it cannot be read, or rows, models or precision are others.
    """
    try:
        state = load_json(path / "state.json")
        position = shaped(Position, state["position"], "position")
        if different := differences(origins, position.origins):
            raise UserError(f"{different} are not those of checkpoint {path}; start anew with resume=never")
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
            f"checkpoint {path} cannot be used ({first_line(error)}); start anew with resume=never"
        ) from error
    if len(random_PN) == trainer.accelerator.num_processes and _fits(random_PN, trainer):
        _set_random_state(trainer, random_PN[trainer.accelerator.process_index])
    else:
        trainer.seed_dropout(position.step)
        before, now = len(random_PN), trainer.accelerator.num_processes
        own = trainer.config.sampling.per_rank and before != now
        by = "dropout, rounding and the sub-networks that each draws" if own else "dropout and rounding alone"
        warn(
            f"the checkpoint was written by {before} process(es); {now} go on, on {trainer.accelerator.device.type}: "
            f"the result will differ from that of an uninterrupted training, by {by}"
        )
    return position


def conditions_of(trainer: Trainer) -> dict[str, str]:
    """What the bits of a result depend on besides configuration, rows and models."""
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
            f"checkpoint {path} is of a training in {was[PRECISION]}, and this is one in {now[PRECISION]}; go on with "
            f"train.mixed_precision={was[PRECISION]}, or start anew with resume=never"
        )
    if different := [f"{name} {now[name]} (was {was[name]})" for name in now if now[name] != was[name]]:
        warn(
            f"since the checkpoint there is another {', '.join(different)}: the result may differ in its last digits "
            "from that of an uninterrupted training"
        )


def remove_checkpoints(folder: Path) -> None:
    """Removes all of them; for the main process, after the training has ended or before it starts anew."""
    shutil.rmtree(folder, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None if nothing is."""
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
    return {f"{i}.{name}": tensor.contiguous() for i, its in state.items() for name, tensor in its.items()}


def _load_optimizer(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = tensor
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_state(trainer: Trainer) -> Tensor:
    """(N,) uint8 on the device: this process's size of micro-batches, and the states of the generators it uses."""
    device = trainer.accelerator.device
    size = torch.tensor([trainer.micro_batch_size or 0], dtype=torch.int64).view(torch.uint8)
    return torch.cat([size, *random_state(device)]).to(device)


def _fits(random_PN: Tensor, trainer: Trainer) -> bool:
    return random_PN.shape[1] == len(_random_state(trainer))


def _set_random_state(trainer: Trainer, state_N: Tensor) -> None:
    sizes = [trainer.micro_batch_size, int(state_N[:8].clone().view(torch.int64))]
    trainer.micro_batch_size = min(filter(None, sizes), default=None)  # the user may have asked for less meanwhile
    end = 8 + len(torch.get_rng_state())
    set_random_state([state_N[8:end].clone(), state_N[end:].clone()], trainer.accelerator.device)
