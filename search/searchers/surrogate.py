"""Predictions for sub-networks that are not evaluated yet: a formula or a Gaussian process for each objective.

Computed in double precision. Inputs are in the unit cube. Objectives are minimised, and scaled so that 0 is the best
observed value and 1 the worst. Pending sub-networks count as observed at their predicted values, so several proposals
before the next result form a batch. Kernels and their sources: `search.searchers.gp`.

Shape letters: n observations, p pending, f = n + p both, m objectives, k of them known, c candidates, d entries of a
vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from search.pareto import pareto_front
from search.searchers.gp import GaussianProcess, fit, subset_of_data
from search.searchers.history import History
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

Formulas: TypeAlias = Mapping[int, Callable[[SubNetwork], float]]
"""Formulas of the known objectives, by column, in the units of the results."""

WARP = 20.0
"""Strength of the logarithmic scale of the inputs: the first twentieth of a width fills a quarter of the scale."""


@dataclass(frozen=True)
class Surrogate:
    """A distribution over the objectives of each sub-network.

    Attributes:
        space: Where the sub-networks come from.
        formulas: Those of the known objectives, in the order of the columns.
        models: Processes of the other objectives, by column; standardised, not scaled.
        vectors_fd: (f, d) integers: sub-networks with results, in the order of the vectors, then the pending.
        objectives_fm: (f, m) their scaled objectives, observed or, if pending, predicted.
        lowest_m, extent_m: (m,) the best observed value, and the worst minus the best; 1 if they are equal.
        centre_m, spread_m: (m,) mean and standard deviation of the scaled observations; the latter 1 if all are equal.
        with_size: See `of`.
    """

    space: SearchSpace
    formulas: Formulas
    models: Mapping[int, GaussianProcess]
    vectors_fd: np.ndarray
    objectives_fm: np.ndarray
    lowest_m: np.ndarray
    extent_m: np.ndarray
    centre_m: np.ndarray
    spread_m: np.ndarray
    with_size: bool

    @classmethod
    def of(cls, history: History, formulas: Formulas, *, with_size: bool = True) -> Surrogate:
        """Makes a surrogate from a history with at least one result.

        Args:
            history: The results so far.
            formulas: Those of the known objectives; may be empty.
            with_size: Whether the models get the known objectives and the mean of the entries as inputs, besides the
                entries of a vector. Errors depend mainly on the total size, and a little on each entry.

        Raises:
            ValueError: if a formula contradicts an observation.
        """
        space, (subnets, vectors_nd, objectives_nm) = history.space, history.sorted()
        n, m = objectives_nm.shape
        pending = sorted(history.pending, key=space.encode)
        vectors_fd = np.array([*vectors_nd.tolist(), *map(space.encode, pending)])
        known_fk = formula_values(formulas, [*subnets, *pending])
        columns = sorted(formulas)
        _check(known_fk[:n], objectives_nm[:, columns])

        lowest_m, extent_m = objectives_nm.min(axis=0), np.ptp(objectives_nm, axis=0)
        differ_m = extent_m > 1e-12 * np.abs(objectives_nm).max(axis=0)
        extent_m = np.where(differ_m, extent_m, 1.0)
        centre_m = (objectives_nm.mean(axis=0) - lowest_m) / extent_m
        spread_m = np.where(differ_m, objectives_nm.std(axis=0), 1.0) / extent_m
        objectives_fm = np.empty((len(vectors_fd), m))
        objectives_fm[:, columns] = (known_fk - lowest_m[columns]) / extent_m[columns]
        inputs_fd = _inputs(space, vectors_fd, objectives_fm[:, columns], with_size=with_size)
        rows = subset_of_data(pareto_front(objectives_nm), objectives_nm[:, -1])
        models = {}
        for i in (i for i in range(m) if i not in formulas):
            model = fit(inputs_fd[:n], standardised(objectives_nm[:, i]), rows=rows).with_pending(inputs_fd[n:])
            models[i], objectives_fm[:, i] = model, centre_m[i] + spread_m[i] * model.targets_n
        ordered = {i: formulas[i] for i in columns}
        return cls(space, ordered, models, vectors_fd, objectives_fm, lowest_m, extent_m, centre_m, spread_m, with_size)

    @property
    def front_fd(self) -> np.ndarray:
        """The vectors on the front."""
        return self.vectors_fd[pareto_front(self.objectives_fm)]

    def predict(self, vectors_cd: np.ndarray, subnets: Sequence[SubNetwork]) -> tuple[np.ndarray, np.ndarray]:
        """(c, m) means and (c, m) standard deviations of the scaled objectives; 0 for known objectives.

        Args:
            vectors_cd: (c, d) integers.
            subnets: Their c sub-networks; not used if there is no formula.
        """
        columns = list(self.formulas)
        mean_cm = np.empty((len(vectors_cd), len(self.lowest_m)))
        std_cm = np.zeros_like(mean_cm)
        if columns:
            known_ck = formula_values(self.formulas, subnets)
            mean_cm[:, columns] = (known_ck - self.lowest_m[columns]) / self.extent_m[columns]
        inputs_cd = _inputs(self.space, vectors_cd, mean_cm[:, columns], with_size=self.with_size)
        for i, model in self.models.items():
            mean_c, std_c = model.predict(inputs_cd)
            mean_cm[:, i], std_cm[:, i] = self.centre_m[i] + self.spread_m[i] * mean_c, self.spread_m[i] * std_c
        return mean_cm, std_cm


def formula_values(formulas: Formulas, subnets: Sequence[SubNetwork]) -> np.ndarray:
    """(c, k) the known objectives of c sub-networks."""
    columns = [[formulas[i](subnet) for subnet in subnets] for i in sorted(formulas)]
    return np.array(columns, dtype=float).T if columns else np.empty((len(subnets), 0))


def warped(space: SearchSpace, vectors_cd: np.ndarray) -> np.ndarray:
    """(c, f) the features of vectors, from 0 to 1, on a logarithmic scale.

    Errors fall steeply with the first heads and units and hardly with the last, even more if the important ones come
    first. On a linear scale no single kernel length fits both ends. Bits do not change.

    Source:
        For warping inputs: Snoek et al., "Input warping for Bayesian optimization of non-stationary functions", ICML
        2014, where the form of the scale is learnt too.
    """
    return _log(space.features(vectors_cd))


def unwarped(space: SearchSpace, inputs_cd: np.ndarray) -> np.ndarray:
    """(c, d) the vectors nearest to some points of the warped cube: inverse of `warped`."""
    return space.lower + np.rint(np.expm1(inputs_cd * np.log1p(WARP)) / WARP * (space.upper - space.lower)).astype(int)


def _log(share: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1], and beyond 1, on a logarithmic scale from 0 to 1."""
    return np.log1p(WARP * np.maximum(share, 0.0)) / np.log1p(WARP)


def _inputs(space: SearchSpace, vectors_cd: np.ndarray, known_ck: np.ndarray, *, with_size: bool) -> np.ndarray:
    warped_cd = warped(space, vectors_cd)
    sizes = [_log(known_ck), warped_cd.mean(axis=1, keepdims=True)] if with_size else []
    return np.concatenate([warped_cd, *sizes], axis=1)


def standardised(values_n: np.ndarray) -> np.ndarray:
    """(n,) values with mean 0 and, unless they are all equal up to rounding, standard deviation 1."""
    centred_n, std = values_n - values_n.mean(), values_n.std()
    return centred_n / std if std > 1e-12 * np.abs(values_n).max() else np.zeros_like(values_n)


def _check(computed_nk: np.ndarray, observed_nk: np.ndarray) -> None:
    wrong = ~np.isclose(computed_nk, observed_nk, rtol=1e-6, atol=1e-9 * np.abs(observed_nk).max(initial=0.0))
    if wrong.any():
        computed, observed = computed_nk[wrong][0], observed_nk[wrong][0]
        raise ValueError(
            f"the formula gives {computed:g} for a sub-network that costs {observed:g}; are the units the same?"
        )
