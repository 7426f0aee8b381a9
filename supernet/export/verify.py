"""Runs model files as somebody else would: in a fresh process, offline, elsewhere, without this library.

Shape letters: n rows, C outputs of each row.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from supernet.evaluation.latency import Timing
from supernet.export import fresh
from supernet.export.engines import Row
from supernet.runtime.errors import UserError
from supernet.runtime.files import write_json
from supernet.space.cost import Workload

TURNS = 10
"""Turns of each model when latencies are measured."""

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
"""Files are verified and timed on the CPU, where all engines run."""


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What a model file did in the fresh process.

    Attributes:
        logits: (n, C) float32, in the order of the rows.
        timing: At the workload.
    """

    logits: np.ndarray
    timing: Timing


def observe(
    folders: Mapping[str, Path],
    formats: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    workload: Workload,
    *,
    threads: int,
    work: Path,
) -> dict[tuple[str, str], Behaviour]:
    """The behaviour of model files, which take turns when they are timed.

    Args:
        folders: Folders with model files, by any name.
        formats: What to run: pairs of such a name and a format.
        rows: Raw texts, see `Engine.logits`.
        workload: What latencies are measured on.
        threads: Of each engine.
        work: An empty folder for temporary files.

    Raises:
        UserError: if a file cannot be loaded or run.
    """
    output, request, elsewhere = work / "observed.npz", work / "request.json", work / "elsewhere"
    elsewhere.mkdir()
    values: dict[str, Any] = {"folders": {name: str(path.absolute()) for name, path in folders.items()}}
    values |= {"formats": formats, "rows": rows, "workload": vars(workload), "threads": threads, "turns": TURNS}
    write_json(request, values | {"output": str(output), "trust_remote_code": True})
    variables = {"HF_MODULES_CACHE": str(work / "modules"), "OMP_NUM_THREADS": str(threads)}
    status, message = run_fresh(request, os.environ | _OFFLINE | _HIDDEN | variables, elsewhere)
    if status:
        raise UserError(f"the exported model cannot be used: a fresh process reports {message or f'status {status}'}")
    with np.load(output, allow_pickle=False) as arrays:
        return {
            (label, name): Behaviour(
                arrays[f"logits/{label}/{name}"], Timing.of(arrays[f"seconds/{label}/{name}"].tolist())
            )
            for label, name in formats
        }


def run_fresh(request: Path, environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Runs `fresh.py` in a new interpreter; returns its exit status and what it wrote to standard error."""
    command = [sys.executable, "-I", str(Path(fresh.__file__).absolute()), str(request)]
    done = subprocess.run(command, env=dict(environment), cwd=folder, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stderr.strip()


def difference(logits_nC: np.ndarray, expected_nC: np.ndarray) -> float:
    """The largest difference of logits, as a share of the largest logit if that is above 1. NaN if one is NaN."""
    return float(np.max(np.abs(logits_nC - expected_nC)) / max(1.0, float(np.max(np.abs(expected_nC)))))
