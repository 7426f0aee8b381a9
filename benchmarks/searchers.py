"""Searchers on three synthetic spaces: hypervolume, and the time of a proposal.

Run: `python benchmarks/searchers.py [--evaluations 60] [--seeds 10] [--spaces small medium layer] [--searchers ...]`,
about 20 minutes on one core. Nothing is trained: error and cost are formulas, so the hypervolume depends on the
proposals alone. Last line: one JSON object with an entry for each space: each searcher's hypervolume (to the reference
(1, 1)) and processor seconds per proposal, in the search and after 50 and 300 observations.

The functions. a, f: shares of heads and units that a layer keeps; the cost is the share of the full model's parameters,
a third of them in the heads: sum over the layers of (0.33 a + 0.67 f) / layers.
  small   12 layers, 12 heads, 3072 units; d: share of layers kept; the cost is d (0.33 a + 0.67 f).
          error = 0.15 + 0.4 exp(-4 d) + d (0.12 exp(-5 a) + 0.15 exp(-6 f))
  medium  6 layers, 12 heads, 1536 units, so 12 dimensions; w: weights of the layers.
          error = 0.15 + 0.4 exp(-4 sum_l w_l (0.4 (1 - exp(-5 a_l)) + 0.6 (1 - exp(-6 f_l))))
  layer   12 layers, so 12 bits; w: weights of the layers; g: neighbouring pairs of layers without a kept layer.
          error = 0.15 + 0.4 exp(-3 sum of w_l over the layers kept) + 0.01 g
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
from search.options.searchers import SearcherOptions, searcher_options
from search.pareto import hypervolume
from search.searchers.schedulers import AskTell, make_scheduler
from search.searchers.table import SEARCHERS
from supernet.space.base import SearchSpace
from supernet.space.spaces import LayerSpace, MediumSpace, SmallSpace
from supernet.space.subnetwork import LayerSlice, SubNetwork

INITIAL = 3
"""The largest, the smallest and the middle sub-network: not the searcher's own proposals."""

FEW, MANY = 50, 300
"""Observations before the proposals whose growth in time is measured."""

GROWTH_PROPOSALS = 5
"""Numbers of observations after which a proposal is timed."""

MEDIUM_WEIGHTS = (0.24, 0.18, 0.12, 0.10, 0.14, 0.22)
LAYER_WEIGHTS = (0.13, 0.11, 0.10, 0.08, 0.07, 0.05, 0.04, 0.05, 0.07, 0.08, 0.10, 0.12)


@dataclass(frozen=True)
class Synthetic:
    """A space with an error by formula; the cost is the same for all."""

    space: SearchSpace
    error: Callable[[SearchSpace, SubNetwork], float]

    def costs(self, subnet: SubNetwork) -> dict[str, float]:
        """Both objectives."""
        return {"error": self.error(self.space, subnet), "params": self.params(subnet)}

    def params(self, subnet: SubNetwork) -> float:
        """Share of the full model's parameters."""
        return sum(0.33 * a + 0.67 * f for a, f in (_shares(self.space, s) for s in subnet.layers)) / self.space.layers


def _shares(space: SearchSpace, layer: LayerSlice) -> tuple[float, float]:
    return len(layer.heads) / space.heads, len(layer.units) / space.units


def small_error(space: SearchSpace, subnet: SubNetwork) -> float:
    """Depth matters most, then width; width matters more in deeper sub-networks."""
    depth, (a, f) = len(subnet.layers) / space.layers, _shares(space, (*subnet.layers, LayerSlice(0, (), ()))[0])
    return 0.15 + 0.4 * math.exp(-4 * depth) + depth * (0.12 * math.exp(-5 * a) + 0.15 * math.exp(-6 * f))


def medium_error(space: SearchSpace, subnet: SubNetwork) -> float:
    """The first and the last layers matter most, and in each the first heads and units."""
    quality = 0.0
    for s in subnet.layers:
        a, f = _shares(space, s)
        quality += MEDIUM_WEIGHTS[s.index] * (0.4 * (1 - math.exp(-5 * a)) + 0.6 * (1 - math.exp(-6 * f)))
    return 0.15 + 0.4 * math.exp(-4 * quality)


def layer_error(space: SearchSpace, subnet: SubNetwork) -> float:
    """The first and the last layers matter most; it is worse to drop two in a row."""
    kept = {s.index for s in subnet.layers}
    gaps = sum(i not in kept and i + 1 not in kept for i in range(space.layers - 1))
    return 0.15 + 0.4 * math.exp(-3 * sum(LAYER_WEIGHTS[i] for i in sorted(kept))) + 0.01 * gaps


SYNTHETIC = {
    "small": Synthetic(SmallSpace(layers=12, heads=12, units=3072), small_error),
    "medium": Synthetic(MediumSpace(layers=6, heads=12, units=1536), medium_error),
    "layer": Synthetic(LayerSpace(layers=12, heads=12, units=3072), layer_error),
}


