"""Checks of a planned training: rows, sub-networks, budget, memory, disk, time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from search.doctor.budget import budget_findings
from search.doctor.container import free_for_tensors
from search.doctor.findings import OK, PROBLEM, WARNING, Check, Finding, NotKnownError
from search.doctor.models import HUB_TIMEOUT_S
from search.doctor.plan import Plan
from search.doctor.resources import disk_findings, fits_into_memory, memory_findings
from search.doctor.time import STEPS
from supernet.artifact import INFO_FILE
from supernet.console.progress import duration
from supernet.data.load import SPLITS
from supernet.evaluation.processor import processor
from supernet.runtime.hub import why_unreachable
from supernet.runtime.storage import size_text
from supernet.training.checkpoints import checkpoint_names
from supernet.training.tracking import check_trackers

MUCH_CUT = 0.2
"""Share of the rows that may be cut before it matters."""
NOTABLE = 1.2
"""Slowdown by other programs that is worth a word."""

_FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Flags of processors that multiply bf16; others emulate it."""


def _settings(plan: Plan) -> Iterator[Finding]:
    """Options that are allowed, but fail or cost time on this machine."""
    config = plan.config
    check_trackers(config.tracking)
    precision, on_cpu = config.train.mixed_precision, not torch.cuda.is_available()
    if precision == "bf16" and on_cpu and not any(flag in processor().flags for flag in _FAST_BF16):
        text = "train.mixed_precision=bf16 is emulated on this CPU, which may be many times slower than fp32"
        yield Finding(WARNING, text, "use train.mixed_precision=fp32")
    if config.train.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        yield Finding(PROBLEM, "train.compile=true needs a C++ compiler", "install g++, or leave it out")
    elif config.train.compile and on_cpu:
        yield Finding(WARNING, "train.compile=true is meant for GPUs: on a CPU it costs minutes", "leave it out")
    yield Finding(OK, f"precision {precision}, batches of {config.train.batch_size}, {config.train.epochs} epoch(s)")


def _folder(plan: Plan) -> Iterator[Finding]:
    """What is in the run folder already."""
    folder = plan.config.folder
    names = checkpoint_names(folder)
    if os.path.isfile(folder / "supernet" / INFO_FILE) and not plan.config.overwrite:
        advice = "overwrite=true trains it again"
        yield Finding(OK, f"{folder} holds this supernet already, so the training does nothing", advice)
    elif names and plan.config.resume != "never":
        yield Finding(OK, f"{folder} holds {names[-1]}, from which the training resumes")
    else:
        yield Finding(OK, f"{folder} is new")


def _rows(plan: Plan) -> Iterator[Finding]:
    """Whether the rows are there and fit the model."""
    _ = plan.pretrained  # not known without it
    try:
        data = plan.data
    except NotKnownError as error:
        if (why := why_unreachable(HUB_TIMEOUT_S)) is not None:
            text = f"the rows of task {plan.given.task.name} are not on this machine, and {why}"
            yield Finding(PROBLEM, text, "give data.dir=FOLDER, or fetch them where there is a network")
        else:
            yield Finding(OK, str(error))
        return
    counts = ", ".join(f"{len(getattr(data, name))} {name}" for name in SPLITS)
    lengths = data.train.sequence_lengths
    spread = f"{lengths.mean():.0f} tokens on average, {np.percentile(lengths, 95):.0f} at the 95th percentile"
    yield Finding(OK, f"{counts} rows; {spread}")
    cut, most = float(np.mean(lengths >= data.task.max_length)), data.task.max_length
    if cut > MUCH_CUT:
        text = f"{cut:.0%} of the training rows are cut at task.max_length={most} tokens"
        yield Finding(WARNING, text, f"raise it with task.max_length={2 * most}, if what is cut matters")
    for note in data.provenance.notes:
        yield Finding(OK, note)


def _sub_networks(plan: Plan) -> Iterator[Finding]:
    """What the sub-networks of the space cost, and whether the budget can be reached."""
    smallest, middle, largest = plan.sizes
    workload = plan.options.workload
    text = f"the smallest sub-network has {smallest.share:.1%} of the encoder, the middle one {middle.share:.1%}"
    yield Finding(OK, f"{text}; costs are those of a batch of {workload} tokens")
    if not plan.workload_fits:
        text = f"the full model needs {largest.costs['memory_mb']:.0f} MB for a batch of {workload} tokens"
        advice = "give a smaller workload.batch_size or workload.length"
        yield Finding(PROBLEM, f"{text}, and {size_text(free_for_tensors())} are free", advice)


def _time(plan: Plan) -> Iterator[Finding]:
    """How long a training takes."""
    if not fits_into_memory(plan):
        raise NotKnownError("not measured, since a step does not fit into memory")
    d = plan.duration
    parts = {"importance": d.importance_s, "validation": d.validation_s}
    more = "".join(f", {what} {duration(seconds)}" for what, seconds in parts.items() if seconds)
    text = f"about {duration(d.total_s)}: {d.steps} steps of {d.step_s:.2f} s{more}"
    quiet = f", and about {duration(d.total_s / d.slowdown)} without other programs" if d.slowdown > NOTABLE else ""
    yield Finding(OK, f"{text}; an estimate from {STEPS} steps in one process on this machine as it is now{quiet}")


CONFIG_CHECKS: Sequence[Check[Plan]] = (Check("settings", _settings), Check("run folder", _folder))
"""Checks of each run of a sweep."""

TRAINING_CHECKS: Sequence[Check[Plan]] = (
    Check("rows", _rows),
    Check("sub-networks", _sub_networks),
    Check("budget", budget_findings),
    Check("training memory", memory_findings),
    Check("training disk", disk_findings),
    Check("training time", _time),
)
"""Checks of a planned training. The time comes last, since it changes the model."""
