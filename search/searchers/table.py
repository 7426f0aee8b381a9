"""The table of searchers: name -> how it proposes sub-networks (`history.Propose`), and which spaces it can search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from search.options.searchers import EhviOptions, MoreaOptions, Nsga2Options, SearcherOptions
from search.searchers.candidates import ENUMERABLE
from search.searchers.ehvi import propose_known_cost
from search.searchers.evolution import local_search, morea, nsga2
from search.searchers.exploration import GRID_POINTS, grid, grid_levels, random, relative_size, stratified_random
from search.searchers.history import Propose
from search.searchers.scalarization import random_scalarization
from supernet.runtime.errors import UserError
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

MODEL_DIMENSIONS = 256
"""With more dimensions, a Gaussian process on at most hundreds of observations predicts nothing useful."""

CANDIDATE_ENTRIES = 4096
"""With more entries in a vector, a thousand candidates take seconds."""

BOTORCH = ("botorch", "gpytorch", "linear_operator")
"""Packages of the extra."""

Formula = Callable[[SubNetwork], float]
Options = TypeVar("Options", bound=SearcherOptions)


@dataclass(frozen=True)
class Problem:
    """The arguments that a searcher is made from; see `make_scheduler`."""

    space: SearchSpace
    metrics: Sequence[str]
    seed: int
    known: Mapping[str, Formula] = field(default_factory=dict)
    options: SearcherOptions | None = None

    @property
    def formulas(self) -> dict[int, Formula]:
        """Formulas of the known objectives, by column."""
        return {i: self.known[name] for i, name in enumerate(self.metrics) if name in self.known}

    def options_as(self, kind: type[Options]) -> Options:
        """The searcher's options.

        Raises:
            TypeError: if they are another searcher's.
        """
        if not isinstance(self.options, kind):
            raise TypeError(f"{self.options} are not {kind.__name__}")
        return self.options


@dataclass(frozen=True)
class Searcher:
    """A row of `SEARCHERS`.

    Attributes:
        make: Makes the function that proposes sub-networks.
        refuses: Why it cannot search a space and what to do instead, for people; None if it can.
        learns: Whether its proposals depend on results.
        draws: Whether it makes random draws in a space, so that the seed has an influence.
    """

    make: Callable[[Problem], Propose]
    refuses: Callable[[SearchSpace], str | None] = lambda space: None
    learns: bool = True
    draws: Callable[[SearchSpace], bool] = lambda space: True


def _stratified_random(problem: Problem) -> Propose:
    size = problem.known.get("params", partial(relative_size, problem.space))
    return partial(stratified_random, seed=problem.seed, size=size)


def _morea(problem: Problem) -> Propose:
    options = problem.options_as(MoreaOptions)
    return partial(morea, population=options.population, sample_size=options.sample_size)


def _nsga2(problem: Problem) -> Propose:
    return partial(nsga2, population=problem.options_as(Nsga2Options).population)


def _ehvi(problem: Problem) -> Propose:
    """With known costs if any objective has a formula; plain if none has, or with known_cost=false."""
    if problem.formulas and problem.options_as(EhviOptions).known_cost:
        return partial(propose_known_cost, formulas=problem.formulas)
    return _plain_ehvi()


def _plain_ehvi() -> Propose:
    """The version that needs BoTorch, which is imported only here: it is an extra of the package.

    Raises:
        UserError: if BoTorch is not installed.
    """
    try:
        from search.searchers.ehvi_botorch import propose_plain
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BOTORCH:
            raise
        raise UserError(
            "searcher=ehvi needs BoTorch if searcher.known_cost is false or no objective is computed by a formula: "
            "pip install 'plm-supernet[botorch]', or take searcher=nsga2"
        ) from error
    return propose_plain


def _many_entries(space: SearchSpace) -> str | None:
    dimensions, entries = space.features(space.lower[None]).shape[1], len(space.bounds)
    if dimensions <= MODEL_DIMENSIONS and entries <= CANDIDATE_ENTRIES:
        return None
    if dimensions > MODEL_DIMENSIONS:
        limit = f"it models at most {MODEL_DIMENSIONS} dimensions, space {space.name} has {dimensions}"
    else:
        limit = f"it compares vectors of at most {CANDIDATE_ENTRIES} entries, space {space.name} has {entries}"
    return f"{limit}; use searcher=nsga2, morea or stratified_random, or space=small64, medium64 or large64"


def _many_points(space: SearchSpace) -> str | None:
    if grid_levels(space):
        return None
    return (
        f"two values of each of the {len(space.bounds)} dimensions of space {space.name} are more than "
        f"{GRID_POINTS} points; use searcher=stratified_random, or space=small or layer"
    )


SEARCHERS: dict[str, Searcher] = {
    "random": Searcher(lambda problem: random, learns=False),
    "stratified_random": Searcher(_stratified_random, learns=False),
    "grid": Searcher(
        lambda problem: partial(grid, seed=problem.seed),
        _many_points,
        learns=False,
    ),
    "local_search": Searcher(lambda problem: local_search),
    "morea": Searcher(_morea),
    "nsga2": Searcher(_nsga2),
    "ehvi": Searcher(
        _ehvi,
        _many_entries,
        draws=lambda space: space.size > ENUMERABLE,  # in smaller spaces it compares all sub-networks
    ),
    "random_scalarization": Searcher(
        lambda problem: partial(random_scalarization, formulas=problem.formulas),
        _many_entries,
    ),
}