CANDIDATES: dict[str, SearcherOptions] = {
    **{name: searcher_options(name) for name in SEARCHERS},
    "ehvi_plain": searcher_options("ehvi", known_cost=False),
}
"""The rows of the table."""


def ask_tell(candidate: SearcherOptions, synthetic: Synthetic, seed: int) -> AskTell:
    """A new search of a synthetic space."""
    known = {"params": synthetic.params}
    scheduler = make_scheduler(
        candidate.name,
        synthetic.space,
        metrics=["error", "params"],
        seed=seed,
        known=known,
        options=candidate,
    )
    return AskTell(scheduler, synthetic.space)


@dataclass(frozen=True)
class Run:
    """A search: its final hypervolume to the reference (1, 1), and the mean seconds of its own proposals."""

    hypervolume: float
    seconds_per_proposal: float


def search(candidate: SearcherOptions, synthetic: Synthetic, *, seed: int, evaluations: int) -> Run:
    """Searches a synthetic space once; ends early if the searcher has no more proposals.

    Args:
        candidate: The searcher.
        synthetic: The space to search.
        seed: Of the searcher.
        evaluations: Number of sub-networks, including the initial sub-networks.
    """
    searcher, costs, seconds = ask_tell(candidate, synthetic, seed), [], []
    for _ in range(evaluations):
        start = time.process_time()
        subnet = searcher.ask()
        seconds.append(time.process_time() - start)
        if subnet is None:
            break
        result = synthetic.costs(subnet)
        searcher.tell(subnet, result)
        costs.append(list(result.values()))
    return Run(hypervolume(costs, (1, 1)), statistics.mean(seconds[INITIAL:]))


def seconds_after(candidate: SearcherOptions, synthetic: Synthetic, observations: int) -> float:
    """Median processor seconds of a proposal after a number of stratified random observations."""
    draws, searcher = ask_tell(CANDIDATES["stratified_random"], synthetic, 0), ask_tell(candidate, synthetic, 0)
    seconds = []
    for number in range(observations + GROWTH_PROPOSALS):
        proposer = draws if number < observations else searcher
        start = time.process_time()
        subnet = proposer.ask()
        seconds.append(time.process_time() - start)
        if subnet is None:
            break
        for learner in (draws, searcher):
            learner.tell(subnet, synthetic.costs(subnet))
    return statistics.median(seconds[observations:])


def compare(synthetic: Synthetic, names: list[str], *, seeds: int, evaluations: int) -> tuple[Table, dict[str, Any]]:
    """Every searcher over some seeds: a table, and the same for JSON."""
    table, summary = Table("searcher", "hypervolume", "spread (sd)", "worst seed", "seconds per proposal"), {}
    for name in names:
        runs = [search(CANDIDATES[name], synthetic, seed=s, evaluations=evaluations) for s in range(seeds)]
        volumes, seconds = [r.hypervolume for r in runs], statistics.mean(r.seconds_per_proposal for r in runs)
        mean, spread = statistics.mean(volumes), statistics.pstdev(volumes)
        table.add_row(name, f"{mean:.4f}", f"{spread:.4f}", f"{min(volumes):.4f}", f"{seconds:.4f}")
        summary[name] = {"hypervolume": round(mean, 5), "seconds_per_proposal": round(seconds, 5)}
    return table, summary


def growth(synthetic: Synthetic, names: list[str]) -> tuple[Table, dict[str, Any]]:
    """Seconds of a proposal after few and after many observations: a table, and the same for JSON."""
    table, summary = Table("searcher", f"seconds after {FEW}", f"after {MANY}", "ratio"), {}
    for name in names:
        few, many = (seconds_after(CANDIDATES[name], synthetic, n) for n in (FEW, MANY))
        table.add_row(name, f"{few:.4f}", f"{many:.4f}", f"{many / few:.2f}")
        summary[name] = {f"seconds_after_{FEW}": round(few, 5), f"seconds_after_{MANY}": round(many, 5)}
    return table, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=60, help="sub-networks a search, the first three included")
    parser.add_argument("--seeds", type=int, default=10, help="searches a searcher")
    parser.add_argument("--spaces", nargs="+", choices=SYNTHETIC, default=list(SYNTHETIC))
    parser.add_argument("--searchers", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    if options.evaluations <= INITIAL or options.seeds < 1:
        parser.error(f"at least {INITIAL + 1} evaluations and 1 seed")
    torch.set_num_threads(1)

    console, result = Console(), {}
    console.print(
        f"{options.evaluations} evaluations, {options.seeds} seeds; processor seconds, one core (1 torch thread), "
        f"torch {torch.__version__}, numpy {np.__version__}. ehvi and random_scalarization know the cost, ehvi_plain "
        "models it."
    )
    for name in options.spaces:
        synthetic = SYNTHETIC[name]
        table, summary = compare(synthetic, options.searchers, seeds=options.seeds, evaluations=options.evaluations)
        times, seconds = growth(synthetic, options.searchers)
        console.print(f"\n{name}: {synthetic.space.size:,} vectors", table, times)
        result[name] = {searcher: summary[searcher] | seconds[searcher] for searcher in options.searchers}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
