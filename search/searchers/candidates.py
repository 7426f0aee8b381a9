"""Candidates for a proposal: vectors of a space, drawn so that good sub-networks of every size are among them.

Shape letters: c candidates, d entries of a vector, f front members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product
from typing import TypeAlias

import numpy as np

from search.searchers.history import History
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

ENUMERABLE = 4096
"""If a space has at most this many vectors, all are candidates."""

POOL = 300
"""Number of candidates of each kind for a proposal in larger spaces."""

ROUNDS = 3
"""Rounds of candidates. From the second round on they are mutations of the best so far."""

BEST = 20
"""Candidates that are mutated in a round."""


def all_vectors(space: SearchSpace) -> np.ndarray:
    """(size, d) every vector of a space, in lexicographic order."""
    return np.array(list(product(*(range(low, high + 1) for low, high in space.bounds.values()))))


def spread_vectors(space: SearchSpace, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, d) vectors spread over all sizes of sub-network.

    Uniform draws of many entries all have about the mean size. Here each vector first draws its own mean and
    concentration, then its entries from the beta distribution with these.
    """
    mean_c1 = rng.uniform(0.01, 0.99, size=(count, 1))
    concentration_c1 = 2.0 ** rng.uniform(0, 5, size=(count, 1))
    shape = (count, len(space.bounds))
    share_cd = rng.beta(concentration_c1 * mean_c1, concentration_c1 * (1 - mean_c1), size=shape)
    levels_d = space.upper - space.lower + 1
    return space.lower + np.minimum((share_cd * levels_d).astype(int), levels_d - 1)


def mutated_vectors(space: SearchSpace, parents_cd: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, d) vectors near a parent: every second one moves a part of one layer's budget to another.

    The others differ from the parent in one entry, sometimes in more, by steps of any size.
    """
    parent_cd = parents_cd[rng.integers(len(parents_cd), size=count)]
    changed_cd = _changed(space, parent_cd, rng)
    moved_c = np.arange(count) % 2 == 1
    changed_cd[moved_c] = _moved(space, parent_cd[moved_c], rng)
    return changed_cd


def _changed(space: SearchSpace, parent_cd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, d = parent_cd.shape
    changed_cd = rng.random((count, d)) < 1 / d
    changed_cd[np.arange(count), rng.integers(d, size=count)] = True
    scale_c1 = 10.0 ** rng.uniform(-2, -0.3, size=(count, 1))
    step_cd = np.rint(rng.normal(size=(count, d)) * scale_c1 * (space.upper - space.lower)).astype(int)
    step_cd = np.where(step_cd == 0, rng.choice([-1, 1], size=(count, d)), step_cd)
    return np.clip(parent_cd + changed_cd * step_cd, space.lower, space.upper)


def _moved(space: SearchSpace, parent_cd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors that have less of one entry and as much more of another of the same kind, where that is possible."""
    kinds_d = np.unique([name.partition("_")[0] for name in space.bounds], return_inverse=True)[1]
    same_cd = kinds_d == rng.choice(kinds_d, size=(len(parent_cd), 1))
    less_cd, more_cd = same_cd * (parent_cd - space.lower), same_cd * (space.upper - parent_cd)
    giver_c, taker_c = ((rng.random(room_cd.shape) * (room_cd > 0)).argmax(axis=1) for room_cd in (less_cd, more_cd))
    rows = np.arange(len(parent_cd))
    most_c = np.minimum(less_cd[rows, giver_c], more_cd[rows, taker_c])
    amount_c = np.ceil(most_c * rng.random(len(parent_cd)) ** 2).astype(int)  # small amounts more often
    moved_cd = parent_cd.copy()
    np.subtract.at(moved_cd, (rows, giver_c), amount_c)
    np.add.at(moved_cd, (rows, taker_c), amount_c)
    return moved_cd


Improvement = Callable[[np.ndarray, Sequence[SubNetwork]], np.ndarray]
"""(c, d) vectors and their c sub-networks -> (c,) the value of each."""


def best_unseen(
    history: History, improvement: Improvement, *, parents_fd: np.ndarray, rng: np.random.Generator
) -> SubNetwork | None:
    """The most valuable unseen sub-network found; None if none is left.

    In a small space, all vectors are candidates. In a larger space: uniform draws, draws spread over all sizes,
    mutations of the front, then, for some rounds, mutations of the best so far. If all were seen: a uniform draw.

    Args:
        history: The space, and the sub-networks that must not be proposed again.
        improvement: Gives the values of candidates.
        parents_fd: (f, d) vectors of the front.
        rng: For the draws.
    """
    space = history.space
    if space.size <= ENUMERABLE:
        ranked = _ranked(history, improvement, *_everything(space))
        return ranked[0][0] if ranked else None
    pool_cd = pool_of(space, parents_fd, rng)
    best: list[Ranked] = []
    for _ in range(ROUNDS):
        best = sorted(best + ranked_unseen(history, improvement, pool_cd), key=lambda item: -item[2])[:BEST]
        if not best:
            return history.unseen_sample(rng)
        pool_cd = mutated_vectors(space, np.array([vector for _, vector, _ in best]), POOL // 2, rng)
    return best[0][0]


def pool_of(space: SearchSpace, parents_fd: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(c, d) first candidates: uniform draws, draws spread over all sizes, mutations of the parents."""
    regular = space.regular
    uniform_cd = rng.integers(regular.lower, regular.upper, size=(POOL, len(regular.bounds)), endpoint=True)
    drawn_cd = np.concatenate([uniform_cd, spread_vectors(regular, POOL, rng)])
    if regular is not space:
        drawn_cd = np.array([space.encode(regular.decode(vector)) for vector in drawn_cd.tolist()])
    return np.concatenate([drawn_cd, mutated_vectors(space, parents_fd, POOL, rng)])


Ranked: TypeAlias = "tuple[SubNetwork, np.ndarray, float]"


def ranked_unseen(history: History, improvement: Improvement, vectors_cd: np.ndarray) -> list[Ranked]:
    """The distinct unseen sub-networks among some vectors, with a vector and the value of each, best first."""
    unique_cd = np.unique(vectors_cd, axis=0)
    return _ranked(history, improvement, unique_cd, [history.space.decode(vector) for vector in unique_cd.tolist()])


def _ranked(
    history: History, improvement: Improvement, vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]
) -> list[Ranked]:
    places = {subnet: c for c, subnet in enumerate(subnets)}  # the last vector of each sub-network
    kept = [c for subnet, c in places.items() if subnet not in history.seen]
    if not kept:
        return []
    value_c = improvement(vectors_cd[kept], [subnets[c] for c in kept])
    order = np.argsort(-value_c, kind="stable").tolist()
    return [(subnets[kept[i]], vectors_cd[kept[i]], float(value_c[i])) for i in order]


@lru_cache(maxsize=1)
def _everything(space: SearchSpace) -> tuple[np.ndarray, list[SubNetwork]]:
    """All vectors of a small space and their sub-networks."""
    vectors_cd = all_vectors(space)
    return vectors_cd, [space.decode(vector) for vector in vectors_cd.tolist()]
