"""Boxes that cover the region that no sub-network dominates, for exact expected hypervolume improvements.

All objectives are minimised.

Shape letters: f points, u upper bounds, s cells, m objectives.
"""

from __future__ import annotations

import numpy as np

from search.pareto import pareto_front


def cells_of(objectives_fm: np.ndarray, reference_m: np.ndarray) -> np.ndarray:
    """(2, s, m) lower and upper corners of disjoint boxes that cover the non-dominated region up to a reference.

    For two objectives, the strips between neighbours on the front. For more, the local upper bounds of the front are
    the points of a second, negated problem, and the region that these dominate is cut into boxes.

    Args:
        objectives_fm: (f, m) points; dominated points are allowed.
        reference_m: (m,) the worst values that count.

    Source:
        Lacour et al., "A box decomposition algorithm to compute the hypervolume indicator", 2017; for the second step:
        Yang et al., "Efficient computation of expected hypervolume improvement using box decomposition algorithms",
        Journal of Global Optimization 2019.
    """
    inside_fm = objectives_fm[(objectives_fm < reference_m).all(axis=1)]
    front_fm = inside_fm[pareto_front(inside_fm)]
    if len(reference_m) == 2:
        return _strips(front_fm, reference_m)
    bounds_um, _ = local_upper_bounds(front_fm, np.full_like(reference_m, -np.inf), reference_m)
    infinite_m = np.full_like(reference_m, np.inf)
    return -_boxes(*local_upper_bounds(-bounds_um, -reference_m, infinite_m))[::-1]


def _strips(front_s2: np.ndarray, reference_2: np.ndarray) -> np.ndarray:
    front_s2 = front_s2[np.argsort(front_s2[:, 1])]
    cost = np.concatenate([[-np.inf], front_s2[:, 1], reference_2[1:]])
    best_s = np.append(reference_2[0], front_s2[:, 0])
    lower_s2 = np.stack([np.full(len(best_s), -np.inf), cost[:-1]], axis=1)
    return np.stack([lower_s2, np.stack([best_s, cost[1:]], axis=1)])


def local_upper_bounds(
    points_fm: np.ndarray, ideal_m: np.ndarray, reference_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the largest boxes, from below to the reference, that no point dominates; each point splits some.

    Args:
        points_fm: (f, m) points, in the order in which they are added.
        ideal_m: (m,) better than every point.
        reference_m: (m,) the first upper bound.

    Returns:
        (u, m) local upper bounds, and the (u, m, m) points that define them: row j touches bound u in objective j.

    Source:
        Lacour et al., 2017, algorithm 1.
    """
    m = len(reference_m)
    bounds_um = reference_m[None]
    defining_umm = np.where(np.eye(m, dtype=bool), reference_m, ideal_m)[None]
    for point_m in points_fm:
        above_u = (bounds_um > point_m).all(axis=1)
        bounds, defining = [bounds_um[~above_u]], [defining_umm[~above_u]]
        for j in range(m):
            others = np.delete(np.arange(m), j)
            split_u = above_u & (defining_umm[:, others, j].max(axis=1) <= point_m[j])
            bounds.append(bounds_um[split_u])
            defining.append(defining_umm[split_u])
            bounds[-1][:, j], defining[-1][:, j] = point_m[j], point_m
        bounds_um, defining_umm = np.concatenate(bounds), np.concatenate(defining)
    return bounds_um, defining_umm


def _boxes(bounds_um: np.ndarray, defining_umm: np.ndarray) -> np.ndarray:
    """(2, s, m) corners of disjoint boxes that cover the region dominated by the points below local upper bounds.

    Source:
        Lacour et al., 2017, equation 2.
    """
    lower_um, upper_um = np.empty_like(bounds_um), bounds_um.copy()
    lower_um[:, 0], upper_um[:, 0] = defining_umm[:, 0, 0], np.inf
    for j in range(1, bounds_um.shape[1]):
        lower_um[:, j] = defining_umm[:, :j, j].max(axis=1)
    return np.stack([lower_um, upper_um])[:, (lower_um < upper_um).all(axis=1)]
