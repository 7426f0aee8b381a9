"""Strategies: which sub-networks a training step trains, and what each of them learns from.

A strategy is a row of the table `RULES`. All strategies share the code of the passes (`supernet.training.gradients`).
This module imports no torch.

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
"""Most random sub-networks in a step, which then takes minutes."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass of a step.

    Attributes:
        kind: One of `KINDS`.
        subnet: The sub-network to train.
        distils: Whether it also learns from the teacher, besides the labels.
        weight: Weight of its loss.
        label_weight: Weight of the labels in its loss.
    """

    kind: str
    subnet: SubNetwork
    distils: bool = False
    weight: float = 1.0
    label_weight: float = 1.0


@dataclass(frozen=True)
class Strategy:
    """Which sub-networks each training step trains, and what they learn from.

    Attributes:
        name: Name of the strategy, a key of `RULES`.
        k: Number of random sub-networks in a step, for the strategies that draw any.
        subnet_weight: Weight of the loss of each sub-network. The full model has weight 1.
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
        """The passes of one step. The full model's pass comes first, if there is one.

        Args:
            space: The search space.
            draw: Draws a random sub-network. Every strategy calls it k times, even if it needs none, so that the same
                seed gives the same sub-networks with every strategy.
            ramp: Whether the strategies random_linear and kd train random sub-networks in this step. Otherwise they
                train the full model.
        """
        rule = RULES[self.name]
        random = [Pass(RANDOM, draw(), rule.distils, self.subnet_weight) for _ in range(self.k)]
        ends = [Pass(LARGEST, space.largest), Pass(SMALLEST, space.smallest, rule.distils, self.subnet_weight)]
        return rule.choose(ends, random, ramp)


@dataclass(frozen=True)
class _Rule:
    """Chooses the passes of a step: from [largest, smallest], the random ones, and `ramp`."""

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


# In random_linear and kd the probability of random sub-networks rises from 0 to 1 over the training.
RULES: dict[str, _Rule] = {
    "standard": _Rule(_standard),
    "random": _Rule(_random, least_k=1),
    "random_linear": _Rule(_random_linear, least_k=1),
    "sandwich": _Rule(_sandwich),
    "kd": _Rule(_random_linear, distils=True, least_k=1),
    "full": _Rule(_sandwich, distils=True),
}
