"""Checks of the machine: versions, processors, memory, disks, caches, the hub."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import constants
from packaging.requirements import Requirement

from search.doctor.container import free_memory
from search.doctor.cores import CORE_CHECKS
from search.doctor.findings import OK, PROBLEM, WARNING, Check, Finding
from search.doctor.models import HUB_TIMEOUT_S, find_model
from search.doctor.origins import origin_findings
from supernet import __version__
from supernet.console.environment import check_environment
from supernet.data.tokens import cache_folder
from supernet.evaluation.processor import processor
from supernet.models.pretrained import Pretrained
from supernet.options.model import ModelSource
from supernet.options.task import EMBEDDED_TASK
from supernet.runtime.commands import PROGRAM
from supernet.runtime.errors import UserError
from supernet.runtime.hub import why_unreachable
from supernet.runtime.state import RUNNING, RunState, read_state
from supernet.runtime.storage import size_text

LITTLE_SPACE, NO_SPACE = 5 * 2**30, 2**30
"""Bytes free on a disk: below these a training of a small model may, or will, run out of space."""
LITTLE_MEMORY = 3 * 2**30
"""Bytes: a training of a small model takes about two thirds of it."""
LONGEST_COUNT_S = 2.0
"""Longest time that the files of a cache are counted."""

EXTRAS = {
    "botorch": (("botorch",), "searcher=ehvi with searcher.known_cost=false"),
    "onnx": (("onnx", "onnxruntime"), "export formats=[onnx,int8]"),
    "openvino": (("openvino", "nncf"), "export formats=[openvino]"),
    "tensorboard": (("tensorboard",), "tracking.to=[tensorboard]"),
    "wandb": (("wandb",), "tracking.to=[wandb]"),
    "mlflow": (("mlflow-skinny",), "tracking.to=[mlflow]"),
}
"""Optional extras: their distributions, and what they are for."""

SHOWN_VERSIONS = ("torch", "transformers", "accelerate", "datasets", "huggingface-hub", "numpy")


@dataclass(frozen=True)
class Machine:
    """What the checks of the machine look at.

    Attributes:
        output_dir: Folder of all runs.
        cache_dir: Folder of the tokenised rows; None for the default.
        models: The pre-trained models that are meant.
        tasks: Names of the tasks that are meant.
        supernet: Folder of the supernet that is meant; None for all.
    """

    output_dir: Path
    cache_dir: str | None
    models: tuple[ModelSource, ...]
    tasks: tuple[str, ...]
    supernet: str | None


def _versions(machine: Machine) -> Iterator[Finding]:
    shown = [f"{name} {importlib.metadata.version(name)}" for name in SHOWN_VERSIONS]
    yield Finding(OK, f"{PROGRAM} {__version__}, Python {platform.python_version()}, {', '.join(shown)}")
    for requirement in map(Requirement, importlib.metadata.requires(PROGRAM) or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            there = "is not installed" if version is None else f"is {version}"
            yield Finding(
                WARNING,
                f"{requirement.name} {there}, and {PROGRAM} needs {requirement.name}{requirement.specifier}",
                f"pip install '{requirement.name}{requirement.specifier}'",
            )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras(machine: Machine) -> Iterator[Finding]:
    there = [extra for extra, (names, _) in EXTRAS.items() if all(map(_installed, names))]
    missing = {extra: purpose for extra, (_, purpose) in EXTRAS.items() if extra not in there}
    text = f"installed: {', '.join(there) or 'none'}"
    if not missing:
        yield Finding(OK, text)
        return
    names = ", ".join(f"{extra} (for {purpose})" for extra, purpose in missing.items())
    yield Finding(OK, f"{text}; not installed: {names}", f"if needed: pip install '{PROGRAM}[{','.join(missing)}]'")


def _environment(machine: Machine) -> Iterator[Finding]:
    check_environment()
    names = ("HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "TMPDIR", "CUDA_VISIBLE_DEVICES")
    given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    yield Finding(OK, ", ".join(given) or "no variable that changes anything is set")


def _devices(machine: Machine) -> Iterator[Finding]:
    cpu = processor()
    yield Finding(OK, f"CPU {cpu.name} with {', '.join(cpu.flags) or 'no vector instructions that matter'}")
    for i in range(torch.cuda.device_count()):
        yield _gpu(i)
    if not torch.cuda.is_available() and Path("/dev/nvidia0").exists():
        yield Finding(
            WARNING,
            f"there is a GPU, but torch {torch.__version__} cannot use it, so all runs on the CPU",
            "install torch for this GPU's driver, see pytorch.org, or check CUDA_VISIBLE_DEVICES",
        )


def _gpu(number: int) -> Finding:
    free, total = torch.cuda.mem_get_info(number)
    text = f"GPU {number}: {torch.cuda.get_device_name(number)}, {size_text(free)} of {size_text(total)} free"
    if free < total / 2:
        return Finding(
            WARNING,
            f"{text}: another program uses it",
            "take another GPU with CUDA_VISIBLE_DEVICES=NUMBER, or wait",
        )
    return Finding(OK, text)


def _memory(machine: Machine) -> Iterator[Finding]:
    free = free_memory()
    if free < LITTLE_MEMORY:
        advice = "end other programs, or ask for more memory; a training that runs out of it is killed"
        yield Finding(WARNING, f"only {size_text(free)} are free", advice)
    else:
        yield Finding(OK, f"{size_text(free)} are free")


def _space(machine: Machine) -> Iterator[Finding]:
    places = {"output_dir": machine.output_dir, "data.cache_dir": cache_folder(machine.cache_dir)}
    places |= {"HF_HOME": Path(constants.HF_HOME), "TMPDIR": Path(tempfile.gettempdir())}
    for key, folder in places.items():
        yield _disk(key, folder)


def _disk(key: str, folder: Path) -> Finding:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    advice = f"make room, or choose another place with {key}=FOLDER"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "is a file" if not there.is_dir() else "cannot be written"
        return Finding(PROBLEM, f"{key} {folder}: {there} {what}", f"choose another place with {key}=FOLDER")
    free, files = shutil.disk_usage(there).free, os.statvfs(there)
    text = f"{key} {folder}: {size_text(free)} free"
    if free < NO_SPACE:
        return Finding(PROBLEM, f"{text}, too little for a training", advice)
    if files.f_files and files.f_favail < 1000:
        return Finding(PROBLEM, f"{text}, but room for {files.f_favail} more files only", advice)
    return Finding(WARNING, text, advice) if free < LITTLE_SPACE else Finding(OK, text)


def _caches(machine: Machine) -> Iterator[Finding]:
    folders = {
        "models and data sets of the hub": Path(constants.HF_HOME),
        "tokenised rows": cache_folder(machine.cache_dir),
    }
    for what, folder in folders.items():
        yield Finding(OK, f"{what}: {folder}, {_size_of(folder) if folder.is_dir() else 'empty'}")


def _size_of(folder: Path) -> str:
    """The size of a folder's files; a lower bound if there are very many."""
    size, end = 0, time.monotonic() + LONGEST_COUNT_S
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # other programs remove files
                size += os.lstat(os.path.join(path, name)).st_size
        if time.monotonic() > end:
            return f"more than {size_text(size)}"
    return size_text(size)


