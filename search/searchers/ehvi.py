"""Expected hypervolume improvement (EHVI) over the sub-networks of a space, with some objectives known by formula.

Parameters and FLOPs of any sub-network follow from a formula, so only the error, and other objectives that must be
measured, get a Gaussian process. The known costs predict the error well, so they are inputs of the process. The
expected improvement is then a closed formula (`hypervolume_improvement`), cheap enough to compare thousands of
candidates. The plain version, which models all objectives, is in `ehvi_botorch.py`; `table.py` chooses.

Everything here is minimised.

Shape letters: n observations, f = n + pending sub-networks, m objectives, c candidates, s cells, d entries of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from search.searchers.candidates import best_unseen
from search.searchers.cells import cells_of
from search.searchers.history import History
from search.searchers.surrogate import Formulas, Surrogate
from supernet.space.subnetwork import SubNetwork

REFERENCE_MARGIN = 0.1
"""Distance of the reference point beyond the worst observation, as a share of the observed range."""

CHUNK = 2**22
"""Candidates times cells that are computed at once."""

FAR = 1e9
"""In place of infinity."""


def reference_point(objectives_fm: np.ndarray) -> np.ndarray:
    """(m,) a little worse than the worst of (f, m) points in each objective.

    It uses all points, not only the front: once a smaller sub-network beats the full model, the front ends there, and
    larger sub-networks that are even better would count for nothing.
    """
    return objectives_fm.max(axis=0) + REFERENCE_MARGIN * np.ptp(objectives_fm, axis=0)


def hypervolume_improvement(cells_2sm: np.ndarray, *, mean_cm: np.ndarray, std_cm: np.ndarray) -> np.ndarray:
    """Expected growth of the hypervolume by candidates whose objectives are independent and normal, or known.

    In each cell from l to u, a candidate y adds the volume that it dominates: the product over the objectives of
    u - max(l, y), if positive. The objectives are independent, so the expectation of the product is the product of the
    expectations. And u - max(l, y) = max(u - y, 0) - max(l - y, 0): two expected improvements. This is exact.

    Args:
        cells_2sm: See `cells_of`.
        mean_cm: (c, m) means of the candidates' objectives.
        std_cm: (c, m) their standard deviations; 0 where they are known.

    Returns:
        (c,) improvements, in the product of the units of the objectives.

    Source:
        Yang et al., "Efficient computation of expected hypervolume improvement using box decomposition algorithms",
        Journal of Global Optimization 2019; Emmerich et al., "Hypervolume-based expected improvement", CEC 2011.
    """
    rows = max(CHUNK // cells_2sm.shape[1], 1)
    starts = range(0, len(mean_cm), rows)
    return np.concatenate([_improvement(cells_2sm, mean_cm[i : i + rows], std_cm[i : i + rows]) for i in starts])


def _improvement(cells_2sm: np.ndarray, mean_cm: np.ndarray, std_cm: np.ndarray) -> np.ndarray:
    volume_cs = np.ones((len(mean_cm), cells_2sm.shape[1]))
    for i in range(mean_cm.shape[1]):
        # Cells share their corners: each corner is computed once.
        bound_b, place_2s = np.unique(cells_2sm[:, :, i], return_inverse=True)
        gain_cb = expected_improvement(bound_b, mean_cm[:, i, None], std_cm[:, i, None])
        lower_s, upper_s = place_2s.reshape(2, -1)
        volume_cs *= gain_cb[:, upper_s] - gain_cb[:, lower_s]
    return volume_cs.sum(axis=1)


def expected_improvement(best: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E max(best - y, 0) for y normal with `mean` and `std`; `best` may be -inf and `std` 0. The shapes broadcast."""
    gap = np.maximum(best, -FAR) - mean
    z = gap / np.where(std > 0, std, 1.0)
    uncertain = gap * ndtr(z) + std * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.where(std > 0, uncertain, np.maximum(gap, 0.0))


# --- proposals --------------------------------------------------------------------------------------------------------


def propose_known_cost(history: History, rng: np.random.Generator, *, formulas: Formulas) -> SubNetwork | None:
    """The unseen sub-network with the largest expected hypervolume improvement, with some objectives known.

    Args:
        history: The results so far.
        rng: For candidates.
        formulas: Those of the known objectives, one or more.

    Returns:
        A sub-network; None if none is left.

    Raises:
        ValueError: if a formula contradicts an observation.
    """
    if not history.results:
        return history.unseen_sample(rng)
    surrogate = Surrogate.of(history, formulas)
    cells_2sm = cells_of(surrogate.objectives_fm, reference_point(surrogate.objectives_fm))

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> np.ndarray:
        mean_cm, std_cm = surrogate.predict(vectors_cd, subnets)
        return hypervolume_improvement(cells_2sm, mean_cm=mean_cm, std_cm=std_cm)

    return best_unseen(history, improvement, parents_fd=surrogate.front_fd, rng=rng)
