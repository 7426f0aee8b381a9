"""The search space of a model that is trained alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import LayerSlice, SubNetwork


@final
@dataclass(frozen=True)
class SingleSpace(SearchSpace):
    """A space with a single sub-network: an extracted model.

    Attributes:
        all: The whole extracted model, as a sub-network of itself.
    """

    all: SubNetwork = field(kw_only=True)

    name = "single"
    counts: ClassVar[Mapping[str, int]] = {}

    @classmethod
    def of(cls, model: PreTrainedModel, subnet: SubNetwork) -> SingleSpace:
        """The space of `model`, which was extracted as `subnet`."""
        family = family_of(model.config)
        layers, (heads, units) = len(family.layers_of(model)), family.heads_and_units(model.config)
        first = layers - len(subnet.layers)  # a family may need an empty layer in front
        slices = (
            LayerSlice(i, range(heads if s.heads else 0), range(units if s.units else 0))
            for i, s in enumerate(subnet.layers, start=first)
        )
        return cls(layers, heads, units, all=SubNetwork(tuple(slices)))

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        return self.all

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        return ()

    @property
    def middle(self) -> SubNetwork:
        return self.all
