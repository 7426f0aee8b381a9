"""The options of each searcher: `searcher=morea searcher.population=20`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from supernet.runtime.errors import UserError, at_least

MOASHA = "moasha"
"""A searcher that stops trainings early; the others are the keys of `search.searchers.table.SEARCHERS`."""


@dataclass(frozen=True)
class SearcherOptions:
    """Which searcher proposes sub-networks. Most searchers have no further options.

    Attributes:
        name: Name of the searcher.
    """

    name: str

    def identity(self) -> dict[str, Any]:
        """These options, and those of all other searchers at their defaults.

        Run folders are named after a digest of these values. In older versions all searchers shared one set of options,
        and the names of their run folders must stay.
        """
        return {"name": self.name} | _SHARED | asdict(self)


@dataclass(frozen=True)
class PhasedOptions(SearcherOptions):
    """Options of the searchers that learn from results.

    Attributes:
        first_phase: Number of sub-networks to try in the supernet's own space before a larger space is searched. Only
            with space=null.
    """

    first_phase: int = 30

    def __post_init__(self) -> None:
        at_least("searcher.first_phase", self.first_phase, 1)


@dataclass(frozen=True)
class EhviOptions(PhasedOptions):
    """Options of ehvi.

    Attributes:
        known_cost: true: compute the costs that have a formula, and model the other objectives. false: model all.
    """

    known_cost: bool = True


@dataclass(frozen=True)
class Nsga2Options(PhasedOptions):
    """Options of nsga2.

    Attributes:
        population: Number of sub-networks that parents are taken from.
    """

    population: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("searcher.population", self.population, 2)


@dataclass(frozen=True)
class MoreaOptions(Nsga2Options):
    """Options of morea.

    Attributes:
        sample_size: Number of members of the population that compete to be the parent.
    """

    sample_size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.sample_size <= self.population:
            raise UserError(
                f"searcher.sample_size is {self.sample_size}; it must be from 1 to searcher.population "
                f"({self.population})"
            )


@dataclass(frozen=True)
class MoashaOptions(SearcherOptions):
    """Options of moasha.

    Attributes:
        grace: Number of reports of a training before it may be stopped.
        reduction_factor: At each rung, the best 1/reduction_factor of the trainings continue, to reduction_factor times
            as many reports.
    """

    grace: int = 1
    reduction_factor: float = 3.0

    def __post_init__(self) -> None:
        at_least("searcher.grace", self.grace, 1)
        if not 1 < self.reduction_factor < math.inf:
            raise UserError(f"searcher.reduction_factor is {self.reduction_factor}; it must be greater than 1")


SEARCHER_OPTIONS: Mapping[str, type[SearcherOptions]] = {
    "ehvi": EhviOptions,
    "local_search": PhasedOptions,
    "morea": MoreaOptions,
    "nsga2": Nsga2Options,
    "random_scalarization": PhasedOptions,
    MOASHA: MoashaOptions,
}
"""The searchers that have options of their own."""

_SHARED = {"known_cost": True, "population": 10, "sample_size": 5, "grace": 1, "reduction_factor": 3.0}
"""The options that all searchers shared, with the defaults of then."""


def searcher_options(name: str, **values: Any) -> SearcherOptions:
    """The options of a searcher; those that are not given have their defaults.

    Raises:
        TypeError: if the searcher has no such option.
        UserError: if a value is impossible.
    """
    return SEARCHER_OPTIONS.get(name, SearcherOptions)(name, **values)
