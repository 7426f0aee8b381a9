"""Latencies of sub-networks, measured in turns with the full model. The front is measured again at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from transformers import PreTrainedModel

from search.objectives import LATENCY
from supernet.evaluation.latency import Clock, measure_latency
from supernet.evaluation.latency_share import clocks_of, measure_shares
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.space.cost import Workload
from supernet.space.subnetwork import SubNetwork

Latency = Mapping[str, float]
"""The metrics `LATENCY` of a sub-network."""

SubnetModels = Callable[[SubNetwork], PreTrainedModel]
"""Makes the model of a sub-network."""


class Latencies:
    """Measures sub-networks in turns with the full model, so that a busy machine does not change their order.

    A latency is a sub-network's share of the full model's time in the same turns, times the full model's latency at the
    beginning of the run. So all milliseconds of a run refer to the same moment, even if it is resumed on another day.

    Args:
        supernet: The full model, on the device to measure on.
        workload: Batch and length.
        mixed_precision: no | bf16 | fp16, as in `supernet.evaluation.latency.measure_latency`.
        full: The full model's latency when the run began; None measures it now.
        clocks: As in `supernet.evaluation.latency_share.measure_shares`.

    Attributes:
        subnet: The full model.
        full: The full model's latency when the run began.

    Raises:
        UserError: if the workload is longer than the model allows.
    """

    def __init__(
        self,
        supernet: PreTrainedModel,
        workload: Workload,
        *,
        mixed_precision: str = "no",
        full: Latency | None = None,
        clocks: Sequence[Clock] | None = None,
    ) -> None:
        self.subnet = architecture_of(supernet.config).full
        self._model = extract(supernet, self.subnet, share=True)
        self._workload, self._mixed_precision = workload, mixed_precision
        self._clocks = clocks_of(self._model.device) if clocks is None else clocks
        self.full = self._measure_full() if full is None else full

    def __call__(self, subnet: SubNetwork, model: PreTrainedModel) -> Latency:
        """The latency of a sub-network's model, extracted or made in another way."""
        return self.full if subnet == self.subnet else self.again([subnet], lambda _: model)[subnet]

    def again(self, subnets: Iterable[SubNetwork], model_of: SubnetModels) -> dict[SubNetwork, Latency]:
        """The latencies of several sub-networks and of the full model, all measured in the same turns.

        Args:
            subnets: The sub-networks to measure.
            model_of: Makes their models.
        """
        others = [subnet for subnet in subnets if subnet != self.subnet]
        whole_ms = self.full["latency_ms"]
        if not others:
            return {self.subnet: self.full}
        shares, timing = measure_shares(
            [partial(model_of, subnet) for subnet in others],
            self._model,
            self._workload,
            mixed_precision=self._mixed_precision,
            clocks=self._clocks,
        )
        full = {
            self.subnet: _stated(1.0, timing.low_ms / timing.median_ms, timing.high_ms / timing.median_ms, whole_ms)
        }
        return full | {s: _stated(x.median, x.low, x.high, whole_ms) for s, x in zip(others, shares, strict=True)}

    def drift(self) -> float:
        """The full model's latency now, as a share of its latency at the beginning of the run."""
        return self._measure_full()["latency_ms"] / self.full["latency_ms"]

    def _measure_full(self) -> Latency:
        timing = measure_latency(
            self._model, self._workload, mixed_precision=self._mixed_precision, clock=self._clocks[0]
        )
        return dict(zip(LATENCY, (timing.median_ms, timing.low_ms, timing.high_ms, 1.0), strict=True))


def _stated(share: float, low: float, high: float, whole_ms: float) -> Latency:
    """A share and its quartiles as the metrics `LATENCY`."""
    return dict(zip(LATENCY, (share * whole_ms, low * whole_ms, high * whole_ms, share), strict=True))
