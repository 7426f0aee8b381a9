"""A budget: limits on the costs of a sub-network and on its error."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from supernet.runtime.errors import UserError

COUNTS = ("params", "total_params", "flops")
"""Costs that are never 1 or less. Such a limit is a share of the full model's."""


@dataclass(frozen=True)
class RunOption:
    """The run whose results are candidates.

    Attributes:
        run: Folder of a run. null: the newest in OUTPUT_DIR/search.
    """

    run: str | None = None


@dataclass(frozen=True)
class Limits:
    """Upper bounds of a choice.

    Attributes:
        max_params: Encoder parameters. Up to 1 it is a share of the full model's, above 1 a number.
        max_total_params: All parameters. Up to 1 it is a share of the full model's, above 1 a number.
        max_flops: Operations per text. Up to 1 it is a share of the full model's, above 1 a number.
        max_latency_ms: Latency in milliseconds, or a percentage of the full model's such as 50%.
        max_memory_mb: Memory of a forward pass in megabytes, or a percentage of the full model's.
        max_size_mb: Size on disk in megabytes, or a percentage of the full model's.
        max_error_increase: How much the validation error may exceed the full model's, for example 0.01.
    """

    max_params: str | None = None
    max_total_params: str | None = None
    max_flops: str | None = None
    max_latency_ms: str | None = None
    max_memory_mb: str | None = None
    max_size_mb: str | None = None
    max_error_increase: float | None = None

    def __post_init__(self) -> None:
        if self.max_error_increase is not None and not 0 <= self.max_error_increase < math.inf:
            raise UserError(f"max_error_increase is {self.max_error_increase}; it must be 0 or more, for example 0.01")
        for name, text in self.budgets.items():
            parse_limit(name, text)

    @property
    def budgets(self) -> dict[str, str]:
        """The limits given on costs, by the name of the cost."""
        return {key.removeprefix("max_"): value for key, value in self.limits.items() if isinstance(value, str)}

    @property
    def limits(self) -> dict[str, str | float]:
        """All limits given, as they were typed, by their keys."""
        values = {option.name: getattr(self, option.name) for option in fields(Limits)}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def objectives(self) -> list[str]:
        """What a search for this budget minimises: the error, and the costs that have a limit, else the parameters."""
        return ["error", *(self.budgets or ("params",))]

    @property
    def searcher(self) -> str:
        """The searcher for this budget that needs no extra: ehvi needs BoTorch unless a cost has a formula."""
        return "nsga2" if self.objectives == ["error", "latency_ms"] else "ehvi"


def parse_limit(name: str, text: str) -> tuple[float, bool]:
    """A limit and whether it is a share of the full model's: "50%" always, for counts also a number up to 1.

    Raises:
        UserError: if it is no positive number.
    """
    percent = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(
            f"max_{name} is '{text}'; it must be a positive number in the unit of its name, or a percentage of the "
            "full model's such as 50%"
        )
    return value, percent or (name in COUNTS and value <= 1)
