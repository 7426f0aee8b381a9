"""Latencies predicted by a latency table against measured latencies of whole sub-networks.

usage: python benchmarks/latency.py [--batch 1] [--length 128] [--subnets 50] [--processor-time]

Builds the table of minilm, and measures random sub-networks of the small and medium spaces (stratified by parameters)
in the same turns. All numbers are medians of repeated runs. On a machine with other work, use --processor-time with
OMP_NUM_THREADS=1: it counts the processor time of this process instead of the elapsed time. Last line: one JSON object.
Errors are absolute, as shares of the measured latency.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
import torch

from benchmarks.common import device_name, minilm
from supernet.evaluation.latency_table import prediction_errors
from supernet.evaluation.table_building import build_table
from supernet.models.families import architecture_of
from supernet.space.cost import Architecture, Workload
from supernet.space.sampling import stratified
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import SubNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--subnets", type=int, default=50)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--processor-time", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    workload, device = Workload(arguments.batch, arguments.length), "cuda" if torch.cuda.is_available() else "cpu"

    model = minilm()[0].to(device)
    subnets = random_subnets(architecture_of(model.config), arguments.subnets)
    start = time.perf_counter()
    table, timings = build_table(model, workload, device=device, check=subnets, turns=arguments.turns, clock=clock)
    seconds = time.perf_counter() - start
    errors_n = prediction_errors(table, subnets, timings)

    for subnet, timing, error in zip(subnets, timings, errors_n, strict=True):
        print(
            f"{subnet!s:36} predicted {table.predict(subnet):7.2f} ms   measured {timing.median_ms:7.2f} "
            f"({timing.low_ms:.2f} to {timing.high_ms:.2f}, {timing.repeats} runs)   error {error:+.1%}"
        )
    print(f"{device_name(device)}; batch {workload.batch_size}, {workload.length} tokens, {clock.__name__}")
    median, ninety, worst = np.quantile(np.abs(errors_n), (0.5, 0.9, 1)).round(4).tolist()
    measured_n = np.array([timing.median_ms for timing in timings])
    print(
        json.dumps(
            {
                "median_error": median,
                "error_90": ninety,
                "worst_error": worst,
                "mean_signed_error": round(float(errors_n.mean()), 4),
                "correlation": round(float(np.corrcoef(measured_n, measured_n * (1 + errors_n))[0, 1]), 4),
                "subnets": len(subnets),
                "seconds": round(seconds, 1),
            }
        )
    )


def random_subnets(a: Architecture, count: int) -> list[SubNetwork]:
    """Random sub-networks, half from the small space and half from the medium space."""
    sizes = {"layers": a.layers, "heads": a.heads, "units": a.units}
    spaces = [search_space(SpaceOptions(name), **sizes) for name in ("small", "medium")]
    rng = np.random.default_rng(0)
    return [stratified(spaces[n % 2], a, rng) for n in range(count)]


if __name__ == "__main__":
    main()
