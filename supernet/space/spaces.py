"""The search spaces, and the options that choose one of them.

Source of small, medium, large and layer: Klein et al., "Structural Pruning of Pre-trained Language Models via Neural
Architecture Search", TMLR 2024. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from supernet.runtime.errors import UserError, unknown
from supernet.space.base import DEPTH_ORDERS, SearchSpace, layer_sets
from supernet.space.subnetwork import Kept, LayerSlice, SubNetwork, kept

LARGEST_MULTIPLE = 1024
"""Most units in a multiple; more would leave BERT's layers two or three multiples."""


@final
@dataclass(frozen=True)
class SmallSpace(SearchSpace):
    """One number of layers, of heads and of units: each kept layer has the first h heads and the first u units."""

    name = "small"
    counts: ClassVar[Mapping[str, int]] = {"layers": 0, "heads": 1, "units": 1}

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {count: self._range(count) for count in self.counts}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        layers, heads, multiples = vector
        kept_layers = self.kept_layers[layers] if self.kept_layers else range(layers)
        return SubNetwork.uniform(kept_layers, heads, self._units(multiples))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        if not subnet.layers:
            return (0, self._range("heads")[0], self._range("units")[0])
        first = subnet.layers[0]
        return (len(subnet.layers), len(first.heads), self._multiples(len(first.units)))

    @property
    def middle(self) -> SubNetwork:
        return self.decode([self._half(count) for count in self.counts])


@final
@dataclass(frozen=True)
class MediumSpace(SearchSpace):
    """A number of heads and a number of units for each layer. If both are 0, the layer is absent."""

    name = "medium"
    counts: ClassVar[Mapping[str, int]] = {"heads": 0, "units": 0}

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {f"{count}_{i}": self._range(count) for count in self.counts for i in range(self.layers)}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        pairs = zip(vector[: self.layers], vector[self.layers :], strict=True)
        return SubNetwork(tuple(LayerSlice(i, range(h), range(self._units(g))) for i, (h, g) in enumerate(pairs)))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        heads, multiples = [0] * self.layers, [0] * self.layers
        for s in subnet.layers:
            heads[s.index], multiples[s.index] = len(s.heads), self._multiples(len(s.units))
        return heads + multiples

    @property
    def middle(self) -> SubNetwork:
        return self.decode([self._half("heads")] * self.layers + [self._half("units")] * self.layers)


