"""Proposals that use no results: uniform draws, draws spread evenly over sizes, a grid.

Shape letters: c grid points, d entries of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import qmc

from search.searchers.history import History
from supernet.space.base import SearchSpace
from supernet.space.sampling import stratified_by
from supernet.space.subnetwork import SubNetwork

GOLDEN = (math.sqrt(5) - 1) / 2

STRATUM_DRAWS = 20
"""Draws for the wanted range of sizes. After these any size is accepted, as a range may hold few sub-networks."""

GRID_POINTS = 8192
"""Largest number of grid points."""


def random(history: History, rng: np.random.Generator) -> SubNetwork | None:
    """A uniform draw of a vector (MO-RS in the paper)."""
    return history.unseen_sample(rng)


def stratified_random(
    history: History, rng: np.random.Generator, *, seed: int, size: Callable[[SubNetwork], float]
) -> SubNetwork | None:
    """A draw of about a given size. The sizes of any number of consecutive trials are spread evenly.

    Sizes are not independent draws. They follow the additive sequence of the golden ratio from a random start, whose
    gaps never differ by more than a factor of three.

    Args:
        history: What was seen.
        rng: Of this trial.
        seed: Of the search; gives the start of the sequence.
        size: Parameters of any sub-network, in any unit.

    Source:
        Steinhaus' three-gap theorem (V. T. Sos, "On the distribution mod 1 of the sequence n alpha", 1958).
    """
    start = np.random.default_rng(seed).random()
    turn = (start + history.trials * GOLDEN) % 1
    largest = size(history.space.largest)

    def draws() -> Iterator[SubNetwork]:
        for attempt in range(5 * STRATUM_DRAWS):
            position = turn if attempt < STRATUM_DRAWS else rng.random()
            yield stratified_by(history.space, lambda s: size(s) / largest, rng, position=position)

    drawn = history.first_unseen(draws())
    return history.unseen_sample(rng) if drawn is None else drawn


def relative_size(space: SearchSpace, subnet: SubNetwork) -> float:
    """Parameters of a sub-network by BERT's proportions, if there is no formula: (0, 1].

    A BERT layer of D features has 4 D^2 parameters in its heads and 8 D^2 in its units: a third and two thirds.
    """
    return sum(len(s.heads) / space.heads + 2 * len(s.units) / space.units for s in subnet.layers) / (3 * space.layers)


def grid(history: History, rng: np.random.Generator, *, seed: int) -> SubNetwork | None:
    """The next point of a factorial grid in a scrambled Sobol order, so that any prefix of it fills the space evenly.

    None at its end, even if the space has more sub-networks.

    Args:
        history: What was seen.
        rng: Not used, since the order is the same for all trials.
        seed: Of the order.
    """
    space = history.space
    levels = grid_levels(space)
    counts_d = np.array([len(level) for level in levels])
    exponent = math.ceil(math.log2(max(counts_d.prod(), 2))) + 2  # Sobol points do not meet each cell exactly once
    unit_cd = qmc.Sobol(len(levels), scramble=True, rng=np.random.default_rng(seed)).random_base2(exponent)
    sobol_cd = np.minimum((unit_cd * counts_d).astype(int), counts_d - 1)
    every_cd = np.stack(np.unravel_index(np.arange(counts_d.prod()), counts_d), axis=1)
    ordered_cd = np.concatenate([sobol_cd, every_cd])
    _, first = np.unique(np.ravel_multi_index(tuple(ordered_cd.T), counts_d), return_index=True)
    cells_cd = ordered_cd[np.sort(first)]
    vectors = ([int(values[i]) for values, i in zip(levels, cell, strict=True)] for cell in cells_cd)
    return history.first_unseen(map(space.decode, vectors))


def grid_levels(space: SearchSpace) -> list[np.ndarray]:
    """The values of each entry on the grid, ascending: all of them, or as many as `GRID_POINTS` allow, evenly spread.

    An entry with more than k values gets k of them, the first and the last included, for the largest possible k.

    Returns:
        The values of each entry; an empty list if even two values of each make more than `GRID_POINTS`.
    """
    ranges_d = space.upper - space.lower + 1
    k, points = 1, 1
    while k < ranges_d.max() and (points := math.prod(np.minimum(ranges_d, k + 1).tolist())) <= GRID_POINTS:
        k += 1
    if k == 1 and points > GRID_POINTS:
        return []
    pairs = zip(space.lower, space.upper, strict=True)
    return [np.unique(np.linspace(low, high, min(k, high - low + 1)).round().astype(int)) for low, high in pairs]