def _hub(machine: Machine) -> Iterator[Finding]:
    if constants.is_offline_mode():
        yield Finding(OK, "not asked: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so only the cache is used")
    elif (why := why_unreachable(HUB_TIMEOUT_S)) is None:
        yield Finding(OK, f"{constants.ENDPOINT} answers")
    else:
        advice = "check network and proxy (HTTPS_PROXY), or set HF_HUB_OFFLINE=1 if all that you need is here"
        yield Finding(PROBLEM, why, advice)


def _models(machine: Machine) -> Iterator[Finding]:
    for source in machine.models:
        found = find_model(source)
        if isinstance(found, Pretrained):
            yield Finding(OK, f"{source.label} is in {found.folder}")
        else:
            yield found


def _origins(machine: Machine) -> Iterator[Finding]:
    yield from origin_findings(machine.output_dir, machine.supernet, {EMBEDDED_TASK, *machine.tasks})


def _running(machine: Machine) -> Iterator[Finding]:
    folders = [path for kind in ("train", "search") for path in sorted((machine.output_dir / kind).glob("*"))]
    running = [(path, state) for path in folders if (state := _state(path)) is not None and state.state == RUNNING]
    for path, state in running:
        yield Finding(WARNING, f"{path} {state}", "two runs on one machine take twice as long each; wait for it")
    if not running:
        yield Finding(OK, f"none is running in {machine.output_dir}")


def _state(folder: Path) -> RunState | None:
    try:
        return read_state(folder)
    except UserError:
        return None


MACHINE_CHECKS: Sequence[Check[Machine]] = (
    Check("versions", _versions),
    Check("extras", _extras),
    Check("environment", _environment),
    Check("devices", _devices),
    *CORE_CHECKS,
    Check("memory", _memory),
    Check("disk space", _space),
    Check("caches", _caches),
    Check("hub", _hub),
    Check("model", _models),
    Check("runs", _running),
    Check("supernets' rows", _origins),
)
