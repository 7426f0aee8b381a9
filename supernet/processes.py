"""The processes of one training: Accelerate's settings, the cores of each, and what they tell one another.

One line of talk comes from the main process; another process speaks only of what is its own, with its number.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    InitProcessGroupKwargs,
    ProjectConfiguration,
    broadcast_object_list,
    gather_object,
    parse_flag_from_env,
)
from torch import Tensor, nn

from supernet.errors import UserError, first_line
from supernet.group import in_group
from supernet.options import PRECISIONS
from supernet.runs import prepare_folder
from supernet.state import at_work

T = TypeVar("T")

PATIENCE = timedelta(hours=3)
"""How long processes wait for each other: one of them may tokenise a large task alone. The launcher sees a dead one."""


@contextmanager
def processes(
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
    for name in ("DEEPSPEED", "FSDP"):
        if parse_flag_from_env(f"ACCELERATE_USE_{name}"):
            raise UserError(
                f"accelerate is set to use {name}, which divides a model among processes, but each needs the whole "
                "supernet: launch with --config_file launch/accelerate/gpus.yaml, or set accelerate up anew"
            )
    # Several processes on CPUs work only if Accelerate is told so; it would otherwise leave each on its own.
    cpu = bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()
    precision = _precision(mixed_precision, key, cpu=cpu)
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=cpu,
            log_with=list(log_with) or None,
            project_config=None if logging_dir is None else ProjectConfiguration(logging_dir=str(logging_dir)),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:
        raise UserError(f"{key}={mixed_precision}: {first_line(error)}") from error
    if accelerator.device.type == "cpu":
        _share_cores(accelerator)
    try:
        yield accelerator
        accelerator.wait_for_everyone()
    finally:
        AcceleratorState._reset_state(reset_partial_state=not in_group())


@contextmanager
def sole_writer(accelerator: Accelerator, folder: Path) -> Iterator[None]:
    """Makes a run folder, keeps its state, and keeps other commands from writing in it; the main process does."""
    if not accelerator.is_main_process:
        yield
        return
    prepare_folder(folder)
    with at_work(folder):
        yield


def _precision(name: str, key: str, *, cpu: bool) -> str | None:
    """Accelerate's name of the precision; None leaves it to the launcher."""
    precision = PRECISIONS.get(name)
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if cpu and (precision or launcher) == "fp16":
        raise UserError(f"mixed precision fp16 needs a GPU; use {key}=bf16 or fp32 on a CPU")
    if precision is None and launcher == "no":
        # Where bf16 is emulated it may be hundreds of times slower than fp32, so there it has to be asked for.
        native = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "no"
    return precision


def say(accelerator: Accelerator, text: str) -> None:
    """Prints a line that may be this process's alone; the main process's has no prefix."""
    prefix = "" if accelerator.is_main_process else f"process {accelerator.process_index}: "
    print(prefix + text, file=sys.stderr, flush=True)


def from_main(accelerator: Accelerator, value: T | None) -> T | None:
    """The main process's `value`, in every process.

    Raises:
        UserError: if another process has ended.
    """
    if accelerator.num_processes == 1:
        return value
    with _nobody_missing():
        return cast("T | None", broadcast_object_list([value])[0])


def gathered(items: list[T]) -> list[T]:
    """The items of all processes, those of the first one first, in every process.

    Raises:
        UserError: if another process has ended.
    """
    with _nobody_missing():
        return cast("list[T]", gather_object(items))


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
