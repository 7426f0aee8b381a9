"""Records the numbers of a training: in metrics.jsonl always, in TensorBoard, W&B and MLflow on request.

A resumed training continues the same run of each tracker.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from supernet.options.training import TrackingOptions
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import append_json_line, write_json
from supernet.runtime.reading import load_json
from supernet.runtime.shapes import flatten, shaped

RUN_IDS = "tracking.json"


def check_trackers(options: TrackingOptions) -> None:
    """Checks that the trackers' packages are installed.

    Raises:
        UserError: with the command that installs what is missing.
    """
    missing = [name for name in options.to if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"tracking.to={','.join(missing)}: not installed; use 'pip install {' '.join(missing)}' "
            "or leave it out: metrics.jsonl is always written"
        )


class Tracking:
    """Records numbers, in the main process only.

    Args:
        accelerator: Made with the trackers of `options`.
        folder: The run folder.
        options: Names of the trackers, and the project.
        values: The configuration, in plain values.
        step: Steps already done. If there are any, the trackers' previous runs are resumed.

    Raises:
        UserError: if a tracker cannot start.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, options: TrackingOptions, values: Mapping[str, Any], *, step: int
    ) -> None:
        self.accelerator, self.file = accelerator, folder / "metrics.jsonl"
        if not accelerator.is_main_process:
            return
        if not step:
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        if not options.to:
            return
        ids = _run_ids(folder) if step else {}
        arguments = {
            "tensorboard": {"purge_step": step} if step else {},
            "wandb": {"name": folder.name, "dir": str(folder), "id": ids.get("wandb"), "resume": "allow"},
            "mlflow": {"run_name": folder.name, "run_id": ids.get("mlflow")},
        }
        try:
            accelerator.init_trackers(options.project, None if step else _loggable(values), arguments)
        except Exception as error:  # errors of any class: no network, no login, no answer
            raise UserError(
                f"tracking.to={','.join(options.to)} cannot start ({first_line(error)}); fix this or leave it out"
            ) from error
        runs = {tracker.name: tracker.tracker for tracker in accelerator.trackers}
        ids = {"wandb": runs["wandb"].id} if "wandb" in runs else {}
        ids |= {"mlflow": runs["mlflow"].info.run_id} if "mlflow" in runs else {}
        write_json(folder / RUN_IDS, ids)

    def record(self, values: Mapping[str, Any], *, step: int) -> None:
        """Appends a line to metrics.jsonl and logs to the trackers."""
        if self.accelerator.is_main_process:
            append_json_line(self.file, dict(values))
            self.accelerator.log(_loggable(values), step=step)

    def bytes_written(self) -> int:
        """Length of metrics.jsonl."""
        return self.file.stat().st_size if self.file.exists() else 0

    def finish(self) -> None:
        """Closes the trackers."""
        for tracker in self.accelerator.trackers:
            tracker.finish()


def cut_metrics(folder: Path, length: int) -> None:
    """Cuts metrics.jsonl to its first `length` bytes: the steps after them are made again."""
    file = folder / "metrics.jsonl"
    if file.exists() and file.stat().st_size > length:
        os.truncate(file, length)


def peak_memory_gib(device: torch.device) -> float:
    """Peak memory of this process so far: of its tensors on a GPU, otherwise of its pages in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _run_ids(folder: Path) -> dict[str, str]:
    try:
        ids: dict[str, str] = shaped(dict[str, str], load_json(folder / RUN_IDS))
        return ids
    except (OSError, ValueError, RecursionError):
        return {}


def _loggable(values: Mapping[str, Any]) -> dict[str, int | float | str]:
    """Values for trackers: dotted names; values other than numbers and text become text."""
    return {
        key: value if isinstance(value, (int, float, str)) else str(value) for key, value in flatten(values).items()
    }
