"""Trials as processes, which Syne Tune's `Tuner` starts and stops.

`Workers` overrides `_schedule` and `_kill_process` of Syne Tune's `LocalBackend`, and uses its `_is_process_done`,
`_busy_trial_id_candidates` and `trial_subprocess`. They are not public, so setup.cfg pins syne-tune below 0.17.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from syne_tune.backend.local_backend import LocalBackend

from search.finetune import trial
from search.finetune.trial import SUBNET_FILE
from supernet.runtime.files import write_json
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

ROOT = Path(trial.__file__).parent.parent.parent
"""The folder of the packages; they need not be installed."""

_LAUNCHER = (
    "ACCELERATE_MIXED_PRECISION", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_", "MASTER_",
    "TORCHELASTIC_",
)  # fmt: skip
"""Variables with which a launcher connects its processes. A trial is no such process."""


class Workers(LocalBackend):
    """Syne Tune's processes on this machine; each has a share of the cores, or a GPU.

    Syne Tune's own command line breaks at spaces in paths, and its search for GPUs writes into the working folder. So
    this class does both itself. Each process has its own session: Ctrl-C reaches only the main process, which ends the
    others.

    Args:
        job: Folder with the files of `trial.Job`.
        space: Where the sub-networks come from.
        threads: Of each process.
    """

    def __init__(self, job: Path, space: SearchSpace, *, threads: int) -> None:
        super().__init__(entry_point=str(trial.__file__), rotate_gpus=False)
        self._job, self._space, self._slots = job, space, dict[int, int]()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_LAUNCHER)}
        path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
        numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._environment = kept | numbers | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
        given = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
        self._gpus = [gpu for gpu in given.split(",") if gpu]

    def _schedule(self, trial_id: int, config: dict[str, Any]) -> None:
        folder = self.trial_path(trial_id)
        folder.mkdir(parents=True)
        write_json(folder / SUBNET_FILE, decoded(self._space, config).to_json())
        busy = {slot for trial, slot in self._slots.items() if not self._is_process_done(trial)}
        slot = next(i for i in count() if i not in busy)
        gpu = {"CUDA_VISIBLE_DEVICES": self._gpus[slot % len(self._gpus)]} if self._gpus else {}
        command = [sys.executable, "-m", trial.__name__, str(self._job), str(folder), str(os.getpid())]
        with (folder / "std.out").open("w") as out, (folder / "std.err").open("w") as err:
            self.trial_subprocess[trial_id] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._environment | gpu,
                start_new_session=True,
            )
        self._slots[trial_id] = slot
        self._busy_trial_id_candidates.add(trial_id)

    def _kill_process(self, trial_id: int) -> None:
        super()._kill_process(trial_id)
        self.trial_subprocess[trial_id].wait()  # so that its files are final

    def failure(self, trial_id: int) -> str:
        """Why a trial has failed: the last line of its stderr, or the signal."""
        status = self.trial_subprocess[trial_id].wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        lines = [line.strip() for line in self.stderr(trial_id) if line.strip()]
        return lines[-1][:200] if lines else f"exit status {status}"


def decoded(space: SearchSpace, config: Mapping[str, Any]) -> SubNetwork:
    """The sub-network of a trial's configuration."""
    return space.decode([config[name] for name in space.bounds])
