"""The processes of a training or search: Accelerate's settings, cores, communication.

Only the main process prints. Other processes print messages that concern them alone, with their rank in front.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
)
from torch import Tensor, nn

from supernet.runtime.digests import differences
from supernet.runtime.distributed import in_group, print_line
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import prepare_folder
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.state import run_lock

T = TypeVar("T")

PROCESS_TIMEOUT = timedelta(hours=3)
"""Longest wait for another process, which may tokenise a large task alone. The launcher notices dead processes."""


@contextmanager
def accelerate_session(
    mixed_precision: str,
    *,
    log_with: Sequence[str] = (),
    logging_dir: Path | None = None,
    key: str = "train.mixed_precision",
) -> Iterator[Accelerator]:
    """An accelerator for one training or search. Sessions with other settings may follow.

    The process group stays after the block, until `end_group`, since it cannot be made twice.

    Args:
        mixed_precision: auto | fp32 | bf16 | fp16, see `resolve_precision`.
        log_with: Names of Accelerate's trackers.
        logging_dir: Folder of the trackers that write files.
        key: Key of the precision in the configuration, for messages.

    Raises:
        UserError: if the device does not support the precision, or the launcher is set to shard models.
    """
    for name in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise UserError(
                f"accelerate is set to use {name}, which divides a model among processes, but each needs the whole "
                "supernet: launch with --config_file launch/accelerate/gpus.yaml, or run 'accelerate config' again"
            )
    precision = resolve_precision(mixed_precision, key=key)
    try:
        accelerator = Accelerator(
            mixed_precision=PRECISIONS[precision],
            cpu=_on_cpu(),
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # not the launcher's
            log_with=list(log_with) or None,
            project_config=None if logging_dir is None else ProjectConfiguration(logging_dir=str(logging_dir)),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
        )
    except ValueError as error:
        raise UserError(f"{key}={mixed_precision}: {first_line(error)}") from error
    if accelerator.device.type == "cpu":
        _share_cores(accelerator)
    for note in _launcher_notes(mixed_precision, precision, key) if accelerator.is_main_process else ():
        print_with_rank(accelerator, note)
    try:
        yield accelerator
        accelerator.wait_for_everyone()
    finally:
        # Private, but the public functions keep the settings of the first accelerator for the whole process.
        AcceleratorState._reset_state(reset_partial_state=not in_group())


@contextmanager
def lock_run_folder(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """In the main process: makes a run folder, locks it while the block runs, and records the run's state there."""
    if not accelerator.is_main_process:
        yield
        return
    prepare_folder(folder)
    with run_lock(folder):
        yield


def resolve_precision(name: str, *, key: str = "train.mixed_precision") -> str:
    """The precision to compute in. auto is the launcher's unless that is fp32, otherwise bf16 on a GPU that has it.

    Args:
        name: auto | fp32 | bf16 | fp16.
        key: Key of the precision in the configuration, for messages.

    Raises:
        UserError: if the device does not support it, or the launcher's precision is unknown.

    Returns:
        A key of `PRECISIONS`.
    """
    if name == AUTO:
        name = {theirs: ours for ours, theirs in PRECISIONS.items()}.get(_launchers_precision(), "")
        if not name:
            raise UserError(
                f"accelerate is set to mixed precision {_launchers_precision()}, which is not supported; use "
                f"{key}=bf16, fp16 or fp32"
            )
        # Emulated bf16 may be hundreds of times slower than fp32, so auto does not choose it.
        if name == "fp32" and not _on_cpu() and torch.cuda.is_available():
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else name
    if name == "fp16" and _on_cpu():
        raise UserError(f"mixed precision fp16 needs a GPU; use {key}=bf16 or fp32 on a CPU")
    return name


def _on_cpu() -> bool:
    # Without this setting Accelerate would not connect several processes on CPUs.
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def _launchers_precision() -> str:
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")


_IGNORED = {
    "DYNAMO_BACKEND": ("no", "compile models (dynamo_backend)", "train.compile=true compiles the layers"),
    "GRADIENT_ACCUMULATION_STEPS": ("1", "accumulate gradients", "train.batch_size rows make a step, in parts of "
                                    "train.micro_batch_size rows"),
}  # fmt: skip
"""The launcher's settings without effect: their default, their meaning, and what to use instead."""


def _launcher_notes(given: str, precision: str, key: str) -> list[str]:
    """Notes on the launcher's settings that are used, or have no effect."""
    notes = []
    if given == AUTO and _launchers_precision() != "no":
        notes.append(f"precision {precision} comes from accelerate launch; change it with {key}=fp32")
    for name, (default, meaning, instead) in _IGNORED.items():
        value = os.environ.get(f"ACCELERATE_{name}", default)
        if value.lower() != default:
            notes.append(f"accelerate is set to {meaning}: {value}, which has no effect here; {instead}")
    return notes


@contextmanager
def main_first(accelerator: Accelerator) -> Iterator[None]:
    """Runs the block in the main process first, then in the others, even if it raised an error in the main process.

    After such an error, Accelerate's own version lets the others wait forever.
    """
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


def print_with_rank(accelerator: Accelerator, text: str) -> None:
    """Prints a line to standard error, with the rank in front unless this is the main process."""
    prefix = "" if accelerator.is_main_process else f"process {accelerator.process_index}: "
    print_line(prefix + text)


def broadcast_from_main(accelerator: Accelerator, value: T | None) -> T | None:
    """Returns the main process's `value` in every process.

    Raises:
        UserError: if another process has ended.
    """
    if accelerator.num_processes == 1:
        return value
    with _lost_peers_explained():
        return cast("T | None", broadcast_object_list([value])[0])


def all_gather(items: list[T]) -> list[T]:
    """Returns the items of all processes, in the order of their ranks, in every process.

    Raises:
        UserError: if another process has ended.
    """
    with _lost_peers_explained():
        return cast("list[T]", gather_object(items))


def check_same_everywhere(digests: Mapping[str, str]) -> None:
    """Checks that all processes have the same digests: files may differ between machines.

    Args:
        digests: Of what this process works with.

    Raises:
        UserError: in every process, if they differ; names what differs.
    """
    first, *others = all_gather([dict(digests)])
    for number, other in enumerate(others, start=1):
        if different := differences(other, first):
            raise UserError(
                f"process {number} works with other files than process 0 ({different}); give all machines the same"
            )


@contextmanager
def _lost_peers_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not in_group():
            raise
        raise UserError(
            f"another process of this run has ended ({first_line(error)}); what was written is kept: start all of "
            "them again"
        ) from error


def sum_over_processes(accelerator: Accelerator, parameters: Sequence[nn.Parameter], numbers: Tensor) -> None:
    """Adds up gradients and some numbers over all processes, in place, in a single all-reduce.

    A parameter that is in no sub-network of this step gets a gradient of zeros, like the unused rows of a sliced
    parameter. So Adam's averages decay in the same way, with one process as with several.

    Args:
        parameters: The trained parameters, the same in all processes.
        numbers: (n,) on the accelerator's device.
    """
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    if accelerator.num_processes == 1:
        return
    tensors = [*(p.grad for p in parameters if p.grad is not None), numbers]
    flat = accelerator.reduce(torch.cat([t.flatten() for t in tensors]), reduction="sum")
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _share_cores(accelerator: Accelerator) -> None:
    """Gives each process its share of the cores if the launcher has set OMP_NUM_THREADS=1.

    `accelerate launch` does so without `--cpu`. On a machine without a GPU the other cores would be idle.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(max(1, usable_cores() // local_processes))


def usable_cores() -> int:
    """Cores that this process may use. On a cluster these can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
