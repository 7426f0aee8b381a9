"""How fast exported sub-networks are in each format, and how good.

usage: python benchmarks/engines.py --data GLUE [--epochs 2] [--output_dir runs/engines]

Trains a supernet of sst2 (`experiment=best`, the first 3600 shuffled rows, 3 epochs), searches (ehvi, 100 evaluations),
and exports the full net and the sub-networks for 50 % and 25 % of the encoder's parameters in every format, by what
`plm-supernet export` runs, after these two were trained alone (`experiment=best`). Then a fresh process with one thread
times all files in turns, on a row of 64 tokens and on 32 rows of 128. Accuracy is that of the test rows; x is how many
times as fast as the full net in torch. The same command resumes an interrupted run. Last line: one JSON object, figures
by net and format.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
from benchmarks.common import device_name
from search.export.export import export
from search.options.export import ExportConfig
from search.options.search import SearchConfig
from search.run import search
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.export.report import read_report
from supernet.export.verify import observe
from supernet.options.export import TORCH
from supernet.options.training import TrainConfig
from supernet.runtime.files import write_json
from supernet.space.cost import Workload
from supernet.training.train import train

FORMATS = ("torch", "onnx", "int8", "openvino")
WORKLOADS = {"1x64": Workload(1, 64), "32x128": Workload(32, 128)}
TRAINING = ["task=sst2", "experiment=best", "data.max_train_samples=3600", "train.epochs=3"]
FULL = "full"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder above the tasks' files")
    parser.add_argument("--budgets", nargs="+", default=["50%", "25%"], help="of the encoder's parameters")
    parser.add_argument("--epochs", type=int, default=2, help="in which a sub-network is trained alone; 0: it is not")
    parser.add_argument("--output_dir", default="runs/engines")
    arguments = parser.parse_args()
    output = [f"output_dir={arguments.output_dir}"]

    supernet = train(load_config("train", TrainConfig, [*TRAINING, f"data.dir={arguments.data}", *output]))
    run = search(
        load_config("search", SearchConfig, [f"supernet={supernet}", "searcher=ehvi", "max_evaluations=100", *output])
    )
    folders = {FULL: exported([f"subnet={file_of_full(supernet, run)}", *output], run)}
    for budget in arguments.budgets:
        finish = ["experiment=best", f"finetune.epochs={arguments.epochs}"]
        folders[budget] = exported([f"max_params={budget}", *finish, *output], run)
    figures = {net: accuracies(folder) for net, folder in folders.items()}
    for name, workload in WORKLOADS.items():
        add_times(figures, folders, name, workload)
    show(figures)
    print(f"{device_name()}; one thread")
    print(json.dumps(figures))


def file_of_full(supernet: Path, run: Path) -> Path:
    """A file that names the full model as the sub-network."""
    file = run / "full.json"
    write_json(file, {"subnet": load_supernet(supernet).space.largest.to_json()})
    return file


def exported(overrides: list[str], run: Path) -> Path:
    """An export folder with every format, whatever it loses; a finished one is not repeated."""
    common = [f"run={run}", "formats=[onnx,int8,openvino]", "max_format_loss=1", "threads=1"]
    return export(load_config("export", ExportConfig, [*common, *overrides]))


def accuracies(folder: Path) -> dict[str, dict[str, Any]]:
    """Accuracy on the test rows, size, and share of the encoder of each format."""
    report = read_report(folder)
    return {
        file.format: {
            "params_share": round(report.params_share, 4),
            "accuracy": round(file.metric, 4),
            "MB": round(file.bytes / 1e6, 1),
        }
        for file in report.files
    }


def add_times(
    figures: dict[str, dict[str, dict[str, Any]]], folders: Mapping[str, Path], name: str, workload: Workload
) -> None:
    """Times every file at a workload, in turns with the others."""
    models = [(net, format) for net in folders for format in FORMATS]
    with tempfile.TemporaryDirectory() as work:
        seen = observe(folders, models, [["one text"]], workload, threads=1, work=Path(work))
    base = seen[FULL, TORCH].timing.median_ms
    for net, format in models:
        timing = seen[net, format].timing
        shown = {"ms": timing.median_ms, "low": timing.low_ms, "high": timing.high_ms, "x": base / timing.median_ms}
        figures[net][format][name] = {key: round(value, 2) for key, value in shown.items()}


def show(figures: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Prints a line for each file."""
    for net, rows in figures.items():
        for format, row in rows.items():
            times = "   ".join(
                f"{name} {row[name]['ms']:8.2f} ms ({row[name]['low']:.2f} to {row[name]['high']:.2f}) "
                f"x {row[name]['x']:5.2f}"
                for name in WORKLOADS
            )
            print(f"{net:5} {row['params_share']:4.0%} {format:9} {row['accuracy']:.4f} {row['MB']:6.1f} MB   {times}")


if __name__ == "__main__":
    main()
