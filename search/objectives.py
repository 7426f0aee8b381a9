"""What a search minimises: the error of a sub-network, measured, and its size, by formula."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from supernet.checkpoint import Supernet
from supernet.cost import encoder_params, params_share, total_params
from supernet.evaluate import Evaluator
from supernet.families import architecture_of
from supernet.slicing import extract
from supernet.subnetwork import SubNetwork

OBJECTIVES = ("error", "params_share")
"""What the searchers see of `Measurements`: error first, then the cost."""


@dataclass(frozen=True)
class Measurements:
    """What is known of a sub-network once it is evaluated.

    Attributes:
        error: 1 - metric on the validation split.
        params: Parameters of the encoder.
        params_share: The same as a share of the full encoder's.
        total_params: Parameters of the whole model, embeddings and classifier too.
    """

    error: float
    params: int
    params_share: float
    total_params: int

    def objectives(self) -> dict[str, float]:
        """The values of `OBJECTIVES` by name."""
        return {name: getattr(self, name) for name in OBJECTIVES}

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Objectives:
    """Evaluates sub-networks with the supernet's weights, without training; remembers what it evaluated.

    Args:
        supernet: The frozen supernet.
        evaluator: Over the validation split.
    """

    def __init__(self, supernet: Supernet, evaluator: Evaluator) -> None:
        self._model, self._evaluator = supernet.model, evaluator
        self._architecture = architecture_of(supernet.model.config)
        self._known: dict[SubNetwork, Measurements] = {}

    def __call__(self, subnet: SubNetwork) -> Measurements:
        """Extracts the sub-network and runs it over the split; one seen before costs nothing."""
        if subnet not in self._known:
            error = self._evaluator.error(extract(self._model, subnet, share=True))
            a = self._architecture
            self._known[subnet] = Measurements(
                error, encoder_params(a, subnet), params_share(a, subnet), total_params(a, subnet)
            )
        return self._known[subnet]

    def cost(self, subnet: SubNetwork) -> float:
        """The second objective, by formula: no evaluation needed."""
        return params_share(self._architecture, subnet)
