"""The quality of fronts: training recipes on real tasks, with the same number of optimizer steps.

usage: python benchmarks/quality.py --data GLUE [--tasks sst2 mrpc cola] [--recipes paper best] [--seeds 0 1]
       python benchmarks/quality.py --table          prints the current results as a table, and writes quality.md

For each recipe, task and seed it trains a supernet, evaluates 100 random sub-networks on the validation split, and
evaluates their front on the test split. Each result is a JSON line appended to benchmarks/results/quality.jsonl, and is
not computed again, so an interrupted run can be resumed. It takes hours: start it in the background
(nohup python benchmarks/quality.py ... &). On two CPU cores use the default 3600 rows and 3 epochs; on a GPU
--rows all --epochs 5 --seeds 0 1 2 --tasks rte mrpc cola sst2 stsb.

Hypervolume: for each budget, a user takes the front member chosen on validation rows and gets its test error. The
hypervolume is the dominated share of the box [0, error of the trivial predictor] x [0, 1], with the share of the
encoder's parameters on the second axis.

A front consists of a few lucky sub-networks. The last column, the mean validation error of all 100 sub-networks, tells
recipes apart with less noise: with the same seed and depth order, the sub-networks are the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.common import device_name
from supernet.artifact import Supernet, load_supernet
from supernet.console.config import load_config
from supernet.data.load import load_task
from supernet.data.metrics import majority_error
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TrainConfig
from supernet.runtime.fields import identity
from supernet.runtime.files import append_json_line, digest
from supernet.runtime.reading import read_lines
from supernet.space.base import SearchSpace
from supernet.space.cost import params_share
from supernet.space.spaces import search_space
from supernet.space.subnetwork import SubNetwork
from supernet.training.train import train

RESULTS = Path(__file__).resolve().parent / "results" / "quality.jsonl"
SAMPLES = 100
WIDTH = 200
"""Columns of the table. In a narrower one cells would break, and Markdown knows no such rows."""

BUDGETS = (1.0, 0.75, 0.5, 0.25)

CHANGES = {
    "order=none": ["order=none"],
    "depth=prefix": ["space.depth=prefix"],
    "hidden states": ["distillation.hidden_weight=1.0"],
    "hidden states of the same layers": ["distillation.hidden_weight=1.0", "distillation.hidden_map=same"],
    "k=2": ["strategy.k=2"],
}
"""Changes of `best`: additions removed, or other options added."""

BASES = {"best": ["experiment=best"], "best, sampling=stratified": ["experiment=best", "sampling=stratified"]}

RECIPES = {
    "paper": ["experiment=paper"],
    **BASES,
    **{f"{base}, {change}": [*BASES[base], *CHANGES[change]] for base in BASES for change in CHANGES},
}


@dataclass(frozen=True)
class Cell:
    """One measurement: recipe (with its digest, since recipes change), task, amount of data, and seed."""

    recipe: str
    digest: str
    task: str
    seed: int
    rows: int | None
    epochs: int


@dataclass(frozen=True)
class Point:
    """A sub-network with its share of the encoder's parameters and its errors."""

    subnet: SubNetwork
    share: float
    validation: float
    test: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder above the tasks' files")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc", "cola"])
    parser.add_argument("--recipes", nargs="+", default=["paper", "best"], choices=RECIPES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rows", default="3600", help="training and validation rows together; 'all' for all of them")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.table:
        RESULTS.parent.mkdir(exist_ok=True)
        rows = None if arguments.rows == "all" else int(arguments.rows)
        done = {cell_of(row) for row in read_lines(RESULTS, dict[str, Any], "remove it")}
        for seed, task, recipe in itertools.product(arguments.seeds, arguments.tasks, arguments.recipes):
            cell = Cell(recipe, recipe_digest(recipe), task, seed, rows, arguments.epochs)
            if cell not in done:
                measured = measure(cell, arguments.data)
                append_json_line(RESULTS, vars(cell) | measured)
                summary = {k: v for k, v in measured.items() if k not in ("front", "trials")}
                print(json.dumps(vars(cell) | summary), flush=True)
    shown = table(list(read_lines(RESULTS, dict[str, Any], "remove it")))
    Console(width=WIDTH).print(shown)
    with RESULTS.with_suffix(".md").open("w", encoding="utf-8") as file:
        Console(file=file, width=WIDTH).print(shown)


def recipe_digest(recipe: str) -> str:
    """Identifies the content of a recipe, so that a changed recipe counts as another."""
    values = identity(load_config("train", TrainConfig, RECIPES[recipe]))
    for key in ("epochs", "batch_size"):  # the cell's own
        del values["train"][key]
    values["train"] |= {"micro_batch_size": None, "gradient_checkpointing": False}  # as in the first measurements
    if values["distillation"]["hidden_weight"] == 0:
        del values["distillation"]["hidden_map"]  # does nothing then, and came later than the first measurements
    parts = ("space", "strategy", "sampling", "distillation", "order", "train")
    return digest({part: values[part] for part in parts})


def cell_of(row: dict[str, Any]) -> Cell:
    """The cell that a line of the results belongs to."""
    return Cell(**{name: row[name] for name in Cell.__dataclass_fields__})


def measure(cell: Cell, data_dir: str | None) -> dict[str, Any]:
    """Trains, searches and tests; in plain values."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "task": cell.task,
            "data.dir": data_dir or "null",
            "data.max_train_samples": cell.rows or "null",
            "train.epochs": cell.epochs,
            "train.batch_size": 16,
            "seed": cell.seed,
            "output_dir": folder,
        }
        overrides = [*RECIPES[cell.recipe], *(f"{key}={value}" for key, value in values.items())]
        start = time.perf_counter()
        supernet = load_supernet(train(load_config("train", TrainConfig, overrides)))
    trained = time.perf_counter()
    task = supernet.info.task
    data = load_task(task, supernet.info.data, supernet.tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    supernet.model.to(device)  # type: ignore[arg-type]
    validate, test = (Evaluator(s, task, supernet.tokenizer, device=device) for s in (data.validation, data.test))
    a = architecture_of(supernet.model.config)

    def error(evaluator: Evaluator, subnet: SubNetwork) -> float:
        return evaluator.error(extract(supernet.model, subnet, share=True))

    subnets = list(itertools.islice(draws(supernet, cell.seed), SAMPLES))
    evaluated = [(params_share(a, s), error(validate, s), i) for i, s in enumerate(subnets)]
    best, front = float("inf"), []
    for share, validation, i in sorted(evaluated):
        if validation < best:
            best = validation
            front.append(Point(subnets[i], share, validation, error(test, subnets[i])))
    majority = majority_error(task, data.test.labels)
    return {
        "hypervolume": hypervolume(front, majority),
        "full_error": error(test, a.full),
        "errors": {f"{b:.0%}": error_at(front, b) for b in BUDGETS},
        "majority_error": majority,
        "train_s": round(trained - start, 1),
        "search_s": round(time.perf_counter() - trained, 1),
        "front": [[p.subnet.to_json(), p.share, p.validation, p.test] for p in front],
        "trials": [[round(share, 5), round(validation, 5)] for share, validation, _ in evaluated],
        "device": device_name(device),
    }


def draws(supernet: Supernet, seed: int) -> Iterator[SubNetwork]:
    """Different sub-networks of the whole small space, limits lifted: largest, smallest, middle, then uniform draws."""
    options = replace(supernet.info.space, min_layers=None, min_heads=None, min_units=None)
    a, importance = architecture_of(supernet.model.config), supernet.info.layer_importance
    space: SearchSpace = search_space(
        options, layers=a.layers, heads=a.heads, units=a.units, layer_importance=importance
    )
    rng, seen = np.random.default_rng(seed), set()
    for subnet in itertools.chain(
        [space.largest, space.smallest, space.middle], (space.sample(rng) for _ in itertools.count())
    ):
        if subnet not in seen:
            seen.add(subnet)
            yield subnet


def hypervolume(front: list[Point], reference: float) -> float:
    """Share of the box [0, reference] x [0, 1] of test error x encoder share that the front dominates.

    Args:
        front: Ascending in share; the members were chosen on validation, so a larger member may be worse on test rows.
        reference: The largest error that counts.
    """
    ends = [*(p.share for p in front[1:]), 1.0]
    return sum(max(reference - p.test, 0) * (end - p.share) for p, end in zip(front, ends, strict=True)) / reference


def error_at(front: list[Point], budget: float) -> float:
    """Test error of the member that validation prefers among those within the budget."""
    return min((p for p in front if p.share <= budget), key=lambda p: p.validation).test


def table(rows: list[dict[str, Any]]) -> Table:
    """Means over seeds, one row for each recipe and task."""
    columns = ("task", "rows", "epochs", "recipe", "seeds", "hypervolume", "full model")
    shown = Table(*columns, *(f"<= {b:.0%}" for b in BUDGETS), "all sub-networks", box=box.MARKDOWN)
    kinds = sorted({(r["task"], r["rows"] or 0, r["epochs"], r["recipe"], r["digest"]) for r in rows})
    for kind in kinds:
        group = [r for r in rows if (r["task"], r["rows"] or 0, r["epochs"], r["recipe"], r["digest"]) == kind]
        task, count, epochs, recipe, now = kind
        recipe += "" if recipe in RECIPES and now == recipe_digest(recipe) else f" (as it was: {now})"
        volumes = [r["hypervolume"] for r in group]
        shown.add_row(
            task,
            str(count or "all"),
            str(epochs),
            recipe,
            ", ".join(str(seed) for seed in sorted(r["seed"] for r in group)),
            f"{np.mean(volumes):.4f} ({min(volumes):.3f}-{max(volumes):.3f})",
            f"{np.mean([r['full_error'] for r in group]):.4f}",
            *(f"{np.mean([r['errors'][f'{b:.0%}'] for r in group]):.4f}" for b in BUDGETS),
            _mean_validation_error(group),
        )
    return shown


def _mean_validation_error(rows: list[dict[str, Any]]) -> str:
    """Of all sub-networks that were evaluated; the first measurements did not keep them."""
    errors = [error for row in rows for _, error in row.get("trials", [])]
    return f"{np.mean(errors):.4f}" if errors else ""


if __name__ == "__main__":
    main()
