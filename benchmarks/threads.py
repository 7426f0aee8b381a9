"""Threads beside busy processes: the default waiting of libgomp (spinning) against ours (GOMP_SPINCOUNT=1000).

usage: python benchmarks/threads.py [--turns 6] [--steps 2] [--subnets 4] [--batch 16] [--rows 64] [--busy 0 1 2]

Two child processes, one for each kind of waiting, hold the embedded model and use OMP_NUM_THREADS threads (default: all
cores). They take turns, first on the quiet machine, then beside one and two busy processes. In its turn a child makes
some `full` training steps (ours in benchmarks/train_step.py) and evaluates some sub-networks on all rows (ours in
benchmarks/evaluation.py); batches and sub-networks are the same. A waiting child uses no core. Last line: one JSON
object, rates per second: the work of a child divided by its time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from benchmarks.common import busy_processes, classification_task, device_name, generated_split, minilm
from benchmarks.train_step import METHODS as STEPS
from supernet.data.batches import collate
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.runtime.threads import SPIN_COUNT
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.strategies import Strategy

METHODS = {"spinning": "300000", "sleeping": SPIN_COUNT}
"""GOMP_SPINCOUNT of each child; the first is libgomp's own."""

Child = subprocess.Popen[str]
Rates = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--steps", type=int, default=2, help="training steps in a turn")
    parser.add_argument("--subnets", type=int, default=4, help="evaluations in a turn")
    parser.add_argument("--batch", type=int, default=16, help="rows of a training step")
    parser.add_argument("--rows", type=int, default=64, help="rows of an evaluation")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="numbers of busy processes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work_on_demand(arguments.batch, arguments.rows)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Prints the rates of both methods beside each number of busy processes."""
    counts = {"steps": arguments.steps, "evaluations": arguments.subnets}
    with ExitStack() as stack:
        children = {method: stack.enter_context(child(spins)) for method, spins in METHODS.items()}
        machine = [answer(process) for process in children.values()].pop()
        in_turns(children, dict.fromkeys(counts, 1), turns=1)  # to warm up
        beside: dict[int, Rates] = {}
        for busy in arguments.busy:
            with busy_processes(busy):
                beside[busy] = in_turns(children, counts, turns=arguments.turns)
            print(f"beside {busy}: {beside[busy]}", flush=True)
    print_table(beside)
    print(f"{machine}; batch {arguments.batch}, {arguments.rows} rows, {arguments.turns} turns")
    print(json.dumps({"beside": beside}))


def in_turns(children: Mapping[str, Child], counts: Mapping[str, int], *, turns: int) -> Rates:
    """The rate per second of each kind of work with each method."""
    seconds = {work: dict.fromkeys(children, 0.0) for work in counts}
    for turn in range(turns):
        for work, count in counts.items():
            for method in list(children)[:: 1 if turn % 2 else -1]:  # the methods take turns at being first
                print(work, count, file=children[method].stdin, flush=True)
                seconds[work][method] += float(answer(children[method]))
    return {
        work: {method: round(turns * counts[work] / s, 3) for method, s in seconds[work].items()} for work in counts
    }


def print_table(beside: Mapping[int, Rates]) -> None:
    table = Table(title="Rates per second, by number of busy processes")
    for column in ("busy", *(f"{work}, {method}" for work in beside[min(beside)] for method in METHODS)):
        table.add_column(column, justify="right")
    for busy, rates in beside.items():
        table.add_row(str(busy), *(f"{rate:.2f}" for of_work in rates.values() for rate in of_work.values()))
    Console(width=100).print(table)


@contextmanager
def child(spins: str) -> Iterator[Child]:
    """This script as a child that works on demand, with `spins` for GOMP_SPINCOUNT."""
    command = [sys.executable, __file__, "--child", *sys.argv[1:]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"GOMP_SPINCOUNT": spins}, **pipes) as process:
        try:
            yield process
        finally:
            process.stdin.close()  # which ends it


def answer(process: Child) -> str:
    """A line from a child."""
    if line := process.stdout.readline().strip():
        return line
    sys.exit(f"a child has ended with status {process.wait()}")


def work_on_demand(batch_size: int, rows: int) -> None:
    """Reads lines with a kind of work and its amount from standard input; prints the seconds that each took."""
    model, folder = minilm()
    a = architecture_of(model.config)
    space = search_space(SpaceOptions("small"), layers=a.layers, heads=a.heads, units=a.units)
    split = generated_split(max(batch_size, rows), seed=0, vocabulary=model.config.vocab_size)
    batch = collate(split, np.arange(batch_size), 0, "cpu")
    evaluator = Evaluator(split.take(np.arange(rows)), classification_task(), AutoTokenizer.from_pretrained(folder))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    sample = partial(space.sample, np.random.default_rng(0))

    def train() -> None:
        STEPS["ours"](model, batch, Strategy("full", k=2).passes(space, sample))
        optimizer.step()
        optimizer.zero_grad()

    works = {"steps": train, "evaluations": lambda: evaluator.logits(extract(model, sample(), share=True))}
    print(device_name(), flush=True)
    for line in sys.stdin:
        work, count = line.split()
        start = time.perf_counter()
        for _ in range(int(count)):
            works[work]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
