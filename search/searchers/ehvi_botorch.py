"""Plain expected hypervolume improvement: a Gaussian process for each objective, and BoTorch's gradient ascent.

BoTorch's tutorials do the same. It is used with `searcher.known_cost=false` or if no objective has a formula (a
measured latency), and is the comparison for `ehvi.py`. Only this module needs BoTorch, an extra of the package.

BoTorch maximises, so it gets negated targets. Everything else is minimised.

Shape letters: n observations, f = n + pending sub-networks, m objectives, c candidates, d entries of a vector.
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

from search.searchers.candidates import ENUMERABLE, best_unseen, pool_of, ranked_unseen
from search.searchers.cells import cells_of
from search.searchers.ehvi import hypervolume_improvement, reference_point
from search.searchers.gp import GaussianProcess
from search.searchers.history import History
from search.searchers.surrogate import Surrogate, unwarped, warped
from supernet.space.subnetwork import SubNetwork

STARTS, ASCENT = 5, 20
"""Candidates that the plain version improves by gradient, and in how many iterations."""


def propose_plain(history: History, rng: np.random.Generator) -> SubNetwork | None:
    """The unseen sub-network with the largest expected hypervolume improvement, with all objectives modelled.

    The best few of a pool of candidates are improved by gradient in the cube of warped vectors, and rounded. In a space
    small enough to try all vectors, this is not needed.

    Args:
        history: The results so far.
        rng: For candidates.

    Returns:
        A sub-network; None if none is left.

    Source:
        Daulton et al., "Differentiable expected hypervolume improvement for parallel multi-objective Bayesian
        optimization", NeurIPS 2020.
    """
    if not history.results:
        return history.unseen_sample(rng)
    space, surrogate = history.space, Surrogate.of(history, {}, with_size=False)
    cells_2sm = cells_of(surrogate.objectives_fm, reference_point(surrogate.objectives_fm))

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork] = ()) -> np.ndarray:
        mean_cm, std_cm = surrogate.predict(vectors_cd, subnets)
        return hypervolume_improvement(cells_2sm, mean_cm=mean_cm, std_cm=std_cm)

    if space.size > ENUMERABLE and space.features_are_entries:
        pool_cd = pool_of(space, surrogate.front_fd, rng)
        starts_cd = pool_cd[np.argsort(-improvement(pool_cd), kind="stable")[:STARTS]]
        ends_cd = _ascended(surrogate, starts_cd, seed=int(rng.integers(2**31)))
        if ranked := ranked_unseen(history, improvement, np.concatenate([starts_cd, ends_cd])):
            return ranked[0][0]
    return best_unseen(history, improvement, parents_fd=surrogate.front_fd, rng=rng)


def _ascended(surrogate: Surrogate, starts_cd: np.ndarray, *, seed: int) -> np.ndarray:
    """(c, d) vectors improved from the starts by BoTorch's gradient ascent."""
    objectives_fm = np.stack([model.targets_n for model in surrogate.models.values()], axis=1)
    reference_m = torch.from_numpy(-reference_point(objectives_fm))
    partitioning = FastNondominatedPartitioning(reference_m, torch.from_numpy(-objectives_fm))
    models = ModelListGP(*map(negated_botorch_model, surrogate.models.values()))
    # Not qLogExpectedHypervolumeImprovement, which compiles C++ at its first use: that takes minutes, warns if there is
    # no compiler, and waits forever if an earlier compilation was killed.
    acquisition = ExpectedHypervolumeImprovement(models, reference_m.tolist(), partitioning)  # type: ignore[arg-type]
    starts_c1d = torch.from_numpy(warped(surrogate.space, starts_cd))[:, None]
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
    return unwarped(surrogate.space, ends_c1d[:, 0].numpy())


def negated_botorch_model(process: GaussianProcess) -> SingleTaskGP:
    """A process as a BoTorch model of the negated objective."""
    inputs_nd, targets_n1 = torch.from_numpy(process.inputs_nd), torch.from_numpy(-process.targets_n)[:, None]
    # BoTorch's default. Given explicitly, it avoids a warning that equal targets are not standardised.
    covariance = get_covar_module_with_dim_scaled_prior(ard_num_dims=inputs_nd.shape[1])
    model = SingleTaskGP(inputs_nd, targets_n1, covar_module=covariance, outcome_transform=None)
    model.covar_module.lengthscale = torch.from_numpy(process.lengths_d)
    model.likelihood.noise = max(process.noise, 1.01e-4)  # BoTorch's least
    model.mean_module.constant.data.fill_(-process.prior_mean)
    return model.eval()
