"""Expected hypervolume improvement (EHVI) over the discrete sub-networks of a space, in two versions.

*Known cost*: parameters and FLOPs of any sub-network follow from a formula, so only the error gets a Gaussian process.
The expected improvement is then exact and one-dimensional (`known_cost_improvement`), and the cost, which says much
about the error, is an input of the process. *Plain*: a Gaussian process for each objective and BoTorch's EHVI, for
costs that must be measured; it is also what the first version is compared with.

All in double precision, inputs in the unit cube, outcomes standardised. Everything here is minimised; BoTorch, which
maximises, gets its targets negated. Sub-networks asked but not yet told count as observed at their predicted values.
The numerical half of the searcher: Syne Tune's half is in `searchers.py`.

Shape letters: n observations, p pending, f = n + p both, c candidates, d entries of a vector, s segments of the front.

Source: Emmerich et al., "Hypervolume-based expected improvement", CEC 2011; Daulton et al., "Differentiable expected
hypervolume improvement for parallel multi-objective Bayesian optimization", NeurIPS 2020.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogExpectedHypervolumeImprovement
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import NondominatedPartitioning
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.special import ndtr

from search.candidates import ENUMERABLE, best_unseen, ranked_unseen
from search.pareto import pareto_front
from supernet.space import SearchSpace
from supernet.subnetwork import SubNetwork

REFERENCE_MARGIN = 0.1
"""How far beyond the worst observation the reference point lies, as a share of the range observed."""


@dataclass(frozen=True)
class Observations:
    """What a searcher knows when it makes a proposal.

    Attributes:
        space: Where the vectors come from.
        vectors_fd: (f, d) integers: the n sub-networks told, then the p asked but not yet told.
        metrics_n2: (n, 2) errors and costs of the former.
    """

    space: SearchSpace
    vectors_fd: np.ndarray
    metrics_n2: np.ndarray

    @classmethod
    def of(
        cls, space: SearchSpace, metrics: Mapping[SubNetwork, tuple[float, ...]], pending: Collection[SubNetwork]
    ) -> Observations:
        """Puts the sub-networks into a fixed order: sums of floats, and so proposals, depend on it.

        Args:
            space: Where the sub-networks come from.
            metrics: [error, cost] of the sub-networks told, at least one.
            pending: The sub-networks asked but not yet told.
        """
        told = sorted((space.encode(subnet), values) for subnet, values in metrics.items())
        asked = sorted(space.encode(subnet) for subnet in pending)
        vectors_fd = np.array([vector for vector, _ in told] + asked)
        return cls(space, vectors_fd, np.array([values for _, values in told], dtype=float))

    @property
    def told(self) -> int:
        """n."""
        return len(self.metrics_n2)

    @cached_property
    def subnets(self) -> list[SubNetwork]:
        """The f sub-networks that the vectors stand for."""
        return [self.space.decode(vector) for vector in self.vectors_fd.tolist()]

    def unit_cube(self, vectors_cd: np.ndarray) -> torch.Tensor:
        """(c, d) vectors scaled from the bounds of the space to [0, 1], in double precision."""
        lower_d, upper_d = self.space.lower, self.space.upper
        return torch.from_numpy((vectors_cd - lower_d) / np.maximum(upper_d - lower_d, 1))


# --- what a candidate is worth ----------------------------------------------------------------------------------------


def known_cost_improvement(
    errors_f: np.ndarray,
    costs_f: np.ndarray,
    reference_2: np.ndarray,
    *,
    mean_c: np.ndarray,
    std_c: np.ndarray,
    cost_c: np.ndarray,
) -> np.ndarray:
    """Expected growth of the hypervolume by candidates of known cost and normally distributed error.

    A candidate of cost k and error y adds, for each budget t from k up to the reference, what it gains on the best
    error to be had for t: the integral of max(best(t) - y, 0). best(t) is a step function, so the expectation is a
    sum over the front's segments to the right of k: width * expected improvement on the segment's error. Exact.

    Args:
        errors_f: (f,) errors of points observed, dominated ones allowed.
        costs_f: (f,) their costs.
        reference_2: (2,) the worst error and cost that count.
        mean_c: (c,) means of the candidates' errors.
        std_c: (c,) standard deviations of the same, positive.
        cost_c: (c,) the candidates' costs.

    Returns:
        (c,) expected improvements, in the product of the units of error and cost.

    Source:
        The one-dimensional case of Emmerich et al., CEC 2011.
    """
    order = np.argsort(costs_f, kind="stable")
    best_s = np.minimum.accumulate(np.append(reference_2[0], errors_f[order]))
    left_s = np.append(-np.inf, costs_f[order])
    right_s = np.minimum(np.append(costs_f[order], np.inf), reference_2[1])
    width_cs = np.maximum(right_s - np.maximum(left_s, cost_c[:, None]), 0.0)
    return (width_cs * expected_improvement(best_s, mean_c[:, None], std_c[:, None])).sum(axis=1)


def expected_improvement(best: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E max(best - y, 0) for y normal with `mean` and `std`; the shapes broadcast."""
    z = (best - mean) / std
    return std * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))


