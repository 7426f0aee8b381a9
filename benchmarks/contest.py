"""The contest: what is the best small model of a size, whatever found it? Test errors of all ways to one.

usage: python benchmarks/contest.py --data GLUE [--tasks sst2 stsb stdlib mrpc] [--seeds 0 1 2] [--entrants ...]
       python benchmarks/contest.py --table          prints the current results as tables, and writes contest.md

For each task and seed of training, every entrant (`entrants.py`) gets the same rows, the same pre-trained weights and
the same supernet (`experiment=best`, the first 3600 shuffled rows, 3 epochs), and makes sub-networks of at most 50, 25,
12 and 6 % of the encoder. Validation rows choose; test rows are read once, for what was chosen. Each is shown as found
and finished, which is one more epoch of its own, the same for all (`FINISHING`). "ours" is what `compress` does.

Each result is a JSON line appended to benchmarks/results/contest.jsonl, and is not measured again, so an interrupted
contest resumes. It takes hours: start it in the background, with OMP_NUM_THREADS=1 for each process. Several processes
may measure different tasks or seeds at the same time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.entrants import ENTRANTS, SIZES, Entry, Ground
from supernet.console.config import load_config
from supernet.models.families import architecture_of
from supernet.options.finish import FinishOptions
from supernet.options.training import TrainConfig
from supernet.runtime.fields import identity
from supernet.runtime.files import append_json_line, digest
from supernet.runtime.reading import read_lines
from supernet.space.cost import params_share
from supernet.space.subnetwork import SubNetwork

RESULTS = Path(__file__).resolve().parent / "results" / "contest.jsonl"

TASKS = {"sst2": (0, 1, 2), "stsb": (0, 1, 2), "stdlib": (0, 1, 2), "mrpc": (0, 1)}
"""The seeds of training, by task."""

FINISHING = FinishOptions(epochs=1)

WIDTH = 200
"""Columns of the tables. In narrower ones cells would break, and Markdown knows no such rows."""


@dataclass(frozen=True)
class Cell:
    """One measurement: task, seed, entrant, size, and a digest of what else it depends on."""

    task: str
    seed: int
    entrant: str
    size: float
    recipe: str


def recipe_of(name: str) -> str:
    """Identifies training, finishing and search, so that a changed recipe counts as another."""
    entrant = ENTRANTS[name]
    values = identity(load_config("train", TrainConfig, [*entrant.training, "task=sst2"]))
    parts = {part: values[part] for part in ("space", "strategy", "sampling", "distillation", "order", "train")}
    return digest([parts, asdict(FINISHING), *entrant.depends])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder above the tasks' files")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, help="of training; default: those of each task")
    parser.add_argument("--entrants", nargs="+", default=list(ENTRANTS), choices=ENTRANTS)
    parser.add_argument("--output_dir", default="runs/contest", help="folder of the runs")
    parser.add_argument("--table", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    if not arguments.table:
        RESULTS.parent.mkdir(exist_ok=True)
        for task in arguments.tasks:
            for seed in arguments.seeds or TASKS[task]:
                compete(task, seed, arguments.entrants, arguments.data, arguments.output_dir)
    show(list(read_lines(RESULTS, dict[str, Any], "remove it")))


def compete(task: str, seed: int, names: Sequence[str], data_dir: str, output: str) -> None:
    """Measures the cells of a task and a seed that are not measured yet."""
    done = {cell_of(row) for row in read_lines(RESULTS, dict[str, Any], "remove it")}
    grounds: dict[tuple[str, ...], Ground] = {}
    for name in names:
        entrant = ENTRANTS[name]
        cells = [Cell(task, seed, name, size, recipe_of(name)) for size in entrant.sizes]
        if left := [cell for cell in cells if cell not in done]:
            where = f"{output}/{task}-{seed}"
            ground = grounds.setdefault(entrant.training, Ground(task, seed, entrant.training, data_dir, where))
            for_size = entrant.make(ground)
            for cell in left:
                row = vars(cell) | measure(ground, for_size(cell.size), finishes=entrant.finishes)
                append_json_line(RESULTS, row)
                print(json.dumps(row), flush=True)


def cell_of(row: Mapping[str, Any]) -> Cell:
    """The cell that a line of the results belongs to."""
    return Cell(**{name: row[name] for name in Cell.__dataclass_fields__})


def measure(ground: Ground, entry: Entry | None, *, finishes: bool) -> dict[str, Any]:
    """Errors, size and latency of an entry, in plain values. Without an entry: nothing but that."""
    if entry is None:
        return {"found": None}
    start = time.perf_counter()
    a = architecture_of(ground.supernet.model.config)
    found, finished, subnet, model = ground.errors(entry.model), None, entry.subnet, entry.model
    if finishes:
        subnet, model = ground.best_finished(entry, FINISHING)
        finished = ground.errors(model)
    return {
        "widths": widths(entry.subnet),
        "finished_widths": widths(subnet),
        "share": round(params_share(a, entry.subnet), 5),
        "finished_share": round(params_share(a, subnet), 5),
        "latency_share": round(ground.latencies(subnet, model)["latency_share"], 4),
        "found": found,
        "finished": finished or found,
        "full": ground.full_errors,
        "seconds": round(time.perf_counter() - start, 1),
    }


def widths(subnet: SubNetwork) -> list[list[int]]:
    """Number, heads and units of each kept layer. (The indices of all units would be megabytes of results.)"""
    return [[s.index, len(s.heads), len(s.units)] for s in subnet.layers]


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the tables, and writes them beside the results."""
    tables = [table(rows, how) for how in ("found", "finished")] + [latency_table(rows)]
    with RESULTS.with_suffix(".md").open("w", encoding="utf-8") as file:
        for console in (Console(width=WIDTH), Console(width=WIDTH, file=file)):
            console.print(*tables)


