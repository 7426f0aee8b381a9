"""Where a search looks: one space, or first the supernet's own and then a larger one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.options.search import SearchConfig
from search.ranking import by_importance, ranked_space
from search.report.front import front_of
from search.run_folder import read_run
from search.searchers.phases import FirstPhase
from supernet.artifact import Supernet
from supernet.console.choices import choice_of, groups_of, values_in
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.storage import user_path
from supernet.space.base import SearchSpace
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import SubNetwork
from supernet.training.importance import Importance

RANKED = {"ranked": 1, "ranked64": 64}
"""Spaces for searching alone: by name, the units in a multiple."""

WIDENED = ("small", "medium")
"""Spaces of the first heads and units of each layer. After them, a ranked space is searched."""


@dataclass(frozen=True)
class Searched:
    """The sub-networks that a search may try.

    Attributes:
        space: All of them.
        label: The name of the space, for people.
        first: The phase that comes first, in the supernet's own space; None if there is one phase.
        starts: Those that are tried first.
        importance: Of the heads and units, if the space needs it.
    """

    space: SearchSpace
    label: str
    first: FirstPhase | None = None
    starts: tuple[SubNetwork, ...] = ()
    importance: Importance | None = None


def searched_spaces(config: SearchConfig, supernet: Supernet, importance: Callable[[], Importance]) -> Searched:
    """Where a search of a supernet looks.

    Args:
        config: The options.
        supernet: What is searched.
        importance: Measures the importance of its heads and units. Called only for a space that needs it.

    Raises:
        UserError: if there is no space of that name, if it neither contains the supernet's own space nor lies within
            it, or if the starts are another supernet's or not in the space.
    """
    own, label = supernet.space, choice_of("space", supernet.info.space)
    if config.space in RANKED:
        searched = _ranked(supernet, importance(), RANKED[config.space], config.space)
    elif config.space is not None:
        searched = Searched(_named(config.space, supernet), config.space)
    elif config.first_phase is not None and supernet.info.space.name in WIDENED:
        multiple_of = supernet.info.space.multiple_of
        name = f"{label}, then ranked{multiple_of if multiple_of > 1 else ''}"
        searched = replace(
            _ranked(supernet, importance(), multiple_of, name), first=FirstPhase(own, config.first_phase)
        )
    else:
        searched = Searched(own, label)
    return replace(searched, starts=(*searched.starts, *_starts(config.starts, supernet, searched)))


def _ranked(supernet: Supernet, importance: Importance, multiple_of: int, label: str) -> Searched:
    space = ranked_space(supernet, importance, multiple_of)
    starts = tuple(by_importance(supernet, importance, space))
    return Searched(space, label, starts=starts, importance=importance)


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
