"""Latencies of sub-networks with few to all layers, as a search measures them, on a quiet and on a busy machine.

usage: python benchmarks/busy_latency.py [--rounds 2] [--hidden 192] [--batch 4] [--length 64]

The model is a BERT of 6 layers with random weights. Each round measures the sub-networks of the first 0 to 5 layers in
turns with the full model (`search.evaluation.latencies`, which a search over latency_ms calls for each trial): first on
the machine as it is, then beside a busy process on every core. Beside these processes, it also measures each of them by
itself, as older versions did. Shares are of the full model's latency. Last line: one JSON object.
Errors are relative to the share on the machine as it is: the mean over rounds and over the sub-networks with layers,
and the worst over all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForSequenceClassification, BertConfig, PreTrainedModel

from benchmarks.common import busy_processes, device_name
from search.evaluation.latencies import Latencies
from supernet.evaluation.latency import measure_latency
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.runtime.processes import usable_cores
from supernet.space.cost import Workload
from supernet.space.subnetwork import SubNetwork

LAYERS = 6
METHODS = ("in turns", "in turns, busy", "alone, busy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    arguments = parser.parse_args()
    start, workload = time.perf_counter(), Workload(arguments.batch, arguments.length)
    model = random_bert(arguments.hidden)
    shares_wrl = np.array([measure(model, workload) for _ in range(arguments.rounds)]).swapaxes(0, 1)
    expected_l = shares_wrl[0].mean(axis=0)
    errors_wrl = shares_wrl / expected_l - 1
    print_table(shares_wrl, errors_wrl)
    worst_w = np.abs(errors_wrl[:, :, 1:]).max(axis=(1, 2)).round(4).tolist()
    ordered_w = (np.diff(shares_wrl, axis=2) > 0).all(axis=(1, 2)).tolist()
    print(f"{device_name()}; hidden {arguments.hidden}, batch x length {workload}")
    print(
        json.dumps(
            {
                "worst_error": dict(zip(METHODS, worst_w, strict=True)),
                "ordered_by_depth": dict(zip(METHODS, ordered_w, strict=True)),
                "rounds": arguments.rounds,
                "busy_processes": usable_cores(),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
    )


def random_bert(hidden: int) -> PreTrainedModel:
    """A classifier of 6 layers with random weights."""
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": 4}
    config = BertConfig(num_hidden_layers=LAYERS, vocab_size=1000, **sizes)
    return AutoModelForSequenceClassification.from_config(config).eval()


def measure(model: PreTrainedModel, workload: Workload) -> list[list[float]]:
    """One round: by each of `METHODS`, the share of each number of layers from 0."""
    a, cores = architecture_of(model.config), usable_cores()
    subnets = {n: SubNetwork.uniform(range(n), a.heads, a.units) for n in range(LAYERS + 1)}

    def in_turns() -> Callable[[int], float]:
        latencies = Latencies(model, workload)
        return lambda n: latencies(subnets[n], extract(model, subnets[n], share=True))["latency_share"]

    def alone() -> Callable[[int], float]:
        whole_ms = measure_latency(model, workload).median_ms
        return lambda n: measure_latency(extract(model, subnets[n], share=True), workload).median_ms / whole_ms

    shares = []
    for method, busy in ((in_turns, False), (in_turns, True), (alone, True)):
        with busy_processes(cores) if busy else nullcontext():
            share_of = method()
            shares.append([share_of(n) for n in range(LAYERS)])
    return shares


def print_table(shares_wrl: np.ndarray, errors_wrl: np.ndarray) -> None:
    """Shares by method, and in brackets the worst error of all rounds."""
    table = Table(title="Share of the full model's latency (worst error)")
    for heading in ("layers", *METHODS):
        table.add_column(heading, justify="right")
    for n in range(LAYERS):
        worst = np.abs(errors_wrl[:, :, n]).max(axis=1)
        means = shares_wrl[:, :, n].mean(axis=1)
        table.add_row(str(n), *(f"{share:.1%} ({error:.0%})" for share, error in zip(means, worst, strict=True)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
