"""Bayesian optimisation of random scalarisations, for any number of objectives.

Each proposal draws weights and improves one trade-off: the augmented Chebyshev scalarisation of the objectives, scaled
to the range seen. Each objective without a formula has its own Gaussian process (`surrogate.py`). The expected
improvement of the scalarisation is an average over samples of these processes.

Shape letters: m objectives, c candidates, q samples.

Source: Knowles, "ParEGO: a hybrid algorithm with on-line landscape approximation for expensive multiobjective
optimization problems", IEEE TEC 2006; with a process for each objective: Daulton et al., NeurIPS 2020 (qParEGO).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, qmc

from search.searchers.candidates import best_unseen
from search.searchers.history import History
from search.searchers.surrogate import Formulas, Surrogate
from supernet.space.subnetwork import SubNetwork

AUGMENTATION = 0.05
"""Share of the weighted sum in the scalarisation; Knowles' value. Without it, weakly dominated points may win."""

SAMPLES = 64
"""Quasi-random samples that an expected improvement is averaged over."""


def augmented_chebyshev(costs: np.ndarray, weights_m: np.ndarray) -> np.ndarray:
    """(...,) max_i w_i y_i + 0.05 sum_i w_i y_i of (..., m) costs; 0 is the best observed, 1 the worst."""
    weighted = weights_m * costs
    return weighted.max(axis=-1) + AUGMENTATION * weighted.sum(axis=-1)


def random_scalarization(history: History, rng: np.random.Generator, *, formulas: Formulas) -> SubNetwork | None:
    """The unseen sub-network with the largest expected improvement of a random scalarisation.

    Args:
        history: The results so far.
        rng: For weights, samples and candidates.
        formulas: Those of the known objectives; may be empty.

    Returns:
        A sub-network; None if none is left.

    Raises:
        ValueError: if a formula contradicts an observation.
    """
    if not history.results:
        return history.unseen_sample(rng)
    surrogate = Surrogate.of(history, formulas)
    m = surrogate.objectives_fm.shape[1]
    weights_m = rng.dirichlet(np.ones(m))
    samples_q1m = norm.ppf(np.clip(qmc.Sobol(m, rng=rng).random(SAMPLES), 1e-9, 1 - 1e-9))[:, None]
    best = augmented_chebyshev(surrogate.objectives_fm, weights_m).min()

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> np.ndarray:
        mean_cm, std_cm = surrogate.predict(vectors_cd, subnets)
        return np.maximum(best - augmented_chebyshev(mean_cm + std_cm * samples_q1m, weights_m), 0).mean(axis=0)

    return best_unseen(history, improvement, parents_fd=surrogate.front_fd, rng=rng)