def errors_of(rows: Sequence[Mapping[str, Any]], how: str) -> dict[tuple[str, float], dict[tuple[str, int], float]]:
    """By entrant and size: the test error of each task and seed. Cells of older recipes do not count."""
    errors: dict[tuple[str, float], dict[tuple[str, int], float]] = {}
    for row in rows:
        if row["entrant"] in ENTRANTS and row["recipe"] == recipe_of(row["entrant"]) and row["found"] is not None:
            errors.setdefault((row["entrant"], row["size"]), {})[row["task"], row["seed"]] = row[how]["test"]
    return errors


def table(rows: Sequence[Mapping[str, Any]], how: str) -> Table:
    """Mean test errors over tasks and seeds, and the paired difference from "ours" with its standard error.

    Both are of the tasks and seeds that the entrant and "ours" have in common.
    """
    errors = errors_of(rows, how)
    shown = Table("entrant", *(f"<= {size:.0%}" for size in SIZES), "all sizes", box=box.MARKDOWN, title=f"as {how}")
    for name in ENTRANTS:
        cells, pairs = [], []
        for size in SIZES:
            ours, theirs = errors.get(("ours", size), {}), errors.get((name, size), {})
            both = [(theirs[key], ours[key]) for key in theirs if key in ours]
            pairs += both
            cells.append(_compared(both))
        shown.add_row(name, *cells, _compared(pairs) if all(cells) else "")
    return shown


def _compared(pairs: Sequence[tuple[float, float]]) -> str:
    """For example "0.1912 (+0.0123 ± 0.0040)"; empty without pairs."""
    if not pairs:
        return ""
    theirs, ours = np.array(pairs).T
    more = theirs - ours
    error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else np.nan
    return f"{theirs.mean():.4f} ({more.mean():+.4f} ± {error:.4f}, {len(more)})"


def latency_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Mean share of the full model's latency: a kept unit costs less time than a kept head or layer."""
    shown = Table(
        "entrant", *(f"<= {size:.0%}" for size in SIZES), box=box.MARKDOWN, title="latency, share of the full model's"
    )
    for name in ENTRANTS:
        own = [r for r in rows if r["entrant"] == name and r["recipe"] == recipe_of(name) and r["found"] is not None]
        shares = [[r["latency_share"] for r in own if r["size"] == size] for size in SIZES]
        shown.add_row(name, *(f"{np.mean(x):.3f}" if x else "" for x in shares))
    return shown


if __name__ == "__main__":
    main()
