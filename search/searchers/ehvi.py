"""Expected hypervolume improvement (EHVI) over the discrete sub-networks of a space, in two versions.

*Known costs*: parameters and FLOPs of any sub-network follow from a formula, so only the error, and what else must be
measured, gets a Gaussian process; the costs known, which say much about it, are inputs of that. The expected
improvement is then a closed formula (`hypervolume_improvement`), cheap enough to compare thousands of candidates.
*Plain*: a process for each objective, and BoTorch's EHVI maximised by gradient, as in its tutorials; for objectives of
which none has a formula, and to compare the first version with. `schedulers.py` chooses.

Everything here is minimised; BoTorch, which maximises, gets its targets negated.

Shape letters: n observations, f with the pending ones, m objectives, c candidates, s cells, d entries of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim import optimize_acqf
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from scipy.special import ndtr

from search.pareto import pareto_front
from search.searchers.beliefs import Beliefs, Formulas, unwarped, warped
from search.searchers.candidates import ENUMERABLE, best_unseen, pool_of, ranked_unseen
from search.searchers.gp import GaussianProcess
from search.searchers.history import History
from supernet.space.subnetwork import SubNetwork

REFERENCE_MARGIN = 0.1
"""How far beyond the worst observation the reference point lies, as a share of the range observed."""

CHUNK = 2**22
"""Candidates times cells that are looked at at once."""

FAR = 1e9
"""In place of infinity."""

STARTS, ASCENT = 5, 20
"""Candidates that the plain version improves by gradient, and in how many iterations."""


def reference_point(costs_fm: np.ndarray) -> np.ndarray:
    """(m,) a little worse than the worst of (f, m) points in each objective.

    Of all points, not of the front only: once a smaller sub-network beats the full model, the front ends there, and
    larger ones that are better still would count for nothing.
    """
    return costs_fm.max(axis=0) + REFERENCE_MARGIN * np.ptp(costs_fm, axis=0)


def cells_of(costs_fm: np.ndarray, reference_m: np.ndarray) -> np.ndarray:
    """(2, s, m) lower and upper corners of boxes that make up what no point dominates, up to a reference.

    For two objectives the strips between neighbours on the front, otherwise by BoTorch.

    Args:
        costs_fm: (f, m) points, all minimised; dominated ones allowed.
        reference_m: (m,) the worst that counts.

    Source:
        Lacour et al., "A box decomposition algorithm to compute the hypervolume indicator", 2017.
    """
    costs_fm = costs_fm[(costs_fm < reference_m).all(axis=1)]
    if len(reference_m) > 2:
        found = FastNondominatedPartitioning(torch.from_numpy(-reference_m), torch.from_numpy(-costs_fm))
        return -found.get_hypercell_bounds().flip(0).numpy()
    front_s2 = costs_fm[pareto_front(costs_fm)]
    front_s2 = front_s2[np.argsort(front_s2[:, 1])]
    cost = np.concatenate([[-np.inf], front_s2[:, 1], reference_m[1:]])
    best_s = np.append(reference_m[0], front_s2[:, 0])
    lower_s2 = np.stack([np.full(len(best_s), -np.inf), cost[:-1]], axis=1)
    return np.stack([lower_s2, np.stack([best_s, cost[1:]], axis=1)])


def hypervolume_improvement(cells_2sm: np.ndarray, *, mean_cm: np.ndarray, std_cm: np.ndarray) -> np.ndarray:
    """Expected growth of the hypervolume by candidates whose objectives are independent and normal, or known.

    A candidate y adds, in each cell from l to u, the volume of what it dominates: the product over the objectives of
    u - max(l, y), where positive. They are independent, so the expectation of the product is the product of
    expectations; and u - max(l, y) = max(u - y, 0) - max(l - y, 0), two expected improvements. Exact.

    Args:
        cells_2sm: See `cells_of`.
        mean_cm: (c, m) means of the candidates' objectives.
        std_cm: (c, m) their standard deviations; 0 where they are known.

    Returns:
        (c,) in the product of the units of the objectives.

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
        # Cells share their corners: each of them is looked at once.
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
    """The unseen sub-network with the largest expected hypervolume improvement, some objectives being known.

    Args:
        history: What is known so far.
        rng: For candidates.
        formulas: Of one or more of the objectives.

    Returns:
        A sub-network; None if none is left.

    Raises:
        ValueError: if a formula contradicts what was told.
    """
    if not history.told:
        return history.unseen_sample(rng)
    beliefs = Beliefs.of(history, formulas)
    cells_2sm = cells_of(beliefs.costs_fm, reference_point(beliefs.costs_fm))

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> np.ndarray:
        mean_cm, std_cm = beliefs.predict(vectors_cd, subnets)
        return hypervolume_improvement(cells_2sm, mean_cm=mean_cm, std_cm=std_cm)

    return best_unseen(history, improvement, parents_fd=beliefs.front_fd, rng=rng)


