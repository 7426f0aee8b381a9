"""Expected hypervolume improvement (EHVI) over the discrete sub-networks of a space, in two versions.

*Known cost*: parameters and FLOPs of any sub-network follow from a formula, so only the error gets a Gaussian process.
The expected improvement is then exact and one-dimensional (`known_cost_improvement`). *Plain*: a Gaussian process for
each objective and BoTorch's EHVI, for costs that must be measured; it is also what the first version is compared with.

Everything is in double precision, inputs in the unit cube, both objectives standardised and minimised; BoTorch, which
maximises, gets them negated. Sub-networks asked but not yet told count as observed at their predicted values.

Shape letters: n observations, p pending, f front members, c candidates, d entries of a vector, s segments of the front.

Source: Emmerich et al., "Hypervolume-based expected improvement", CEC 2011; Daulton et al., "Differentiable expected
hypervolume improvement for parallel multi-objective Bayesian optimization", NeurIPS 2020.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from gpytorch.mlls import ExactMarginalLogLikelihood
from scipy.special import ndtr

from search.pareto import pareto_front
from supernet.space import SearchSpace, SubNetwork

ENUMERABLE = 4096
"""Spaces with at most so many vectors are gone through whole."""


@dataclass(frozen=True)
class Observations:
    """What a searcher knows when it makes a proposal.

    Attributes:
        space: Where the vectors come from.
        vectors_nd: (n, d) integers, the sub-networks told.
        metrics_n2: (n, 2) their errors and costs.
        pending_pd: (p, d) integers, the sub-networks asked but not yet told; p may be 0.
    """

    space: SearchSpace
    vectors_nd: np.ndarray
    metrics_n2: np.ndarray
    pending_pd: np.ndarray

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        metrics: Mapping[SubNetwork, tuple[float, ...]],
        pending: Collection[SubNetwork],
    ) -> Observations:
        """Puts the sub-networks in a fixed order: sums of floats, so proposals, would depend on the order of telling."""
        told = sorted((space.encode(subnet), values) for subnet, values in metrics.items())
        asked = sorted(space.encode(subnet) for subnet in pending)
        return cls(
            space,
            np.array([vector for vector, _ in told]),
            np.array([values for _, values in told], dtype=float),
            np.array(asked, dtype=int).reshape(len(asked), len(space.bounds)),
        )

    @cached_property
    def standardised_n2(self) -> np.ndarray:
        """(n, 2) errors and costs with mean 0 and, unless all are equal, standard deviation 1."""
        return (self.metrics_n2 - self.mean_2) / self.std_2

    @property
    def mean_2(self) -> np.ndarray:
        """(2,) means of the errors and of the costs."""
        return self.metrics_n2.mean(axis=0)

    @property
    def std_2(self) -> np.ndarray:
        """(2,) standard deviations of the errors and of the costs, 1 where all are equal."""
        std_2 = self.metrics_n2.std(axis=0)
        return np.where(std_2 > 1e-12 * np.abs(self.mean_2), std_2, 1.0)

    def unit_cube(self, vectors_cd: np.ndarray) -> torch.Tensor:
        """(c, d) vectors scaled from the bounds of the space to [0, 1], in double precision."""
        lower_d, upper_d = self.space.lower, self.space.upper
        return torch.from_numpy((vectors_cd - lower_d) / np.maximum(upper_d - lower_d, 1))


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


def fit_gp(inputs_nd: torch.Tensor, targets_n: torch.Tensor) -> SingleTaskGP:
    """A Gaussian process with maximum a posteriori hyper-parameters.

    Args:
        inputs_nd: (n, d) in the unit cube, double.
        targets_n: (n,) standardised, double.

    Returns:
        The model. If the fit fails it has the modes of BoTorch's priors as hyper-parameters; this warns.
    """
    model = _untrained(inputs_nd, targets_n)
    try:
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    except (ModelFittingError, RuntimeError, ValueError) as error:
        warnings.warn(f"Gaussian process not fitted, using default hyper-parameters: {error}", stacklevel=2)
        model = _untrained(inputs_nd, targets_n)
    return model.eval()


def _untrained(inputs_nd: torch.Tensor, targets_n: torch.Tensor) -> SingleTaskGP:
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior as g

    k = g(ard_num_dims=inputs_nd.shape[1], use_rbf_kernel=KERNEL == "rbf")
    return SingleTaskGP(inputs_nd, targets_n[:, None], outcome_transform=None, covar_module=k)


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
        model.set_train_data(torch.cat([inputs, inputs_pd]), torch.cat([targets, mean_p]), strict=False)
    return model


# --- proposals --------------------------------------------------------------------------------------------------------


def propose_known_cost(
    observations: Observations,
    *,
    known_cost: Callable[[SubNetwork], float],
    seen: Container[SubNetwork],
    rng: np.random.Generator,
) -> SubNetwork | None:
    space = observations.space
    vecs = np.concatenate([observations.vectors_nd, observations.pending_pd])
    cmax = max(known_cost(space.largest), 1e-9)

    def feats(v_cd, c):
        raw = (c * observations.std_2[1] + observations.mean_2[1]) / cmax
        x = observations.unit_cube(v_cd)
        if FEATURE == "none":
            return x
        if FEATURE == "cost":
            return torch.cat([x, torch.from_numpy(raw)[:, None]], 1)
        if FEATURE == "sqrt":
            return torch.cat([x, torch.from_numpy(raw)[:, None].clamp_min(0).sqrt()], 1)
        if FEATURE == "costonly":
            return torch.cat([x, torch.from_numpy(raw)[:, None]], 1)[:, -1:]

    def cost_of(subnets):
        return (np.array([known_cost(s) for s in subnets]) - observations.mean_2[1]) / observations.std_2[1]

    costs = cost_of([space.decode(v) for v in vecs.tolist()])
    nn = len(observations.vectors_nd)
    model = fit_gp(feats(observations.vectors_nd, costs[:nn]), torch.from_numpy(observations.standardised_n2[:, 0]))
    errors = model.train_targets.numpy()
    ref = np.array([errors.max() + 0.1 * np.ptp(errors), costs.max() + 0.1 * np.ptp(costs)])
    front = pareto_front(np.stack([errors, costs], 1))

    def improvement(v_cd, subnets):
        cc = cost_of(subnets)
        mean, std = predict(model, feats(v_cd, cc))
        return known_cost_improvement(
            errors[front], costs[front], ref, mean_c=mean.numpy(), std_c=std.numpy(), cost_c=cc
        )

    return maximise(space, improvement, vecs[front], seen=seen, rng=rng)


def propose_plain(observations, *, seen, rng):
    space = observations.space
    models = [_fitted(observations, objective=i, rng=rng) for i in (0, 1)]
    Y = -torch.stack([m.train_targets for m in models], 1)
    vecs = np.concatenate([observations.vectors_nd, observations.pending_pd])
    ref = Y.min(0).values - 0.1 * (Y.max(0).values - Y.min(0).values)
    for m in models:
        m.set_train_data(m.train_inputs[0], -m.train_targets, strict=False)
        m.mean_module.constant.data.neg_()
    acq = ExpectedHypervolumeImprovement(ModelListGP(*models), ref.tolist(), FastNondominatedPartitioning(ref, Y))
    front = pareto_front(-Y.numpy())
    if MODE == "optimize":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            X, _ = optimize_acqf(
                acq,
                torch.stack([torch.zeros(len(space.bounds)), torch.ones(len(space.bounds))]).double(),
                q=1,
                num_restarts=RESTARTS,
                raw_samples=RAW,
                return_best_only=False,
                options=dict(batch_limit=RESTARTS),
            )
            with torch.no_grad():
                a = acq(X)
        cands = space.lower + np.rint(X[:, 0].numpy() * (space.upper - space.lower)).astype(int)
        # evaluate rounded ones
        with torch.no_grad():
            a = acq(observations.unit_cube(cands)[:, None])
        for i in a.argsort(descending=True).tolist():
            s = space.decode(cands[i].tolist())
            if s not in seen:
                return s
        return None

    def improvement(v_cd, subnets):
        with torch.no_grad():
            return acq(observations.unit_cube(v_cd)[:, None]).numpy()

    return maximise(space, improvement, vecs[front], seen=seen, rng=rng)


FEATURE = "none"
MODE = "optimize"
RESTARTS = 10
RAW = 512
ROUNDS = 3
COUNT = 600
KERNEL = "rbf"
FULLSEEN = True


def maximise(space, improvement, parents_pd, *, seen, rng):
    best = {}
    pool = np.concatenate(
        [spread(space, COUNT, rng), uniform(space, COUNT // 2, rng), mutate(space, parents_pd, COUNT, rng)]
    )
    for r in range(ROUNDS):
        pool = np.unique(pool, axis=0)
        subs = [space.decode(v) for v in pool.tolist()]
        keep = [i for i, s in enumerate(subs) if s not in seen and s not in best]
        if keep:
            pool = pool[keep]
            subs = [subs[i] for i in keep]
            val = improvement(pool, subs)
            for i in np.argsort(-val)[:20]:
                best[subs[i]] = (val[i], pool[i])
        top = sorted(best, key=lambda s: -best[s][0])[:20]
        if not top:
            return None
        pool = mutate(space, np.array([best[s][1] for s in top]), COUNT // 2, rng)
    return max(best, key=lambda s: best[s][0])


def uniform(space, c, rng):
    return rng.integers(space.lower, space.upper, size=(c, len(space.bounds)), endpoint=True)


def spread(space, c, rng):
    t = rng.uniform(size=(c, 1))
    k = 2.0 ** rng.uniform(0, 5, size=(c, 1))
    f = rng.beta(np.maximum(k * t, 1e-3), np.maximum(k * (1 - t), 1e-3), size=(c, len(space.bounds)))
    return space.lower + np.minimum((f * (space.upper - space.lower + 1)).astype(int), space.upper - space.lower)


def mutate(space, parents, c, rng):
    d = len(space.bounds)
    child = parents[rng.integers(len(parents), size=c)]
    change = rng.random((c, d)) < 1 / d
    change[np.arange(c), rng.integers(d, size=c)] = True
    span = space.upper - space.lower
    step = np.rint(rng.normal(size=(c, d)) * span * (10.0 ** rng.uniform(-2, -0.3, size=(c, 1)))).astype(int)
    step = np.where(step == 0, rng.choice([-1, 1], size=(c, d)), step)
    child = np.where(change, child + step, child)
    return np.clip(child, space.lower, space.upper)


def _fitted(observations, objective, rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        m = fit_gp(
            observations.unit_cube(observations.vectors_nd),
            torch.from_numpy(observations.standardised_n2[:, objective]),
        )
    return with_believed(m, observations.unit_cube(observations.pending_pd))
