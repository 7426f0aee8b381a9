"""Gaussian processes on the vectors of a space: fitted on a bounded number of observations, conditioned on all of them.

Plain numpy, because a search fits at least one process for each proposal, and BoTorch's fit spends most of its time in
the interpreter. On 50 to 100 observations this fit takes a tenth of that time, with the same hyper-parameters. Kernel
and priors are BoTorch's defaults.

**The kernel in each space.** The kernel is the squared exponential with a length for each input:

    exp(-1/2 sum_j ((x_j - y_j) / l_j)^2)

Numbers of layers, heads and units are ordered integers, so the kernel is only evaluated at these integers, scaled to
[0, 1] (Garrido-Merchan & Hernandez-Lobato, "Dealing with categorical and integer-valued variables in Bayesian
optimization with Gaussian processes", Neurocomputing 2020). On the bits of `layer`, `native` and `large`, where
(x - y)^2 is 1 or 0, the same formula is the diffusion kernel on the hypercube with a rate for each bit (Kondor &
Lafferty, "Diffusion kernels on graphs and other discrete input spaces", ICML 2002; Oh et al., "Combinatorial Bayesian
optimization using the graph Cartesian product", NeurIPS 2019). A priori, lengths grow with the square root of the
number of inputs, so that dozens of inputs work (Hvarfner et al., "Vanilla Bayesian optimization performs great in high
dimensions", ICML 2024).

Shape letters: n observations, c candidates, d inputs.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

FITTED = 100
"""Largest number of observations that hyper-parameters are fitted on. The time of a fit is cubic in it."""

NOISE_MEAN, NOISE_STD = -4.0, 1.0
"""Prior of the logarithm of the noise variance; outcomes have variance 1."""

LENGTH_STD = math.sqrt(3)
"""Prior of the logarithm of a length."""

START = math.log(0.5)
"""Where a fit starts: the logarithm of the lengths over the square root of the number of inputs."""

LENGTH_BOUNDS, NOISE_BOUNDS = (0.025, 1e3), (1e-6, 1.0)


@dataclass(frozen=True)
class GaussianProcess:
    """A distribution over functions, conditioned on observations with noise.

    Attributes:
        inputs_nd: (n, d) observed inputs, in the unit cube.
        targets_n: (n,) observed values.
        lengths_d: (d,) lengths of the kernel, whose variance is 1.
        noise: Variance of the observations around the function.
        prior_mean: The constant mean far from all observations.
    """

    inputs_nd: np.ndarray
    targets_n: np.ndarray
    lengths_d: np.ndarray
    noise: float
    prior_mean: float

    @cached_property
    def _factor_nn(self) -> np.ndarray:
        """Lower Cholesky factor of the covariance of the observations."""
        covariance_nn = kernel(self.inputs_nd, self.inputs_nd, self.lengths_d)
        return np.linalg.cholesky(covariance_nn + self.noise * np.eye(len(self.targets_n)))

    @cached_property
    def _weights_n(self) -> np.ndarray:
        return cho_solve((self._factor_nn, True), self.targets_n - self.prior_mean)

    def predict(self, inputs_cd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(c,) means and (c,) standard deviations of the function, without the noise of observation.

        Args:
            inputs_cd: (c, d) in the unit cube.

        Source:
            Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
        """
        cross_nc = kernel(self.inputs_nd, inputs_cd, self.lengths_d)
        whitened_nc = solve_triangular(self._factor_nn, cross_nc, lower=True, check_finite=False)
        variance_c = 1 - np.einsum("nc,nc->c", whitened_nc, whitened_nc)
        return self.prior_mean + self._weights_n @ cross_nc, np.sqrt(np.maximum(variance_c, 1e-12))

    def conditioned(self, inputs_nd: np.ndarray, targets_n: np.ndarray) -> GaussianProcess:
        """The process with the same hyper-parameters and other observations."""
        return GaussianProcess(inputs_nd, targets_n, self.lengths_d, self.noise, self.prior_mean)

    def with_pending(self, inputs_pd: np.ndarray) -> GaussianProcess:
        """The process with (p, d) pending inputs as if observed at their predicted means ("kriging believer").

        Source:
            Ginsbourger et al., "Kriging is well-suited to parallelize optimization", 2010.
        """
        if len(inputs_pd) == 0:
            return self
        mean_p, _ = self.predict(inputs_pd)
        return self.conditioned(np.concatenate([self.inputs_nd, inputs_pd]), np.concatenate([self.targets_n, mean_p]))


def kernel(a_nd: np.ndarray, b_cd: np.ndarray, lengths_d: np.ndarray) -> np.ndarray:
    """(n, c) prior covariances of the function at n and c inputs."""
    a_nd, b_cd = a_nd / lengths_d, b_cd / lengths_d
    squares_nc = (a_nd**2).sum(axis=1)[:, None] + (b_cd**2).sum(axis=1) - 2 * a_nd @ b_cd.T
    return np.exp(-0.5 * np.maximum(squares_nc, 0.0))


