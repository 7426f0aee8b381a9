"""Synthetic objectives for the tests of the searchers: smooth errors and a cost by formula."""

from __future__ import annotations

import math

from search.options.searchers import searcher_options
from search.pareto import hypervolume
from search.searchers.schedulers import AskTell, make_scheduler
from supernet.space.base import SearchSpace
from supernet.space.spaces import LayerSpace, MediumSpace, NativeSpace, SmallSpace
from supernet.space.subnetwork import SubNetwork

SMALL = SmallSpace(layers=12, heads=12, units=3072)
MEDIUM = MediumSpace(layers=3, heads=12, units=1536)
LAYER = LayerSpace(layers=6, heads=12, units=3072)
NATIVE = NativeSpace(layers=4, heads=12, units=3072)
COLLIDING = SmallSpace(layers=1, heads=2, units=3)  # 12 vectors, 7 sub-networks: widths do not matter at 0 layers

METRICS = ("error", "cost")


def cost_of(space: SearchSpace, subnet: SubNetwork) -> float:
    """Share of the parameters, a third of them in the heads."""
    return sum(len(s.heads) / space.heads + 2 * len(s.units) / space.units for s in subnet.layers) / (3 * space.layers)


def smooth(space: SearchSpace, subnet: SubNetwork) -> dict[str, float]:
    """The more layers and the wider, the better."""
    quality = 0.0
    for s in subnet.layers:
        heads, units = len(s.heads) / space.heads, len(s.units) / space.units
        quality += (1 + (s.index == 0)) * (2 - math.exp(-5 * heads) - math.exp(-6 * units)) / (space.layers + 1)
    return {"error": 0.15 + 0.4 * math.exp(-2 * quality), "cost": cost_of(space, subnet)}


def searcher(
    name: str, space: SearchSpace = SMALL, *, seed: int = 0, metrics: tuple[str, ...] = METRICS, **settings: object
) -> AskTell:
    """A new search."""
    known = {"cost": lambda subnet: cost_of(space, subnet)}
    options = searcher_options(name, **settings)
    return AskTell(make_scheduler(name, space, metrics=metrics, seed=seed, known=known, options=options), space)


Trials = list[tuple[SubNetwork, dict[str, float]]]


def search(asked: AskTell, space: SearchSpace, trials: int) -> Trials:
    """Asks and tells; stops early where the space is exhausted."""
    done = []
    while len(done) < trials and (subnet := asked.ask()) is not None:
        done.append((subnet, smooth(space, subnet)))
        asked.tell(*done[-1])
    return done


def volume(done: Trials) -> float:
    """Hypervolume to (1, 1)."""
    return hypervolume([[values["error"], values["cost"]] for _, values in done], (1, 1))
