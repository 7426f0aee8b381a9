"""Random sub-networks: uniform over a space's vectors, or stratified, that is even over the sizes of sub-networks.

Nearly all uniform draws from `medium`, `large` and `layer` have about half of the encoder's parameters. Small
sub-networks would then never be trained. This module imports no torch. Shape letter: d entries of a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from supernet.runtime.errors import unknown
from supernet.space.base import SearchSpace
from supernet.space.cost import Architecture, params_share
from supernet.space.subnetwork import SubNetwork

STEPS = 24
"""Most bisection steps of a stratified draw. 2^-24 of the interval is less than one unit."""

CLOSE = 1e-3
"""A stratified draw may miss its target by this share of the encoder's parameters."""


@dataclass(frozen=True)
class SamplingOptions:
    """How the random sub-networks of a training step are drawn.

    Attributes:
        name: Name of the sampler, a key of `SAMPLERS`.
        per_rank: Each process draws its own sub-networks. false: all processes train the same sub-networks.
    """

    name: str = "uniform"
    per_rank: bool = False

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise unknown("sampling", self.name, SAMPLERS)


def uniform(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> SubNetwork:
    """A random sub-network: its vector is drawn uniformly."""
    return space.sample(rng)


def stratified(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> SubNetwork:
    """A random sub-network: its share of the encoder's parameters is uniform, from the smallest to the largest."""
    return stratified_by(space, partial(params_share, architecture), rng, position=rng.random())


def stratified_by(
    space: SearchSpace, share: Callable[[SubNetwork], float], rng: np.random.Generator, *, position: float
) -> SubNetwork:
    """A random sub-network of a given size, within `CLOSE`.

    Draws one number in (0, 1) for each entry of a vector. The same shift is then added to all of them, on the
    logistic scale so that they stay in (0, 1), which makes all entries larger or smaller. The size grows with the
    shift, so bisection finds the shift that meets the target. With shift 0 this is a uniform draw.

    Args:
        space: The space of the sub-network.
        share: Size of a sub-network as a share of the full model's. It must grow with each entry of a vector.
        rng: Generator of the draw.
        position: The target size: 0 is that of the smallest sub-network, 1 that of the largest.
    """
    low, high = (share(end) for end in (space.smallest, space.largest))
    target = low + (high - low) * position
    logit_d = rng.logistic(size=len(space.bounds))
    levels_d = space.upper - space.lower + 1

    def shifted(shift: float) -> SubNetwork:
        share_d = 1 / (1 + np.exp(-(logit_d + shift)))
        return space.decode((space.lower + np.minimum((share_d * levels_d).astype(int), levels_d - 1)).tolist())

    below, above = -30.0, 30.0  # all entries are at their lower or upper bounds
    best, missed = space.largest, high - target
    for _ in range(STEPS):
        middle = (below + above) / 2
        subnet = shifted(middle)
        reached = share(subnet)
        if abs(reached - target) < missed:
            best, missed = subnet, abs(reached - target)
        if missed < CLOSE:
            break
        below, above = (middle, above) if reached < target else (below, middle)
    return best


SAMPLERS: dict[str, Callable[[SearchSpace, Architecture, np.random.Generator], SubNetwork]] = {
    "uniform": uniform,
    "stratified": stratified,
}
