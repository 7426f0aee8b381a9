"""The latency table: what each block of a model takes on one device, to predict any sub-network by adding up.

A sub-network takes so much for what surrounds the layers, and so much for the attention and for the feed-forward block
of each layer, by their widths. The table has these for some widths, measured on sub-networks with only one kind of
block in all layers (so that a block is timed many times over, and amid others), less what an empty one takes.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from transformers import PreTrainedModel

from supernet.evaluation.evaluator import AUTOCAST
from supernet.evaluation.latency import Timing
from supernet.models.families import architecture_of
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.files import digest, write_json
from supernet.runtime.reading import read_record, unusable
from supernet.runtime.shapes import Count, Within, WrongValue
from supernet.runtime.storage import writing
from supernet.space.cost import Workload
from supernet.space.subnetwork import MOST, Sizes, SubNetwork

_FORMAT = 1


@dataclass(frozen=True)
class Conditions:
    """What latencies hold for, and for nothing else.

    Attributes:
        device: Name of the processor or GPU.
        threads: Of torch; 0 on an accelerator, where they do not matter.
        torch_version: Of torch.
        dtype: What matrix products are computed in, "float32".
        workload: Batch and length.
        architecture: Digest of the full model's sizes and of the way its attention is computed.
    """

    device: str
    threads: int
    torch_version: str
    dtype: str
    workload: Workload
    architecture: str

    @classmethod
    def of(
        cls, model: PreTrainedModel, workload: Workload, *, device: torch.device | str, mixed_precision: str = "no"
    ) -> Conditions:
        """Those of the sub-networks of a supernet that run on a device, in this process."""
        config, kind = model.config, torch.device(device).type
        names = {"cpu": _processor, "cuda": lambda: torch.cuda.get_device_name(device)}
        return cls(
            device=names.get(kind, lambda: f"{kind} of {_processor()}")(),
            threads=torch.get_num_threads() if kind == "cpu" else 0,
            torch_version=torch.__version__,
            dtype=str(AUTOCAST[mixed_precision] or model.dtype).removeprefix("torch."),
            workload=workload,
            architecture=digest([config.model_type, config._attn_implementation, asdict(architecture_of(config))]),
        )

    def __str__(self) -> str:
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        return f"{self.device}{threads}, torch {self.torch_version}, {self.dtype}, batch x length {self.workload}"

    def differences(self, other: Conditions) -> list[str]:
        """What is not the same, for people: "threads 2 (here 1)"."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [f"{name.replace('_', ' ')} {ours} (here {theirs})" for name, ours, theirs in pairs if ours != theirs]


_Milliseconds = Annotated[float, Within(0, 1e9)]


@dataclass(frozen=True)
class Curve:
    """Milliseconds of one block by its width; nothing without any width, and linear between the widths measured.

    Attributes:
        widths: Numbers of heads or units, ascending from 1.
        ms: What a block of each width takes.
    """

    widths: tuple[Annotated[int, Within(1, MOST)], ...]
    ms: tuple[_Milliseconds, ...]

    def __post_init__(self) -> None:
        if not self.widths or len(self.ms) != len(self.widths):
            raise WrongValue(
                f"there are {len(self.widths)} widths and {len(self.ms)} ms; each width needs a value of ms"
            )
        if any(low >= high for low, high in pairwise(self.widths)):
            raise WrongValue.at("widths", self.widths, "ascending")

    def __call__(self, width: int) -> float:
        """What a block of this width takes; 0 heads or units are no block."""
        return float(np.interp(width, self.widths, self.ms)) if width else 0.0


@dataclass(frozen=True)
class LatencyTable:
    """What predicts the latency of any sub-network of one supernet, on one device, for one workload.

    Attributes:
        conditions: What it holds for.
        around_ms: What a sub-network without layers takes: embeddings, classifier, and whatever layers share.
        kinds: For each layer of the full model, which of the curves are its own.
        attention, feed_forward: The curves of each kind of layer.
    """

    conditions: Conditions
    around_ms: _Milliseconds
    kinds: tuple[Count, ...]
    attention: tuple[Curve, ...]
    feed_forward: tuple[Curve, ...]

    def check_fits(self, sizes: Sizes) -> None:
        """Sees that there is a curve for each block of a model, up to its full width.

        Raises:
            WrongValue: if not.
        """
        if len(self.kinds) != sizes.layers:
            raise WrongValue.at(
                "kinds", self.kinds, f"a list of {sizes.layers} numbers, one for each layer of the model"
            )
        both = (("attention", self.attention, sizes.heads), ("feed_forward", self.feed_forward, sizes.units))
        for name, curves, most in both:
            if max(self.kinds) >= len(curves):
                raise WrongValue(f"{name} has {len(curves)} curves, but kinds has number {max(self.kinds)}")
            if wrong := next((curve for curve in curves if curve.widths[-1] != most), None):
                raise WrongValue.at(f"{name}.widths", wrong.widths, f"up to the model's {most}")

    def predict(self, subnet: SubNetwork) -> float:
        """Milliseconds that the sub-network takes for the table's workload."""
        layers = ((self.kinds[s.index], len(s.heads), len(s.units)) for s in subnet.layers)
        return self.around_ms + sum(
            self.attention[k](heads) + self.feed_forward[k](units) for k, heads, units in layers
        )

    def save(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all."""
        with writing(path, "output=FILE"):
            write_json(path, {"format": _FORMAT} | asdict(self))


def prediction_errors(table: LatencyTable, subnets: Sequence[SubNetwork], timings: Sequence[Timing]) -> np.ndarray:
    """(n,) predicted less measured latency of each sub-network, as a share of the measured one."""
    predicted_n = np.array([table.predict(subnet) for subnet in subnets])
    measured_n = np.array([timing.median_ms for timing in timings])
    return (predicted_n - measured_n) / measured_n


def load_table(path: Path, conditions: Conditions, *, sizes: Sizes) -> LatencyTable:
    """Reads what `LatencyTable.save` wrote.

    Args:
        path: The file.
        conditions: What latencies are wanted for (`Conditions.of`).
        sizes: Of the full model.

    Raises:
        UserError: if there is no such file, or it is damaged, or holds for anything else; says for what.
    """
    name, again = f"latency table {path}", _how_to_build()
    if not path.exists():
        raise UserError(f"{name}: there is no such file; {again}")
    table = read_record(path, LatencyTable, again, form=_FORMAT, name=name)
    if differences := table.conditions.differences(conditions):
        threads = conditions.threads if table.conditions.threads != conditions.threads else None
        raise UserError(f"{name} is for {', '.join(differences)}; {_how_to_build(threads)}")
    with unusable(name, again):
        table.check_fits(sizes)
    return table


def _how_to_build(threads: int | None = None) -> str:
    setting = "" if threads is None else f"OMP_NUM_THREADS={threads} "
    return f"build a table with '{setting}{typed_command('profile')} supernet=FOLDER'"


def _processor() -> str:
    """Name of this machine's processor; `platform` does not know it everywhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
