"""Proposals that vary good sub-networks: local search, regularised evolution, NSGA-II.

Each is a function of the results so far and keeps no state: the population follows from the history.

Shape letters: n observations, m objectives, d entries of a vector, p population.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from pymoo.algorithms.moo.nsga2 import binary_tournament
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.mutation.pm import PM
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from search.pareto import pareto_front
from search.searchers.history import History
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

VARIATIONS = 100
"""Attempts at a new sub-network near the population. If none is new, as in a nearly exhausted space, a random
sub-network is taken."""

ETA = 3.0
"""Distribution index of crossover and mutation: larger keeps children closer to parents. pymoo's for integers."""


def local_search(history: History, rng: np.random.Generator) -> SubNetwork | None:
    """A member of the front with one entry changed (LS in the paper).

    Args:
        history: The results so far.
        rng: Of this trial.
    """
    if not history.results:
        return history.unseen_sample(rng)
    space, (subnets, objectives_nm) = history.space, history.by_cost()
    front = [subnets[i] for i in np.flatnonzero(pareto_front(objectives_nm, keep_equal=True))]

    def child() -> np.ndarray:
        return one_changed(space, np.array(space.encode(front[rng.integers(len(front))])), rng)

    return _first_new(history, rng, child)


def morea(history: History, rng: np.random.Generator, *, population: int, sample_size: int) -> SubNetwork | None:
    """Multi-objective regularised evolution (MO-REA in the paper): the best of some recent trials, one entry changed.

    The population is the latest trials, in the order of their results; members leave it by age, however good they are.
    `sample_size` members are drawn without replacement. Their member of lowest rank, among equals the least crowded in
    the population, is the parent. The first `population` trials are random.

    Args:
        history: The results so far. Byproducts are not members: they would push out the trials too early.
        rng: Of this trial.
        population: Number of members.
        sample_size: Number of members that compete to be the parent.

    Source:
        Real et al., "Regularized evolution for image classifier architecture search", AAAI 2019; the multi-objective
        version of the paper, with the ranks of Deb et al., 2002, in place of its epsilon-net.
    """
    members = [subnet for subnet in history.results if subnet not in history.byproducts][-population:]
    if history.trials < population or not members:
        return history.unseen_sample(rng)
    ranked = survivors_of(np.array([history.results[subnet] for subnet in members]), population, rng)

    def child() -> np.ndarray:
        sample = ranked[rng.choice(len(ranked), size=min(sample_size, len(ranked)), replace=False)]
        parent = min(sample, key=lambda member: (member.get("rank"), -member.get("crowding")))
        return one_changed(history.space, np.array(history.space.encode(members[parent.get("row")])), rng)

    return _first_new(history, rng, child)


def nsga2(history: History, rng: np.random.Generator, *, population: int) -> SubNetwork | None:
    """A child of two of the best sub-networks so far, by the operators of pymoo's NSGA-II.

    Steady-state: each result enters the population at once, not after a whole generation. So the survivors are the best
    of all results by rank and crowding. Parents win a binary tournament. Numbers of layers, heads and units are crossed
    and mutated as integers (SBX and polynomial mutation, rounded); single bits are exchanged and flipped. The first
    `population` trials are random.

    Args:
        history: The results so far.
        rng: Of this trial.
        population: Number of survivors.

    Source:
        Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE TEC 2002; steady: Durillo
        et al., "On the effect of the steady-state selection scheme in multi-objective genetic algorithms", EMO 2009.
    """
    if history.trials < population or len(history.results) < 2:
        return history.unseen_sample(rng)
    space, (subnets, objectives_nm) = history.space, history.by_cost()
    problem = PymooProblem(n_var=len(space.bounds), n_obj=objectives_nm.shape[1], xl=space.lower, xu=space.upper)
    survivors = survivors_of(objectives_nm, population, rng)
    survivors.set("X", np.array([space.encode(subnets[i]) for i in survivors.get("row")], dtype=float))
    tournament = SimpleNamespace(tournament_type="comp_by_dom_and_crowding", random_state=rng)

    def child() -> np.ndarray:
        parents = TournamentSelection(func_comp=binary_tournament).do(
            problem, survivors, n_select=1, n_parents=2, to_pop=False, algorithm=tournament, random_state=rng
        )
        children = SBX(prob=1.0, eta=ETA, n_offsprings=1, vtype=float).do(problem, survivors, parents, random_state=rng)
        crossed_d = np.rint(children.get("X")[0]).astype(int)
        return mutated(problem, crossed_d, rng)

    return _first_new(history, rng, child)


def survivors_of(objectives_nm: np.ndarray, count: int, rng: np.random.Generator) -> Population:
    """pymoo's population of the best by rank and, within the last front that fits, by crowding distance.

    Args:
        objectives_nm: (n, m) values, all minimised.
        count: Number of survivors; fewer if there are fewer rows.
        rng: For ties.

    Returns:
        Individuals with their "row" in the objectives, "rank" (from 0) and "crowding" distance.
    """
    # Only the fronts that survivors come from, since making individuals is slow.
    rows = np.concatenate(NonDominatedSorting().do(objectives_nm, n_stop_if_ranked=count))
    population = Population.new("F", objectives_nm[rows], "row", rows)
    problem = PymooProblem(n_var=1, n_obj=objectives_nm.shape[1])
    return RankAndCrowding().do(problem, population, n_survive=min(count, len(rows)), random_state=rng)


def one_changed(space: SearchSpace, vector_d: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(d,) the vector with another, uniformly drawn value in one entry; unchanged if no entry can change."""
    free = np.flatnonzero(space.upper > space.lower)
    if len(free) == 0:
        return vector_d
    entry = rng.choice(free)
    others = int(space.upper[entry] - space.lower[entry])
    value = space.lower[entry] + rng.integers(others)
    changed_d = vector_d.copy()
    changed_d[entry] = value + (value >= vector_d[entry])
    return changed_d


def mutated(problem: PymooProblem, vector_d: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(d,) the vector with about one entry changed, by any amount."""
    vector_1d = vector_d[None]
    integers = Population.new("X", vector_1d.astype(float))
    bits = Population.new("X", vector_1d > problem.xl)
    integers_d = np.rint(PM(prob=1.0, eta=ETA).do(problem, integers, random_state=rng).get("X")[0])
    bits_d = problem.xl + BitflipMutation().do(problem, bits, random_state=rng).get("X")[0]
    return np.where(problem.xu - problem.xl == 1, bits_d, integers_d).astype(int)


def _first_new(history: History, rng: np.random.Generator, child: Callable[[], np.ndarray]) -> SubNetwork | None:
    """The first unseen child; a random sub-network if no child is new."""
    children = (history.space.decode(child().tolist()) for _ in range(VARIATIONS))
    new = history.first_unseen(children)
    return history.unseen_sample(rng) if new is None else new
