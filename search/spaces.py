"""Where a search looks: one space, or first the supernet's own and then a larger one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.options.search import SearchConfig
from search.report.front import front_of
from search.run_folder import read_run
from search.searchers.phases import FirstPhase
from supernet.artifact import Supernet
from supernet.console.choices import choice_of, groups_of, values_in
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.storage import user_path
from supernet.space.base import SearchSpace
from supernet.space.ranked import Ranking
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import SubNetwork

RANKED = {"ranked": 1, "ranked8": 8, "ranked64": 64}
"""Spaces for searching alone: by name, the units in a multiple."""

WIDENED = ("small", "medium")
"""Spaces of the first heads and units of each layer. After them, a ranked space is searched."""

FINEST = 8
"""Most units in a multiple of that space. Pruning leaves some layers few units."""


@dataclass(frozen=True)
class Searched:
    """The sub-networks that a search may try.

    Attributes:
        space: All of them.
        label: The name of the space, for people.
        first: The phase that comes first, in the supernet's own space; None if there is one phase.
        starts: Those that are tried first.
        ranking: Of the heads and units, if the space needs it.
    """

    space: SearchSpace
    label: str
    first: FirstPhase | None = None
    starts: tuple[SubNetwork, ...] = ()
    ranking: Ranking | None = None


def searched_spaces(config: SearchConfig, supernet: Supernet, ranking: Callable[[int], Ranking]) -> Searched:
    """Where a search of a supernet looks.

    Args:
        config: The options.
        supernet: What is searched.
        ranking: Ranks its heads and units, for a number of units in a multiple. Called only for a space that needs it.

    Raises:
        UserError: if there is no space of that name, if it neither contains the supernet's own space nor lies within
            it, or if the starts are another supernet's or not in the space.
    """
    searched = _searched(config, supernet, ranking)
    return replace(searched, starts=(*searched.starts, *_starts(config.starts, supernet, searched)))


def _searched(config: SearchConfig, supernet: Supernet, ranking: Callable[[int], Ranking]) -> Searched:
    own, label = supernet.space, choice_of("space", supernet.info.space)
    if config.space in RANKED:
        return _ranked(supernet, ranking(RANKED[config.space]))
    if config.space is not None:
        return Searched(_named(config.space, supernet), config.space)
    if config.first_phase is None or supernet.info.space.name not in WIDENED:
        return Searched(own, label)
    then = _ranked(supernet, ranking(math.gcd(FINEST, supernet.info.space.multiple_of)))
    return replace(then, label=f"{label}, then {then.label}", first=FirstPhase(own, config.first_phase))


def _ranked(supernet: Supernet, ranking: Ranking) -> Searched:
    sizes = supernet.space.sizes
    label = f"ranked{ranking.multiple_of if ranking.multiple_of > 1 else ''}"
    return Searched(ranking.space(sizes), label, starts=tuple(ranking.subnets(sizes)), ranking=ranking)


def _starts(folders: Sequence[str], supernet: Supernet, searched: Searched) -> tuple[SubNetwork, ...]:
    """The fronts of other runs, each sub-network once."""
    found: dict[SubNetwork, None] = {}
    for folder in folders:
        run = read_run(user_path(folder))
        if run.info.weights != supernet.weights:
            raise UserError(
                f"starts: {folder} searched another supernet: the digest of its weights is {run.info.weights}, not "
                f"{supernet.weights}; name runs of this supernet"
            )
        for subnet in (e.subnet for e in front_of(run)):
            if subnet not in searched.space:
                raise UserError(
                    f"starts: ({subnet}) on the front of {folder} is not in space {searched.label}; give a larger "
                    "one: space=medium64, large64 or large"
                )
            found[subnet] = None
    return tuple(found)


def check_space_name(name: str) -> None:
    """Checks that there is such a space.

    Raises:
        UserError: if not.
    """
    names = [*groups_of("train")["space"], *RANKED]
    if name not in names:
        raise unknown("space", name, names)


def _named(name: str, supernet: Supernet) -> SearchSpace:
    check_space_name(name)
    own, space = supernet.space, _space(SpaceOptions(**values_in(f"space/{name}.yaml")), supernet)
    if not space.includes(own) and not own.includes(space):
        raise UserError(
            f"space={name} neither contains the space that the supernet was trained in "
            f"({choice_of('space', supernet.info.space)}) nor lies within it, so its sub-networks were never trained; "
            "leave space out, or train a supernet with this space"
        )
    return space


def _space(options: SpaceOptions, supernet: Supernet) -> SearchSpace:
    layers, heads, units = (getattr(supernet.space.sizes, name) for name in ("layers", "heads", "units"))
    scores = supernet.info.layer_importance
    return search_space(options, layers=layers, heads=heads, units=units, layer_importance=scores)
