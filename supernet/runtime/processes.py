"""The processes of one training: Accelerate's settings, the cores of each, and what they tell one another.

One line of talk comes from the main process; another process speaks only of what is its own, with its number.
"""

from __future__ import annotations

import os
import sys
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
from supernet.runtime.distributed import in_group
from supernet.runtime.errors import UserError, first_line
from supernet.runtime.files import prepare_folder
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.state import run_lock

T = TypeVar("T")

PROCESS_TIMEOUT = timedelta(hours=3)
"""How long processes wait for each other: one of them may tokenise a large task alone. The launcher sees a dead one."""


@contextmanager
def accelerate_session(
    mixed_precision: str,
    *,
    log_with: Sequence[str] = (),
    logging_dir: Path | None = None,
    key: str = "train.mixed_precision",
) -> Iterator[Accelerator]:
    """Accelerate for the length of one training or search; another of other settings may follow.

    The group of processes, once made, stays until `end_group`: it cannot be made twice.

    Args:
        mixed_precision: auto | fp32 | bf16 | fp16; see `TrainOptions`.
        log_with: Names of Accelerate's trackers.
        logging_dir: Where those write that write files.
        key: What the precision is called in the configuration, for messages.

    Raises:
        UserError: if the device cannot compute in this precision, or the launcher is set to divide models.
    """
    for name in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise UserError(
                f"accelerate is set to use {name}, which divides a model among processes, but each needs the whole "
                "supernet: launch with --config_file launch/accelerate/gpus.yaml, or set accelerate up anew"
            )
    precision = resolve_precision(mixed_precision, key=key)
    try:
        accelerator = Accelerator(
            mixed_precision=PRECISIONS[precision],
            cpu=_on_cpu(),
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # else the launcher's number counts
            log_with=list(log_with) or None,
            project_config=None if logging_dir is None else ProjectConfiguration(logging_dir=str(logging_dir)),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
        )
    except ValueError as error:
        raise UserError(f"{key}={mixed_precision}: {first_line(error)}") from error
    if accelerator.device.type == "cpu":
        _share_cores(accelerator)
    for remark in _of_launcher(mixed_precision, precision, key) if accelerator.is_main_process else ():
        print_with_rank(accelerator, remark)
    try:
        yield accelerator
        accelerator.wait_for_everyone()
    finally:
        AcceleratorState._reset_state(reset_partial_state=not in_group())


@contextmanager
def lock_run_folder(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """Makes a run folder, keeps its state, and keeps other commands from writing in it; the main process does."""
    if not accelerator.is_main_process:
        yield
        return
    prepare_folder(folder)
    with run_lock(folder):
        yield


def resolve_precision(name: str, *, key: str = "train.mixed_precision") -> str:
    """One of `PRECISIONS`: the one given; for auto the launcher's, or else what the device computes in well.

    Args:
        name: auto | fp32 | bf16 | fp16.
        key: What it is called in the configuration, for messages.

    Raises:
        UserError: if the device cannot compute in it, or the launcher has one that is not known.
    """
    if name == AUTO:
        name = {theirs: ours for ours, theirs in PRECISIONS.items()}.get(_launchers_precision(), "")
        if not name:
            raise UserError(
                f"accelerate is set to mixed precision {_launchers_precision()}, which is not known here; use "
                f"{key}=bf16, fp16 or fp32"
            )
        # Where bf16 is emulated it may be hundreds of times slower than fp32, so there it has to be asked for.
        if name == "fp32" and not _on_cpu() and torch.cuda.is_available():
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else name
    if name == "fp16" and _on_cpu():
        raise UserError(f"mixed precision fp16 needs a GPU; use {key}=bf16 or fp32 on a CPU")
    return name


def _on_cpu() -> bool:
    # Several processes on CPUs work only if Accelerate is told so; it would otherwise leave each on its own.
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def _launchers_precision() -> str:
    return os.environ.get("ACCELERATE_MIXED_PRECISION", "no")


_IGNORED = {
    "DYNAMO_BACKEND": ("no", "compile models (dynamo_backend)", "train.compile=true compiles the layers"),
    "GRADIENT_ACCUMULATION_STEPS": ("1", "accumulate gradients", "train.batch_size rows make a step, in parts of "
                                    "train.micro_batch_size rows"),
}  # fmt: skip
"""Of the launcher's settings: what says nothing, what the others say, and what to use instead."""


def _of_launcher(given: str, precision: str, key: str) -> list[str]:
    """What is to be said of the launcher's settings: what is taken from them, and what is not."""
    said = []
    if given == AUTO and _launchers_precision() != "no":
        said.append(f"precision {precision} is accelerate launch's; {key}=fp32 has another")
    for name, (nothing, what, instead) in _IGNORED.items():
        value = os.environ.get(f"ACCELERATE_{name}", nothing)
        if value.lower() != nothing:
            said.append(f"accelerate is set to {what}: {value}, which is not used here; {instead}")
    return said


@contextmanager
def main_first(accelerator: Accelerator) -> Iterator[None]:
    """Runs the block in the main process, then in the others, also if it has raised an error.

    Accelerate's own keeps the others waiting after an error that the main process lives on with.
    """
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


def print_with_rank(accelerator: Accelerator, text: str) -> None:
    """Prints a line that may be this process's alone; the main process's has no prefix."""
    prefix = "" if accelerator.is_main_process else f"process {accelerator.process_index}: "
    print(prefix + text, file=sys.stderr, flush=True)


def broadcast_from_main(accelerator: Accelerator, value: T | None) -> T | None:
    """The main process's `value`, in every process.

    Raises:
        UserError: if another process has ended.
    """
    if accelerator.num_processes == 1:
        return value
    with _nobody_missing():
        return cast("T | None", broadcast_object_list([value])[0])


def all_gather(items: list[T]) -> list[T]:
    """The items of all processes, those of the first one first, in every process.

    Raises:
        UserError: if another process has ended.
    """
    with _nobody_missing():
        return cast("list[T]", gather_object(items))


def check_same_everywhere(digests: Mapping[str, str]) -> None:
    """Holds what the processes work with against each other: on several machines files may differ.

    Args:
        digests: Of this process.

    Raises:
        UserError: in every process, if another one has others; names what.
    """
    first, *others = all_gather([dict(digests)])
    for number, other in enumerate(others, start=1):
        if different := differences(other, first):
            raise UserError(
                f"process {number} works with other files than process 0 ({different}); give every machine the same"
            )


@contextmanager
def _nobody_missing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not in_group():
            raise
        raise UserError(
            f"another process of this run has ended ({first_line(error)}); what was written is kept: start all of them "
            "again"
        ) from error


def sum_over_processes(accelerator: Accelerator, parameters: Sequence[nn.Parameter], numbers: Tensor) -> None:
    """Adds up gradients and some numbers over all processes, in place and in a single all-reduce.

    A parameter that no sub-network of this step has gets a gradient of zeros, like the absent rows of one that is
    sliced: Adam's averages then decay alike, and one process does what several do.

    Args:
        parameters: Those that are trained; the same in all processes.
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
    """Gives each process its share of the cores, where the launcher has left it with a single thread.

    `accelerate launch` sets OMP_NUM_THREADS=1 unless it is told `--cpu`, which on a machine without a GPU would leave
    the other cores idle.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(max(1, usable_cores() // local_processes))


def usable_cores() -> int:
    """Cores that this process may run on, which on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