def fit(inputs_nd: np.ndarray, targets_n: np.ndarray, *, rows: np.ndarray | None = None) -> GaussianProcess:
    """A process with maximum a posteriori hyper-parameters, conditioned on all observations.

    Args:
        inputs_nd: (n, d) in the unit cube.
        targets_n: (n,) with mean 0 and standard deviation 1.
        rows: Indices of the observations that hyper-parameters are fitted on; None is all. See `subset_of_data`.

    Returns:
        The process. If the optimiser fails, a warning says so and the hyper-parameters are those of the start.
    """
    d = inputs_nd.shape[1]
    fitted_nd, fitted_n = (inputs_nd, targets_n) if rows is None else (inputs_nd[rows], targets_n[rows])
    start = np.append(np.full(d, math.log(d) / 2 + START), NOISE_MEAN)
    bounds = [tuple(map(math.log, LENGTH_BOUNDS))] * d + [tuple(map(math.log, NOISE_BOUNDS))]
    optimum = minimize(_loss, start, (fitted_nd, fitted_n), jac=True, method="L-BFGS-B", bounds=bounds)
    if not np.isfinite(optimum.fun):
        warnings.warn(
            f"Gaussian process not fitted, its hyper-parameters are the default: {optimum.message}", stacklevel=2
        )
    theta = optimum.x if np.isfinite(optimum.fun) else start
    factor_nn, _ = _factored(theta, fitted_nd)
    return GaussianProcess(
        inputs_nd, targets_n, np.exp(theta[:-1]), math.exp(theta[-1]), _prior_mean(factor_nn, fitted_n)
    )


def _factored(theta: np.ndarray, inputs_nd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower Cholesky factor of the observations' covariance, and the (n, n) covariance without noise."""
    covariance_nn = kernel(inputs_nd, inputs_nd, np.exp(theta[:-1]))
    noisy_nn = covariance_nn + math.exp(theta[-1]) * np.eye(len(inputs_nd))
    return cho_factor(noisy_nn, lower=True, check_finite=False)[0], covariance_nn


def _prior_mean(factor_nn: np.ndarray, targets_n: np.ndarray) -> float:
    """The constant that makes the observations most likely, by generalised least squares."""
    ones_n = cho_solve((factor_nn, True), np.ones(len(targets_n)), check_finite=False)
    return float(ones_n @ targets_n / ones_n.sum())


def _loss(theta: np.ndarray, inputs_nd: np.ndarray, targets_n: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative log posterior of the logarithms of lengths and noise, and its gradient.

    Priors are densities of the lengths and of the noise themselves, as in BoTorch, hence the terms + theta. The prior
    mean is the best for each theta, so its derivative vanishes.
    """
    n, d = inputs_nd.shape
    factor_nn, covariance_nn = _factored(theta, inputs_nd)
    residual_n = targets_n - _prior_mean(factor_nn, targets_n)
    weights_n = cho_solve((factor_nn, True), residual_n, check_finite=False)
    slope_nn = cho_solve((factor_nn, True), np.eye(n), check_finite=False) - np.outer(weights_n, weights_n)

    mean = np.append(np.full(d, math.sqrt(2) + math.log(d) / 2), NOISE_MEAN)
    std = np.append(np.full(d, LENGTH_STD), NOISE_STD)
    z = (theta - mean) / std
    loss = 0.5 * residual_n @ weights_n + np.log(factor_nn.diagonal()).sum() + (0.5 * z**2 + theta).sum()

    # d loss / d log l_j = 1/2 sum_ab slope_ab k_ab (x_aj - x_bj)^2 / l_j^2, expanded into products of matrices.
    weighted_nn = slope_nn * covariance_nn
    squares_d = weighted_nn.sum(axis=1) @ inputs_nd**2 - np.einsum("nd,nd->d", inputs_nd, weighted_nn @ inputs_nd)
    lengths = squares_d / np.exp(2 * theta[:-1])
    noise = 0.5 * slope_nn.trace() * math.exp(theta[-1])
    return float(loss), np.append(lengths, noise) + z / std + 1


def subset_of_data(front_n: np.ndarray, order_n: np.ndarray) -> np.ndarray:
    """Indices of at most `FITTED` observations: the front, and others evenly spread over an objective.

    Args:
        front_n: (n,) which observations are on the front.
        order_n: (n,) values to spread over, e.g. costs.

    Returns:
        Ascending indices. The same arguments give the same indices.
    """
    if len(front_n) <= FITTED:
        return np.arange(len(front_n))
    front = _evenly(np.flatnonzero(front_n)[np.argsort(order_n[front_n], kind="stable")], FITTED // 2)
    others = np.setdiff1d(np.argsort(order_n, kind="stable"), front, assume_unique=True)
    return np.sort(np.concatenate([front, _evenly(others, FITTED - len(front))]))


def _evenly(items: np.ndarray, count: int) -> np.ndarray:
    return items if len(items) <= count else items[np.linspace(0, len(items) - 1, count).astype(int)]
