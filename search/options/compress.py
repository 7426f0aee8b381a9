"""The options of `plm-supernet compress` (conf/compress.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from search.options.limits import Limits
from supernet.runtime.errors import UserError


@dataclass(frozen=True)
class CompressConfig(Limits):
    """The budget of the small model. The options of the stages are given beside it.

    Three stages: train a supernet; search it; choose the sub-network that fits the budget, finish it and export it. A
    stage that is done is skipped, and one that was interrupted resumes: give the same command again.

    A limit is an upper bound: the chosen sub-network may be much smaller. With max_error_increase the cheapest
    sub-network within all limits is chosen, without it the most accurate.

    The search minimises the error and what the budget limits; for max_error_increase alone, the error and the
    encoder's parameters. Some options have other defaults than in the commands of the stages: experiment=best in train
    and in export (which finishes the sub-network), max_evaluations=60, and formats=[onnx,int8] if the extra [onnx] is
    installed. If only the latency is limited: searcher=nsga2. workload.length is task.max_length, at most 128.
    With debug=fast the search has its 5 evaluations.

    Attributes:
        name: Name of the export folder. null: a name made from the supernet and the sub-network.
    """

    name: str | None = None

    def __post_init__(self) -> None:
        if not self.limits:
            raise UserError("no budget is given; for example max_params=0.5 or max_error_increase=0.01 (--help: all)")
        super().__post_init__()
