"""Pareto front and hypervolume of observed costs. This module imports no torch.

Shape letters: n sub-networks, m objectives, all minimised.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike


def pareto_front(costs_nm: ArrayLike) -> np.ndarray:
    """Which rows are not dominated by any other.

    A row dominates another if it is nowhere worse and somewhere better. Goes through the rows in lexicographic order,
    where only an earlier row can dominate a later one: O(n log n + n * length of the front).

    Args:
        costs_nm: (n, m). One row per sub-network, e.g. [error, params_share]; n may be 0.

    Returns:
        (n,) boolean mask. Of rows that are exactly equal only the first is kept.

    Raises:
        ValueError: if `costs_nm` is not a matrix or holds NaN.
    """
    costs_nm = _checked(costs_nm)
    front: list[int] = []
    for row in np.lexsort(costs_nm.T[::-1]):  # stable: the first of equal rows comes first
        if not (costs_nm[front] <= costs_nm[row]).all(axis=1).any():
            front.append(int(row))
    mask_n = np.zeros(len(costs_nm), dtype=bool)
    mask_n[front] = True
    return mask_n


def hypervolume(costs_nm: ArrayLike, reference_m: ArrayLike) -> float:
    """Volume dominated by a set of costs, all minimised; for two objectives, an area.

    Args:
        costs_nm: (n, m). One row per sub-network, e.g. [error, params_share]. Dominated rows add nothing; n may be 0.
        reference_m: (m,). The worst costs that count; rows not strictly better in all add nothing.

    Returns:
        Volume in the product of the units; 0.0 if no row is better than the reference.

    Raises:
        ValueError: if `costs_nm` is not (n, m), if `reference_m` is not (m,), or if either holds NaN.

    Source:
        Zitzler & Thiele, "Multiobjective optimization using evolutionary algorithms", PPSN V, 1998. Computed by
        moocore: O(n log n) for two and three objectives.
    """
    costs_nm, reference_m = _checked(costs_nm), np.asarray(reference_m, dtype=float)
    if reference_m.shape != costs_nm.shape[1:]:
        shapes = f"costs of shape {costs_nm.shape} and a reference of shape {reference_m.shape}"
        raise ValueError(f"hypervolume needs as many references as objectives, (n, m) and (m,); got {shapes}")
    if np.isnan(reference_m).any():
        raise ValueError(f"reference must not hold NaN, got {reference_m.tolist()}")
    return float(moocore.hypervolume(costs_nm, ref=reference_m))


def _checked(costs_nm: ArrayLike) -> np.ndarray:
    costs_nm = np.asarray(costs_nm, dtype=float)
    if costs_nm.ndim != 2:
        raise ValueError(f"costs must be a matrix, one row per sub-network; got shape {costs_nm.shape}")
    if np.isnan(costs_nm).any():
        raise ValueError("costs must not hold NaN: leave failed sub-networks out")
    return costs_nm