@final
@dataclass(frozen=True)
class LargeSpace(SearchSpace):
    """Each head and each multiple of units is kept or not: any subset."""

    name = "large"
    counts: ClassVar[Mapping[str, int]] = {}
    features_are_entries = False

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        heads = [f"head_{i}_{n}" for i in range(self.layers) for n in range(self.heads)]
        units = [f"unit_{i}_{g}" for i in range(self.layers) for g in range(self.multiples)]
        return dict.fromkeys(heads + units, (0, 1))

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        bits = np.asarray(vector, dtype=bool)
        heads, multiples = np.split(bits, [self.layers * self.heads])
        units = multiples.reshape(self.layers, self.multiples).repeat(self.multiple_of, axis=1)[:, : self.units]
        rows = zip(heads.reshape(self.layers, self.heads), units, strict=True)
        return SubNetwork(tuple(LayerSlice(i, _ones(h), _ones(u)) for i, (h, u) in enumerate(rows)))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        heads = np.zeros((self.layers, self.heads), dtype=int)
        multiples = np.zeros((self.layers, self.multiples), dtype=int)
        for s in subnet.layers:
            heads[s.index, list(s.heads)] = 1
            multiples[s.index, np.asarray(s.units, dtype=int) // self.multiple_of] = 1
        return np.concatenate([heads.ravel(), multiples.ravel()]).tolist()

    @property
    def regular(self) -> MediumSpace:
        """Those that keep the first heads and units of each layer. Random subsets are much worse than these."""
        return MediumSpace(self.layers, self.heads, self.units, multiple_of=self.multiple_of)

    def features(self, vectors_cd: np.ndarray) -> np.ndarray:
        """(c, 4 layers) the share of each layer's heads and units that is kept, and how far it is from the first ones.

        Single bits are too many to learn from few errors. What matters is how many a layer keeps. As the first are the
        most important, it also matters how many of the kept are not among the first.
        """
        heads_cLN, groups_cLG = (
            bits.reshape(len(vectors_cd), self.layers, -1)
            for bits in np.split(vectors_cd, [self.layers * self.heads], axis=1)
        )
        return np.concatenate([f(x) for f in (_share, _displaced) for x in (heads_cLN, groups_cLG)], axis=1)

    @property
    def middle(self) -> SubNetwork:
        """The first half of the heads and units of each layer."""
        units = self._units(self.multiples // 2)
        return SubNetwork.uniform(range(self.layers), self.heads // 2, units)


@final
@dataclass(frozen=True)
class LayerSpace(SearchSpace):
    """Each layer is kept completely or not at all."""

    name = "layer"
    counts: ClassVar[Mapping[str, int]] = {}

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {f"layer_{i}": (0, 1) for i in range(self.layers)}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        return SubNetwork.uniform([i for i, keep in enumerate(vector) if keep], self.heads, self.units)

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        indices = {s.index for s in subnet.layers}
        return [int(i in indices) for i in range(self.layers)]

    @property
    def middle(self) -> SubNetwork:
        """Every other layer."""
        return SubNetwork.uniform(range(0, self.layers, 2), self.heads, self.units)


@final
@dataclass(frozen=True)
class NativeSpace(SearchSpace):
    """Each layer is kept or not; one number of units for all layers. Plain transformers can load these models."""

    name = "native"
    counts: ClassVar[Mapping[str, int]] = {"units": 1}

    @cached_property
    def bounds(self) -> dict[str, tuple[int, int]]:
        return {f"layer_{i}": (0, 1) for i in range(self.layers)} | {"units": self._range("units")}

    def decode(self, vector: Sequence[int]) -> SubNetwork:
        *keep, multiples = vector
        return SubNetwork.uniform([i for i, is_kept in enumerate(keep) if is_kept], self.heads, self._units(multiples))

    def _encode(self, subnet: SubNetwork) -> Sequence[int]:
        indices = {s.index for s in subnet.layers}
        multiples = self._multiples(len(subnet.layers[0].units)) if subnet.layers else self._range("units")[0]
        return [*(int(i in indices) for i in range(self.layers)), multiples]

    @property
    def middle(self) -> SubNetwork:
        """Every other layer, half of the units."""
        return SubNetwork.uniform(range(0, self.layers, 2), self.heads, self._units(self._half("units")))


def _share(bits_cLN: np.ndarray) -> np.ndarray:
    """(c, L) the share of the bits that are 1."""
    return bits_cLN.mean(axis=2)


def _displaced(bits_cLN: np.ndarray) -> np.ndarray:
    """(c, L) of the bits that are 1, the share that is not among the first as many bits."""
    count_cL1 = bits_cLN.sum(axis=2, keepdims=True)
    beyond_cLN = bits_cLN * (np.arange(bits_cLN.shape[2]) >= count_cL1)
    return beyond_cLN.sum(axis=2) / np.maximum(count_cL1[:, :, 0], 1)


def _ones(bits: np.ndarray) -> Kept:
    return kept(bits.nonzero()[0].tolist())


SPACES: dict[str, type[SearchSpace]] = {
    space.name: space for space in (SmallSpace, MediumSpace, LargeSpace, LayerSpace, NativeSpace)
}
"""Those that a supernet can be trained in."""


@dataclass(frozen=True)
class SpaceOptions:
    """Which parts of a model a sub-network may leave out.

    Attributes:
        name: Name of the search space, a key of `SPACES`.
        depth: Which layers a sub-network of l layers keeps (space small). prefix: the first l. even: l layers spread
            evenly from the first to the last. importance: the l most important layers.
        multiple_of: Feed-forward units are kept in multiples of this number. Hardware likes multiples of 64.
        min_layers: Fewest layers of a sub-network (space small). null: the space's own limit.
        min_heads: Fewest heads of a layer (spaces small and medium). null: the space's own limit.
        min_units: Fewest units of a layer (spaces small, medium and native). null: the space's own limit.
    """

    name: str
    depth: str = "prefix"
    multiple_of: int = 1
    min_layers: int | None = None
    min_heads: int | None = None
    min_units: int | None = None

    def __post_init__(self) -> None:
        if self.name not in SPACES:
            raise unknown("space", self.name, SPACES)
        if self.depth not in DEPTH_ORDERS:
            raise unknown("space.depth", self.depth, DEPTH_ORDERS)
        if not 1 <= self.multiple_of <= LARGEST_MULTIPLE:
            raise UserError(f"space.multiple_of is {self.multiple_of}; it must be from 1 to {LARGEST_MULTIPLE}")
        counts = SPACES[self.name].counts
        for count in ("layers", "heads", "units"):
            least = getattr(self, f"min_{count}")
            if least is not None and count not in counts:
                has = " and ".join(f"min_{c}" for c in counts) or "no smallest numbers"
                raise UserError(f"space.min_{count} is {least}, but space {self.name} has {has}; leave it null")
            if least is not None and least < 0:
                raise UserError(f"space.min_{count} is {least}; it must be 0 or more")
        if self.min_layers and self.min_heads == 0 and self.min_units == 0:
            raise UserError(
                f"space.min_layers is {self.min_layers}, but with min_heads=0 and min_units=0 a layer may be empty; "
                "set one of them to 1 or more"
            )
        if self.depth != "prefix" and "layers" not in counts:
            with_layers = ", ".join(name for name, space in SPACES.items() if "layers" in space.counts)
            raise UserError(
                f"space.depth is {self.depth}, but space {self.name} chooses layers one by one; leave it at prefix, "
                f"or use space={with_layers}"
            )


def search_space(
    options: SpaceOptions, *, layers: int, heads: int, units: int, layer_importance: Sequence[float] | None = None
) -> SearchSpace:
    """Makes the space that the options describe, for a full model of these sizes.

    Args:
        options: Name and limits.
        layers, heads, units: Of the full model.
        layer_importance: A score for each layer; required for depth "importance".

    Raises:
        UserError: if the model is smaller than a limit.
    """
    return SPACES[options.name](
        layers,
        heads,
        units,
        kept_layers=layer_sets(options.depth, layers, layer_importance),
        multiple_of=options.multiple_of,
        min_layers=options.min_layers,
        min_heads=options.min_heads,
        min_units=options.min_units,
    )
