"""The options of `plm-supernet profile` (conf/profile.yaml)."""

from __future__ import annotations

from dataclasses import dataclass, field

from supernet.runtime.errors import MAX_SEED, at_least, one_of, within
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.space.cost import Workload


@dataclass(frozen=True)
class ProfileConfig:
    """What to measure.

    The table says how long each block of the supernet takes on this device. The latency of any sub-network is the sum
    of its blocks. A search uses it with objectives=[error,latency_ms] latency_table=FILE. Set OMP_NUM_THREADS to the
    number of threads that the search will have: it refuses a table of another number.

    Attributes:
        supernet: Folder of a trained supernet. null: the newest one in OUTPUT_DIR/train.
        workload: The batch that latencies are measured on.
        mixed_precision: auto, fp32, bf16 or fp16. auto: bf16 on a GPU that has it, else fp32.
        check_subnets: Number of random sub-networks whose computed latency is compared with the measured one. 0: none.
        turns: How often each block is measured, at most.
        seed: Seed of the random sub-networks.
        output: File to write. null: latency-DEVICE-BATCHxLENGTH.json in the supernet's folder.
        output_dir: Folder of all runs.
    """

    supernet: str | None = None
    workload: Workload = field(default_factory=Workload)
    mixed_precision: str = AUTO
    check_subnets: int = 20
    turns: int = 20
    seed: int = 0
    output: str | None = None
    output_dir: str = "runs"

    def __post_init__(self) -> None:
        one_of("mixed_precision", self.mixed_precision, (AUTO, *PRECISIONS))
        at_least("check_subnets", self.check_subnets, 0)
        at_least("turns", self.turns, 1)
        within("seed", self.seed, 0, MAX_SEED)
