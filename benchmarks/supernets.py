"""Searchers on real supernets: the hypervolume after 50 evaluations.

usage: python benchmarks/supernets.py --data GLUE [--tasks sst2 stsb mrpc] [--seeds 0 1 2 3 4] [--output_dir FOLDER]
       python benchmarks/supernets.py --table [--output_dir FOLDER]

For each task: trains a supernet (`experiment=best`, the first 3600 shuffled rows, 3 epochs), then lets every searcher
look for 50 sub-networks of the supernet's own space (small64) and of medium64, on 512 validation rows, with 5 seeds.
Hypervolume of validation error x encoder share, up to 1 x 1.

No sub-network of a task is evaluated twice, whoever proposes it: evaluations and searches are JSON lines in the output
folder, so an interrupted comparison resumes. It takes hours on two CPU cores: start it in the background.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from search.pareto import hypervolume
from search.rows import VALIDATION_SEED
from search.searchers.schedulers import AskTell, make_scheduler
from search.searchers.table import SEARCHERS
from supernet.artifact import Supernet, load_supernet
from supernet.console.choices import values_in
from supernet.console.config import load_config
from supernet.data.load import load_task
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.slicing import extract
from supernet.options.training import TrainConfig
from supernet.runtime.files import append_json_line
from supernet.runtime.reading import read_lines
from supernet.space.base import SearchSpace
from supernet.space.cost import params_share
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import SubNetwork
from supernet.training.train import train

SPACES = ("small64", "medium64")
EVALUATIONS, ROWS = 50, 512
WIDTH = 160
"""Columns of the tables. In narrower ones cells would break, and Markdown knows no such rows."""


@dataclass(frozen=True)
class Errors:
    """Validation errors of a supernet's sub-networks, each evaluated once and kept in a file.

    Attributes:
        supernet: The supernet.
        file: JSON lines, one for each sub-network.
    """

    supernet: Supernet
    file: Path

    @cached_property
    def known(self) -> dict[SubNetwork, float]:
        """Those in the file."""
        lines = read_lines(self.file, dict[str, Any], "remove it")
        return {SubNetwork.from_json(line["subnet"]): line["error"] for line in lines}

    @cached_property
    def evaluator(self) -> Evaluator:
        """On the rows that every search takes."""
        info, tokenizer = self.supernet.info, self.supernet.tokenizer
        validation = load_task(info.task, info.data, tokenizer).validation
        rows = np.random.default_rng(VALIDATION_SEED).permutation(len(validation))[:ROWS]
        return Evaluator(validation.take(np.sort(rows)), info.task, tokenizer)

    def __call__(self, subnet: SubNetwork) -> float:
        if subnet not in self.known:
            error = self.evaluator.error(extract(self.supernet.model, subnet, share=True))
            append_json_line(self.file, {"subnet": subnet.to_json(), "error": error})
            self.known[subnet] = error
        return self.known[subnet]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder above the tasks' files")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "stsb", "mrpc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--output_dir", default="runs/supernets")
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    output = Path(arguments.output_dir)
    for task in () if arguments.table else arguments.tasks:
        supernet = load_supernet(train(load_config("train", TrainConfig, training(task, arguments.data, output))))
        compare(task, supernet, arguments.seeds, output)
    files = sorted(output.glob("*/searches.jsonl"))
    Console(width=WIDTH).print(table([row for file in files for row in read_lines(file, dict[str, Any], "remove it")]))


def training(task: str, data: str, output: Path) -> list[str]:
    """The supernet's options."""
    rows = [f"task={task}", f"data.dir={data}", "data.max_train_samples=3600", f"output_dir={output / task}"]
    return ["experiment=best", "train.epochs=3", "train.batch_size=16", *rows]


def compare(task: str, supernet: Supernet, seeds: Iterable[int], output: Path) -> None:
    """Runs the searches of a task that are not done yet."""
    errors, file = Errors(supernet, output / task / "evaluations.jsonl"), output / task / "searches.jsonl"
    done = {(row["space"], row["searcher"], row["seed"]) for row in read_lines(file, dict[str, Any], "remove it")}
    for name in SPACES:
        for seed in seeds:
            for searcher in SEARCHERS:
                if (name, searcher, seed) not in done and SEARCHERS[searcher].refuses(space_of(name, supernet)) is None:
                    volumes = search(searcher, space_of(name, supernet), supernet, errors, seed=seed)
                    row = {"task": task, "space": name, "searcher": searcher, "seed": seed, "hypervolume": volumes}
                    append_json_line(file, row)
                    print(json.dumps(row | {"hypervolume": volumes[-1]}), flush=True)


def space_of(name: str, supernet: Supernet) -> SearchSpace:
    """A space of a supernet's sub-networks."""
    a = architecture_of(supernet.model.config)
    return search_space(SpaceOptions(**values_in(f"space/{name}.yaml")), layers=a.layers, heads=a.heads, units=a.units)


def search(
    searcher: str, space: SearchSpace, supernet: Supernet, errors: Callable[[SubNetwork], float], *, seed: int
) -> list[float]:
    """The hypervolume after each evaluation of a search; it ends early if nothing is left to propose."""
    a = architecture_of(supernet.model.config)

    def share(subnet: SubNetwork) -> float:
        return params_share(a, subnet)

    scheduler = make_scheduler(searcher, space, metrics=["error", "params"], seed=seed, known={"params": share})
    asked, found, volumes = AskTell(scheduler, space), [], []
    while len(found) < EVALUATIONS and (subnet := asked.ask()) is not None:
        found.append([errors(subnet), share(subnet)])
        asked.tell(subnet, dict(zip(("error", "params"), found[-1], strict=True)))
        volumes.append(round(hypervolume(found, (1, 1)), 6))
    return volumes


def table(rows: list[Mapping[str, Any]]) -> Table:
    """Mean final hypervolume over the seeds, and over the tasks that all searchers have; the best first."""
    kinds = sorted({(row["space"], row["task"]) for row in rows})
    shown = Table("searcher", *(f"{space}, {task}" for space, task in kinds), "mean", box=box.MARKDOWN)
    lines = []
    for name in SEARCHERS:
        groups = [
            [r["hypervolume"][-1] for r in rows if (r["space"], r["task"], r["searcher"]) == (*kind, name)]
            for kind in kinds
        ]
        mean = float(np.mean([np.mean(group) for group in groups])) if all(groups) else float("nan")
        cells = [f"{np.mean(g):.4f} ({min(g):.3f}-{max(g):.3f})" if g else "" for g in groups]
        lines.append((mean, name, cells))
    for mean, name, cells in sorted(lines, key=lambda line: -np.nan_to_num(line[0])):
        shown.add_row(name, *cells, f"{mean:.4f}")
    return shown


if __name__ == "__main__":
    main()
