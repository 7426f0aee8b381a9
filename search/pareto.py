"""Pareto front and hypervolume of observed objectives. This module imports no torch.

Shape letters: n sub-networks, m objectives, all minimised.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike


def pareto_front(objectives_nm: ArrayLike, *, keep_equal: bool = False) -> np.ndarray:
    """Marks the rows that no other row dominates.

    A row dominates another if it is no worse in all objectives and better in at least one.

    Args:
        objectives_nm: (n, m). One row per sub-network, e.g. [error, params_share]; n may be 0.
        keep_equal: Keep all of several equal rows, not only the first.

    Returns:
        (n,) boolean mask.

    Raises:
        ValueError: if `objectives_nm` is not a matrix or holds NaN.

    Source:
        Kung, Luccio & Preparata, "On finding the maxima of a set of vectors", JACM 1975. Computed by moocore in
        O(n log n) for two and three objectives.
    """
    return moocore.is_nondominated(_checked(objectives_nm), keep_weakly=keep_equal)


def hypervolume(objectives_nm: ArrayLike, reference_m: ArrayLike) -> float:
    """Volume dominated by a set of rows, all minimised; for two objectives, an area.

    Args:
        objectives_nm: (n, m). One row per sub-network, e.g. [error, params_share]. Dominated rows add nothing; n
            may be 0.
        reference_m: (m,). The worst values that count; rows not strictly better in all add nothing.

    Returns:
        Volume in the product of the units; 0.0 if no row is better than the reference.

    Raises:
        ValueError: if `objectives_nm` is not (n, m), if `reference_m` is not (m,), or if either holds NaN.

    Source:
        Zitzler & Thiele, "Multiobjective optimization using evolutionary algorithms", PPSN V, 1998. Computed by
        moocore: O(n log n) for two and three objectives.
    """
    objectives_nm, reference_m = _checked(objectives_nm), np.asarray(reference_m, dtype=float)
    if reference_m.shape != objectives_nm.shape[1:]:
        shapes = f"objectives of shape {objectives_nm.shape} and a reference of shape {reference_m.shape}"
        raise ValueError(f"hypervolume needs as many references as objectives, (n, m) and (m,); got {shapes}")
    if np.isnan(reference_m).any():
        raise ValueError(f"reference must not hold NaN, got {reference_m.tolist()}")
    return float(moocore.hypervolume(objectives_nm, ref=reference_m))


def _checked(objectives_nm: ArrayLike) -> np.ndarray:
    objectives_nm = np.asarray(objectives_nm, dtype=float)
    if objectives_nm.ndim != 2:
        raise ValueError(f"objectives must be a matrix, one row per sub-network; got shape {objectives_nm.shape}")
    if np.isnan(objectives_nm).any():
        raise ValueError("objectives must not hold NaN: leave failed sub-networks out")
    return objectives_nm
