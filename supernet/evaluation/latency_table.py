"""The latency table: what each block of a model takes on one device, to predict any sub-network by adding up.

The latency of a sub-network is that of what surrounds the layers, plus that of each attention and feed-forward block,
which depends on the block's width. The table has the latencies of some widths. They are measured on sub-networks with
a single kind of block in all layers (so that a block is timed many times, and among others), minus the latency of an
empty sub-network.
"""

from __future__ import annotations

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
from supernet.evaluation.processor import processor
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
    """The conditions that latencies hold for.

    Attributes:
        device: Name of the processor or GPU.
        threads: Threads of torch; 0 on an accelerator, where they do not matter.
        torch_version: Version of torch.
        dtype: Precision of matrix products, such as "float32".
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
        """The conditions of a supernet's sub-networks on a device, in this process."""
        config, kind = model.config, torch.device(device).type
        names = {"cpu": lambda: processor().name, "cuda": lambda: torch.cuda.get_device_name(device)}
        return cls(
            device=names.get(kind, lambda: f"{kind} of {processor().name}")(),
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
        """The differences in words: "threads 2 (here 1)"."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [f"{name.replace('_', ' ')} {ours} (here {theirs})" for name, ours, theirs in pairs if ours != theirs]


_Milliseconds = Annotated[float, Within(0, 1e9)]


@dataclass(frozen=True)
class Curve:
    """Milliseconds of a block by its width: 0 for width 0, and linear between the measured widths.

    Attributes:
        widths: Numbers of heads or units, ascending from 1.
        ms: Milliseconds of a block of each width.
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
        """Milliseconds of a block of this width; 0 for width 0, which is no block."""
        return float(np.interp(width, self.widths, self.ms)) if width else 0.0


@dataclass(frozen=True)
class LatencyTable:
    """Predicts the latency of any sub-network of a supernet, on one device, for one workload.

    Attributes:
        conditions: The conditions that it holds for.
        around_ms: Milliseconds of a sub-network without layers: embeddings, classifier, and what the layers share.
        kinds: For each layer of the full model, the index of its curves, from 0.
        attention, feed_forward: The curves of each kind of layer.
    """

    conditions: Conditions
    around_ms: _Milliseconds
    kinds: tuple[Count, ...]
    attention: tuple[Curve, ...]
    feed_forward: tuple[Curve, ...]

    def check_fits(self, sizes: Sizes) -> None:
        """Checks that there is a curve for each block of a model, up to its full width.

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
                raise WrongValue(f"{name} has {len(curves)} curves, but kinds has the index {max(self.kinds)}")
            if wrong := next((curve for curve in curves if curve.widths[-1] != most), None):
                raise WrongValue.at(f"{name}.widths", wrong.widths, f"up to the model's {most}")

    def predict(self, subnet: SubNetwork) -> float:
        """Milliseconds that the sub-network takes for the table's workload."""
        layers = ((self.kinds[s.index], len(s.heads), len(s.units)) for s in subnet.layers)
        return self.around_ms + sum(
            self.attention[k](heads) + self.feed_forward[k](units) for k, heads, units in layers
        )

    def save(self, path: Path) -> None:
        """Writes the table as JSON, whole or not at all."""
        with writing(path, "output=FILE"):
            write_json(path, {"format": _FORMAT} | asdict(self))


def prediction_errors(table: LatencyTable, subnets: Sequence[SubNetwork], timings: Sequence[Timing]) -> np.ndarray:
    """(n,) predicted minus measured latency of each sub-network, as a share of the measured latency."""
    predicted_n = np.array([table.predict(subnet) for subnet in subnets])
    measured_n = np.array([timing.median_ms for timing in timings])
    return (predicted_n - measured_n) / measured_n


def load_table(path: Path, conditions: Conditions, *, sizes: Sizes) -> LatencyTable:
    """Reads a table that `LatencyTable.save` wrote.

    Args:
        path: The file.
        conditions: The conditions of the wanted latencies (`Conditions.of`).
        sizes: Sizes of the full model.

    Raises:
        UserError: if there is no such file, or it is damaged, or holds for other conditions; it names them.
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
