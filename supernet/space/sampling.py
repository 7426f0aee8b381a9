"""How random sub-networks are drawn: uniformly over a space's vectors, or evenly over the sizes of sub-network.

Uniform draws from `medium`, and coin flips in `large` and `layer`, nearly all lie around half the encoder; small
sub-networks are then never trained. This module imports no torch. d entries of a vector.
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
"""The most halvings of the interval that a stratified draw is searched in: 2^-24 of it is less than one unit."""

CLOSE = 1e-3
"""Share of the encoder's parameters by which a stratified draw may miss its target."""


@dataclass(frozen=True)
class SamplingOptions:
    """How a step's random sub-networks are drawn.

    Attributes:
        name: A key of `SAMPLERS`: uniform | stratified.
        per_rank: Whether each process draws sub-networks of its own; otherwise all train the same ones.
    """

    name: str = "uniform"
    per_rank: bool = False

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise unknown("sampling", self.name, SAMPLERS)


def uniform(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> SubNetwork:
    """A sub-network whose vector is drawn uniformly."""
    return space.sample(rng)


def stratified(space: SearchSpace, architecture: Architecture, rng: np.random.Generator) -> SubNetwork:
    """A sub-network whose share of the encoder's parameters is about uniform between the smallest and the largest."""
    return stratified_by(space, partial(params_share, architecture), rng, position=rng.random())


def stratified_by(
    space: SearchSpace, share: Callable[[SubNetwork], float], rng: np.random.Generator, *, position: float
) -> SubNetwork:
    """A random sub-network of about a given size.

    Draws one number in (0, 1) for each entry of a vector. A common shift of all these (on the logistic scale, so that
    they stay in (0, 1)) makes every entry larger or smaller at once; the size grows with it, so bisection finds the
    shift that meets the target. At shift 0 this is a uniform draw.

    Args:
        space: Where the sub-network comes from.
        share: Size of a sub-network as a share of the full model's; grows with each entry of a vector.
        rng: For the draw.
        position: Of the target, from 0 for the smallest sub-network's size to 1 for the largest's.
    """
    low, high = (share(end) for end in (space.smallest, space.largest))
    target = low + (high - low) * position
    logit_d = rng.logistic(size=len(space.bounds))
    levels_d = space.upper - space.lower + 1

    def shifted(shift: float) -> SubNetwork:
        share_d = 1 / (1 + np.exp(-(logit_d + shift)))
        return space.decode((space.lower + np.minimum((share_d * levels_d).astype(int), levels_d - 1)).tolist())

    below, above = -30.0, 30.0  # where every entry is at its lower or upper bound
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
