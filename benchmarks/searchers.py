"""Compare searchers on a synthetic front of the paper's small space: how much hypervolume, at what cost a proposal.

Run: `python benchmarks/searchers.py [--evaluations 40] [--seeds 10]`, a few minutes on one core. Nothing is trained:
error and cost are formulas, so the hypervolume says how good the proposals are and nothing else. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from syne_tune.backend.trial_status import Trial

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from search.pareto import hypervolume
from search.searchers import make_scheduler
from supernet.space import SmallSpace
from supernet.subnetwork import SubNetwork

SPACE = SmallSpace(layers=12, heads=12, units=3072)
INITIAL = 3
"""The largest, the smallest and the middle sub-network: not the searcher's own proposals."""


def error(subnet: SubNetwork) -> float:
    """A smooth error: depth matters most, then width, the more so the deeper the net."""
    depth, heads, units = _shares(subnet)
    return 0.15 + 0.4 * math.exp(-4 * depth) + depth * (0.12 * math.exp(-5 * heads) + 0.15 * math.exp(-6 * units))


def params(subnet: SubNetwork) -> float:
    """Share of the full model's parameters, a third of them in the attention blocks."""
    depth, heads, units = _shares(subnet)
    return depth * (0.33 * heads + 0.67 * units)


def _shares(subnet: SubNetwork) -> tuple[float, float, float]:
    if not subnet.layers:
        return 0.0, 0.0, 0.0
    layer = subnet.layers[0]
    return len(subnet.layers) / SPACE.layers, len(layer.heads) / SPACE.heads, len(layer.units) / SPACE.units


@dataclass(frozen=True)
class Run:
    """One search: its final hypervolume to the reference (1, 1), and the mean seconds of a proposal of its own."""

    hypervolume: float
    seconds_per_proposal: float


def search(name: str, *, known: bool, seed: int, evaluations: int) -> Run:
    """Searches the synthetic space once.

    Args:
        name: A searcher.
        known: Whether the searcher is told the formula of the cost.
        seed: Of the searcher.
        evaluations: How many sub-networks, the initial ones included.
    """
    known_cost = params if known else None
    scheduler = make_scheduler(name, SPACE, metrics=["error", "params"], seed=seed, known_cost=known_cost)
    costs, seconds = [], []
    for trial_id in range(evaluations):
        start = time.perf_counter()
        config = scheduler.suggest().config
        seconds.append(time.perf_counter() - start)
        subnet = SPACE.decode(list(config.values()))
        costs.append((error(subnet), params(subnet)))
        result = {"error": costs[-1][0], "params": costs[-1][1]}
        scheduler.on_trial_complete(Trial(trial_id, config, datetime.now()), result)
    return Run(hypervolume(costs, (1, 1)), statistics.mean(seconds[INITIAL:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=40, help="sub-networks a search, the first three included")
    parser.add_argument("--seeds", type=int, default=10, help="searches a searcher")
    options = parser.parse_args()
    if options.evaluations <= INITIAL or options.seeds < 1:
        parser.error(f"at least {INITIAL + 1} evaluations and 1 seed")
    torch.set_num_threads(1)

    table = Table("searcher", "hypervolume", "spread (sd)", "worst seed", "seconds per proposal")
    summary = {}
    for label, name, known in [("random", "random", False), ("ehvi", "ehvi", True), ("ehvi_plain", "ehvi", False)]:
        runs = [search(name, known=known, seed=s, evaluations=options.evaluations) for s in range(options.seeds)]
        volumes = [run.hypervolume for run in runs]
        mean, seconds = statistics.mean(volumes), statistics.mean(run.seconds_per_proposal for run in runs)
        table.add_row(
            label, f"{mean:.4f}", f"{statistics.pstdev(volumes):.4f}", f"{min(volumes):.4f}", f"{seconds:.4f}"
        )
        summary[label] = {"hypervolume": round(mean, 5), "seconds_per_proposal": round(seconds, 5)}
    console = Console()
    console.print(
        f"Synthetic small space ({SPACE.size:,} vectors), {options.evaluations} evaluations, {options.seeds} seeds, "
        f"one core (1 torch thread), torch {torch.__version__}. ehvi knows the cost, ehvi_plain models it."
    )
    console.print(table)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
