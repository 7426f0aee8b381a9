"""Searchers and baselines on real supernets: their fronts and numbers of evaluations.

usage: python benchmarks/supernets.py --data GLUE [--tasks sst2 mrpc] [--seeds 0 1] [--output_dir runs/supernets]

For each task: trains a supernet of the medium space (`experiment=best space=medium64 sampling=stratified`, the first
3600 shuffled rows, 3 epochs), runs every searcher for 50 evaluations and random search for 300, on 512 validation rows,
prunes with every baseline, and compares everything as `plm-supernet report` does (runs/supernets/TASK/report). The same
command resumes an interrupted run. It takes hours on two CPU cores. Last line: one JSON object, hypervolumes by task
and searcher.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from search.baselines.table import BASELINES
from search.options.search import SearchConfig
from search.report.front import curve_of
from search.report.overlay import ReportConfig, report
from search.run import search
from search.run_folder import read_run
from search.searchers.table import SEARCHERS
from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.training.train import train

EVALUATIONS = dict.fromkeys(SEARCHERS, 50) | {"random": 300}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder above the tasks' files")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "mrpc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--output_dir", default="runs/supernets")
    arguments = parser.parse_args()
    volumes: dict[str, dict[str, dict[str, float]]] = {}
    for task in arguments.tasks:
        output = f"output_dir={arguments.output_dir}/{task}"
        supernet = train(load_config("train", TrainConfig, [*training(task, arguments.data), output]))
        common = [f"supernet={supernet}", "data.validation_rows=512", output]
        curves = {
            name: [
                curve_of(read_run(run([*common, f"searcher={name}", f"max_evaluations={count}", f"seed={seed}"])))
                for seed in arguments.seeds
            ]
            for name, count in EVALUATIONS.items()
        }
        for name in BASELINES:
            run([*common, f"baseline={name}"])
        report(load_config("report", ReportConfig, [output]))
        volumes[task] = {
            name: {
                f"after_{n}": round(float(np.mean([curve.hypervolume[n - 1] for curve in of_seeds])), 4)
                for n in (50, 300)
                if n <= EVALUATIONS[name]
            }
            for name, of_seeds in curves.items()
        }
    print(json.dumps(volumes))


def training(task: str, data: str) -> list[str]:
    """The supernet's configuration: uniform draws of this space would be nearly all of 40 to 70 % of the encoder."""
    return [
        "experiment=best",
        "space=medium64",
        "sampling=stratified",
        f"task={task}",
        f"data.dir={data}",
        "data.max_train_samples=3600",
        "train.epochs=3",
        "train.batch_size=16",
    ]


def run(overrides: list[str]) -> Path:
    """One run of stage two; a finished run is not repeated."""
    return search(load_config("search", SearchConfig, overrides))


if __name__ == "__main__":
    main()