# --- models -----------------------------------------------------------------------------------------------------------


def standardised(values_n: np.ndarray) -> np.ndarray:
    """(n,) values with mean 0 and, unless they are all equal up to rounding, standard deviation 1."""
    centred_n, std = values_n - values_n.mean(), values_n.std()
    return centred_n / std if std > 1e-12 * np.abs(values_n).max() else np.zeros_like(values_n)


def reference_point(costs_f2: np.ndarray) -> np.ndarray:
    """(2,) a little worse than the worst of (f, 2) points in each objective.

    Of all points, not of the front only: once a smaller sub-network beats the full model, the front ends there, and
    larger ones that are better still would count for nothing.
    """
    return costs_f2.max(axis=0) + REFERENCE_MARGIN * np.ptp(costs_f2, axis=0)


def fit_gp(inputs_nd: torch.Tensor, targets_n: np.ndarray, *, seed: int) -> SingleTaskGP:
    """A Gaussian process with maximum a posteriori hyper-parameters.

    Args:
        inputs_nd: (n, d) in the unit cube, double.
        targets_n: (n,) standardised.
        seed: For the random restarts of a fit that does not converge; torch's own generator stays as it is.

    Returns:
        The model. If the fit fails, which warns, its hyper-parameters are those that BoTorch starts from.
    """
    model = _untrained(inputs_nd, targets_n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        except (ModelFittingError, RuntimeError) as error:
            warnings.warn(f"Gaussian process not fitted, its hyper-parameters are the default: {error}", stacklevel=2)
            model = _untrained(inputs_nd, targets_n)
    return model.eval()


def _untrained(inputs_nd: torch.Tensor, targets_n: np.ndarray) -> SingleTaskGP:
    # BoTorch's default, but given explicitly it spares equal targets the warning that they are not standardised.
    kernel = get_covar_module_with_dim_scaled_prior(ard_num_dims=inputs_nd.shape[1])
    return SingleTaskGP(inputs_nd, torch.from_numpy(targets_n)[:, None], covar_module=kernel, outcome_transform=None)


def predict(model: SingleTaskGP, inputs_cd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and standard deviations of the function at some inputs, without the noise of observation.

    In closed form here because GPyTorch's posterior of thousands of inputs forms their c x c covariance.

    Args:
        model: A model of one outcome.
        inputs_cd: (c, d) in the unit cube.

    Returns:
        (c,) means and (c,) standard deviations.

    Source:
        Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
    """
    inputs_nd, targets_n = model.train_inputs[0], model.train_targets
    with torch.no_grad():
        prior_n, prior_c = model.mean_module(inputs_nd), model.mean_module(inputs_cd)
        noise_nn = model.likelihood.noise * torch.eye(len(inputs_nd), dtype=inputs_nd.dtype)
        factor_nn = torch.linalg.cholesky(model.covar_module(inputs_nd).to_dense() + noise_nn)
        cross_nc = model.covar_module(inputs_nd, inputs_cd).to_dense()
        whitened_nc = torch.linalg.solve_triangular(factor_nn, cross_nc, upper=False)
        whitened_n1 = torch.linalg.solve_triangular(factor_nn, (targets_n - prior_n)[:, None], upper=False)
        variance_c = model.covar_module(inputs_cd, diag=True) - whitened_nc.square().sum(dim=0)
        return prior_c + (whitened_nc.T @ whitened_n1)[:, 0], variance_c.clamp_min(1e-12).sqrt()


def with_believed(model: SingleTaskGP, inputs_pd: torch.Tensor) -> SingleTaskGP:
    """The model with (p, d) pending inputs as if observed at their predicted means ("kriging believer").

    Source:
        Ginsbourger et al., "Kriging is well-suited to parallelize optimization", 2010.
    """
    if len(inputs_pd) > 0:
        inputs, targets = model.train_inputs[0], model.train_targets
        mean_p, _ = predict(model, inputs_pd)
        model.set_train_data(torch.cat([inputs, inputs_pd]), torch.cat([targets, mean_p]), strict=False)  # type: ignore[operator]
    return model


# --- proposals --------------------------------------------------------------------------------------------------------


def propose_known_cost(
    observations: Observations,
    *,
    known_cost: Callable[[SubNetwork], float],
    seen: Container[SubNetwork],
    rng: np.random.Generator,
) -> SubNetwork | None:
    """The unseen sub-network with the largest expected hypervolume improvement, its cost being known.

    Args:
        observations: What is known so far, at least one sub-network told.
        known_cost: The cost of any sub-network, in the unit in which costs were told.
        seen: Sub-networks that are not to be proposed again.
        rng: For candidates and for restarts of the fit.

    Returns:
        A sub-network; None if no candidate was new.

    Raises:
        ValueError: if `known_cost` contradicts a cost told.
    """
    n, told_n = observations.told, observations.metrics_n2[:, 1]
    lowest, extent = told_n.min(), np.ptp(told_n)
    known_f = np.array([known_cost(subnet) for subnet in observations.subnets])
    _check_known_costs(known_f[:n], told_n)

    def shares(costs_c: Sequence[float] | np.ndarray) -> np.ndarray:
        return (np.asarray(costs_c, dtype=float) - lowest) / (extent if extent > 0 else 1.0)

    def inputs(vectors_cd: np.ndarray, share_c: np.ndarray) -> torch.Tensor:
        return torch.cat([observations.unit_cube(vectors_cd), torch.from_numpy(share_c)[:, None]], dim=1)

    inputs_fd = inputs(observations.vectors_fd, shares(known_f))
    model = fit_gp(inputs_fd[:n], standardised(observations.metrics_n2[:, 0]), seed=_torch_seed(rng))
    model = with_believed(model, inputs_fd[n:])
    costs_f2 = np.stack([model.train_targets.numpy(), shares(known_f)], axis=1)
    error_f, cost_f = costs_f2.T
    reference_2 = reference_point(costs_f2)

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> np.ndarray:
        share_c = shares([known_cost(subnet) for subnet in subnets])
        mean_c, std_c = (t.numpy() for t in predict(model, inputs(vectors_cd, share_c)))
        return known_cost_improvement(error_f, cost_f, reference_2, mean_c=mean_c, std_c=std_c, cost_c=share_c)

    parents_fd = observations.vectors_fd[pareto_front(costs_f2)]
    return best_unseen(observations.space, improvement, parents_fd=parents_fd, seen=seen, rng=rng)


def _check_known_costs(known_n: np.ndarray, told_n: np.ndarray) -> None:
    wrong = ~np.isclose(known_n, told_n, rtol=1e-6, atol=1e-9 * np.abs(told_n).max())
    if wrong.any():
        known, told = known_n[wrong][0], told_n[wrong][0]
        raise ValueError(f"known_cost gives {known:g} for a sub-network told to cost {told:g}; is it the same unit?")


def _torch_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**63))


def propose_plain(
    observations: Observations, *, seen: Container[SubNetwork], rng: np.random.Generator
) -> SubNetwork | None:
    """The unseen sub-network with the largest expected hypervolume improvement, both objectives being modelled.

    As in BoTorch's tutorials: the logarithm of the EHVI by quasi-Monte-Carlo, with 64 samples, maximised by gradient
    from 10 starts in the unit cube. The best of the ends after rounding is taken. If all of them were seen, or if the
    space can be gone through whole, the candidates of `best_unseen` are taken instead.

    Args:
        observations: What is known so far, at least one sub-network told.
        seen: Sub-networks that are not to be proposed again.
        rng: For candidates, starting points and restarts of the fits.

    Returns:
        A sub-network; None if no candidate was new.
    """
    n, inputs_fd = observations.told, observations.unit_cube(observations.vectors_fd)
    # BoTorch maximises: the models are of the negated objectives.
    fits = [fit_gp(inputs_fd[:n], -standardised(m_n), seed=_torch_seed(rng)) for m_n in observations.metrics_n2.T]
    models = [with_believed(model, inputs_fd[n:]) for model in fits]
    costs_f2 = -torch.stack([model.train_targets for model in models], dim=1).numpy()
    reference_2 = torch.from_numpy(-reference_point(costs_f2))
    partitioning = NondominatedPartitioning(reference_2, torch.from_numpy(-costs_f2))
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=int(rng.integers(2**31)))
    acquisition = qLogExpectedHypervolumeImprovement(ModelListGP(*models), reference_2, partitioning, sampler=sampler)

    def improvement(vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> np.ndarray:
        chunks = observations.unit_cube(vectors_cd)[:, None].split(256)  # BoTorch copies the n x n covariance c times
        with torch.no_grad():
            return torch.cat([acquisition(chunk) for chunk in chunks]).numpy()

    if observations.space.size > ENUMERABLE:
        ends_cd = _ascended(acquisition, observations.space, seed=_torch_seed(rng))
        ranked = ranked_unseen(observations.space, improvement, ends_cd, seen)
        if ranked:
            return ranked[0][0]
    parents_fd = observations.vectors_fd[pareto_front(costs_f2)]
    return best_unseen(observations.space, improvement, parents_fd=parents_fd, seen=seen, rng=rng)


def _ascended(acquisition: qLogExpectedHypervolumeImprovement, space: SearchSpace, *, seed: int) -> np.ndarray:
    """(10, d) vectors nearest to the local maxima that BoTorch finds."""
    cube_2d = torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, len(space.bounds))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ends_c1d, _ = optimize_acqf(acquisition, cube_2d, q=1, num_restarts=10, raw_samples=256, return_best_only=False)
    return space.lower + np.rint(ends_c1d[:, 0].numpy() * (space.upper - space.lower)).astype(int)
