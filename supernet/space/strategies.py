"""What one training step does: which sub-networks it trains, and what each of them learns from.

Every strategy is one row of a table over one shared step, so the passes of all of them are the same code
(`supernet.training.gradients`). This module imports no torch.

Source of the strategies: Klein et al., "Structural Pruning of Pre-trained Language Models via Neural Architecture
Search", TMLR 2024; sandwich rule: Yu & Huang, "Universally Slimmable Networks and Improved Training Techniques", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from supernet.runtime.errors import UserError, unknown
from supernet.space.base import SearchSpace
from supernet.space.subnetwork import SubNetwork

LARGEST, SMALLEST, RANDOM = KINDS = ("largest", "smallest", "random")
"""Kinds of sub-network in a step."""

MOST_RANDOM = 1000
"""Random sub-networks in a step; with as many, one takes minutes."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        kind: One of `KINDS`.
        subnet: What is trained.
        distils: Whether it learns from the teacher too, and not from the labels alone.
        weight: Of its loss.
    """

    kind: str
    subnet: SubNetwork
    distils: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class Strategy:
    """How a supernet is trained.

    Attributes:
        name: A key of `RULES`.
        k: Random sub-networks per step (those strategies that draw any).
        subnet_weight: Weight of the loss of each sub-network but the full one, whose weight is 1.
    """

    name: str
    k: int = 2
    subnet_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise unknown("strategy", self.name, RULES)
        if self.k < RULES[self.name].least_k:
            least = RULES[self.name].least_k
            raise UserError(f"strategy.k is {self.k}; it must be {least} or more: random sub-networks per step")
        if self.k > MOST_RANDOM:
            raise UserError(f"strategy.k is {self.k}; it must be {MOST_RANDOM} or less: random sub-networks per step")
        if not 0 < self.subnet_weight < math.inf:
            raise UserError(f"strategy.subnet_weight is {self.subnet_weight}; it must be a number greater than 0")

    @property
    def distils(self) -> bool:
        """Whether the smaller sub-networks also learn from a teacher's predictions."""
        return RULES[self.name].distils

    def passes(self, space: SearchSpace, draw: Callable[[], SubNetwork], *, ramp: bool = False) -> list[Pass]:
        """The passes of one step; the full net's, if there is one, comes first.

        Args:
            space: For the largest and the smallest sub-network.
            draw: Draws a random one. Called k times in every strategy, needed or not, so that the same seed gives the
                same sub-networks in all of them.
            ramp: Whether those strategies that go over from the full net to random sub-networks train the latter.
        """
        rule = RULES[self.name]
        random = [Pass(RANDOM, draw(), rule.distils, self.subnet_weight) for _ in range(self.k)]
        ends = [Pass(LARGEST, space.largest), Pass(SMALLEST, space.smallest, rule.distils, self.subnet_weight)]
        return rule.choose(ends, random, ramp)


@dataclass(frozen=True)
class _Rule:
    """Which passes a step has: `choose` gets [the largest, the smallest], the random ones, and `ramp`."""

    choose: Callable[[list[Pass], list[Pass], bool], list[Pass]]
    distils: bool = False
    least_k: int = 0


def _standard(ends: list[Pass], random: list[Pass], ramp: bool) -> list[Pass]:
    return ends[:1]


def _random(ends: list[Pass], random: list[Pass], ramp: bool) -> list[Pass]:
    return random


def _random_linear(ends: list[Pass], random: list[Pass], ramp: bool) -> list[Pass]:
    return random if ramp else ends[:1]


def _sandwich(ends: list[Pass], random: list[Pass], ramp: bool) -> list[Pass]:
    return ends + random


# random_linear and kd train random sub-networks with a probability that rises from 0 to 1 over the training.
RULES: dict[str, _Rule] = {
    "standard": _Rule(_standard),
    "random": _Rule(_random, least_k=1),
    "random_linear": _Rule(_random_linear, least_k=1),
    "sandwich": _Rule(_sandwich),
    "kd": _Rule(_random_linear, distils=True, least_k=1),
    "full": _Rule(_sandwich, distils=True),
}
