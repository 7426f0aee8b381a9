"""How important each head and unit is for the task, measured on training data, and a model in that order.

A prefix of heads or units is what most sub-networks keep; ordered by importance, a prefix keeps the best. The order
changes nothing in what the full model computes. L layers, N heads, F units, S sequences, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.errors import UserError, unknown

ORDERS = ("none", "importance")


@dataclass(frozen=True)
class OrderOptions:
    """How heads and units are ordered before training.

    Attributes:
        name: none: as they come. importance: by scores on training rows.
        batches: Training batches that the scores are measured on.
    """

    name: str = "none"
    batches: int = 32

    def __post_init__(self) -> None:
        if self.name not in ORDERS:
            raise unknown("order", self.name, ORDERS)
        if self.batches < 1:
            raise UserError(f"order.batches is {self.batches}; it must be 1 or more training batches")