def propose_plain(history: History, rng: np.random.Generator) -> SubNetwork | None:
    """The unseen sub-network with the largest expected hypervolume improvement, all objectives being modelled.

    The best few of a pool of candidates are improved by gradient in the cube of warped vectors, and rounded. In a space
    that can be gone through whole, this is not needed.

    Args:
        history: What is known so far.
        rng: For candidates.

    Returns:
        A sub-network; None if none is left.

    Source:
        Daulton et al., "Differentiable expected hypervolume improvement for parallel multi-objective Bayesian
        optimization", NeurIPS 2020.
    """
    if not history.told:
        return history.unseen_sample(rng)
    space, beliefs = history.space, Beliefs.of(history, {}, with_size=False)
    cells_2sm = cells_of(beliefs.costs_fm, reference_point(beliefs.costs_fm))

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork] = ()) -> np.ndarray:
        mean_cm, std_cm = beliefs.predict(vectors_cd, subnets)
        return hypervolume_improvement(cells_2sm, mean_cm=mean_cm, std_cm=std_cm)

    if space.size > ENUMERABLE:
        pool_cd = pool_of(space, beliefs.front_fd, rng)
        starts_cd = pool_cd[np.argsort(-improvement(pool_cd), kind="stable")[:STARTS]]
        ends_cd = _ascended(beliefs, starts_cd, seed=int(rng.integers(2**31)))
        if ranked := ranked_unseen(history, improvement, np.concatenate([starts_cd, ends_cd])):
            return ranked[0][0]
    return best_unseen(history, improvement, parents_fd=beliefs.front_fd, rng=rng)


def _ascended(beliefs: Beliefs, starts_cd: np.ndarray, *, seed: int) -> np.ndarray:
    """(c, d) vectors uphill of others, by BoTorch."""
    costs_fm = np.stack([model.targets_n for model in beliefs.models.values()], axis=1)
    reference_m = torch.from_numpy(-reference_point(costs_fm))
    partitioning = FastNondominatedPartitioning(reference_m, torch.from_numpy(-costs_fm))
    models = ModelListGP(*map(negated_botorch_model, beliefs.models.values()))
    # Not qLogExpectedHypervolumeImprovement, which compiles C++ at its first use: that takes minutes, warns where there
    # is no compiler, and after such a compilation was killed it waits for good.
    acquisition = ExpectedHypervolumeImprovement(models, reference_m.tolist(), partitioning)  # type: ignore[arg-type]
    starts_c1d = torch.from_numpy(warped(beliefs.space, starts_cd))[:, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ends_c1d, _ = optimize_acqf(
            acquisition,
            torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, starts_cd.shape[1]),
            q=1,
            num_restarts=len(starts_cd),
            options={"maxiter": ASCENT},
            batch_initial_conditions=starts_c1d,
            return_best_only=False,
        )
    return unwarped(beliefs.space, ends_c1d[:, 0].numpy())


def negated_botorch_model(process: GaussianProcess) -> SingleTaskGP:
    """A process as BoTorch knows it, of the negated objective."""
    inputs_nd, targets_n1 = torch.from_numpy(process.inputs_nd), torch.from_numpy(-process.targets_n)[:, None]
    # BoTorch's default, but given explicitly it spares equal targets the warning that they are not standardised.
    covariance = get_covar_module_with_dim_scaled_prior(ard_num_dims=inputs_nd.shape[1])
    model = SingleTaskGP(inputs_nd, targets_n1, covar_module=covariance, outcome_transform=None)
    model.covar_module.lengthscale = torch.from_numpy(process.lengths_d)
    model.likelihood.noise = max(process.noise, 1.01e-4)  # BoTorch's least
    model.mean_module.constant.data.fill_(-process.prior_mean)
    return model.eval()
