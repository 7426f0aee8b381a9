"""The options of `plm-supernet select` (conf/select.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from search.options.limits import Limits, RunOption
from supernet.runtime.errors import UserError, one_of

FORMATS = ("text", "json")


@dataclass(frozen=True)
class SelectConfig(Limits, RunOption):
    """What to select.

    Limits can be combined. With max_error_increase the cheapest sub-network within all limits is chosen, by the run's
    last cost objective. Without it the most accurate sub-network is chosen. If no sub-network is within the limits, the
    error names the nearest, and the exit status is 1.

    A limit is an upper bound: the chosen sub-network may be much smaller, and the output says by how much. The output
    also shows the full model, the trivial predictor, and the smallest and the largest sub-network within the limits
    that are as good. As good means: the answers to the validation rows do not tell it from the best one. The truly best
    one is among these with a probability of 90 %. The metric on test rows is shown where it is known. It decides
    nothing.

    Limits are numbers, or percentages of the full model's value: max_latency_ms=50%. A run knows only its
    objectives and the numbers of parameters.

    Attributes:
        format: text or json.
        output_dir: Folder of all runs.
    """

    format: str = "text"
    output_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("format", self.format, FORMATS)
        if not self.limits:
            raise UserError("no budget is given; for example max_params=0.5 or max_error_increase=0.01 (--help: all)")
        super().__post_init__()
