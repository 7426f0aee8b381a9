"""The options of `plm-supernet doctor` (conf/doctor.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, field

from search.options.limits import Limits
from supernet.runtime.errors import one_of
from supernet.space.cost import Workload

FORMATS = ("text", "json")


@dataclass(frozen=True)
class DoctorConfig(Limits):
    """What to look at.

    Alone, the command checks the machine: versions, processors, memory, disks, the hub. With options of a training it
    also checks that training: its sub-networks, whether a budget can be reached, memory, disk space, rows, and how long
    it takes. With -m it lists the trainings that a sweep would start. It starts none, and it fetches nothing.

    Limits say whether a budget can be reached in the search space at all, except max_error_increase, which only a
    search can tell. The exit status is 1 if there is a problem.

    Attributes:
        workload: The batch that FLOPs, latency and memory are stated for.
        supernet: Folder of a supernet whose rows to compare with those that are here now. null: all in
            OUTPUT_DIR/train.
        measure: Measure latencies and the time of training steps. false takes seconds only.
        format: text or json.
    """

    workload: Workload = field(default_factory=Workload)
    supernet: str | None = None
    measure: bool = True
    format: str = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("format", self.format, FORMATS)
