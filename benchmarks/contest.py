"""The contest: what is the best small model of a size, whatever found it? Test errors of all ways, as found and finished.

usage: python benchmarks/contest.py --data GLUE [--tasks sst2 stsb stdlib mrpc] [--seeds 0 1 2] [--entrants ...]
       python benchmarks/contest.py --table          prints the current results as tables, and writes contest.md

For each task and seed of training, every entrant gets the same rows, the same pre-trained weights and the same supernet
(`experiment=best`, the first 3600 shuffled rows, 3 epochs), and makes a sub-network of at most 50, 25, 12 and 6 % of the
encoder. Validation rows choose; test rows are read once, for what was chosen. Each sub-network is shown as found, and
finished: one more epoch of its own, the same for all (`FINISHING`). "ours" is what `plm-supernet compress` does.

Each result is a JSON line appended to benchmarks/results/contest.jsonl, and is not measured again, so an interrupted
contest resumes. It takes hours: start it in the background, with OMP_NUM_THREADS=1 for each process. Several processes
may measure different tasks or seeds at the same time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from supernet.runtime import threads  # noqa: F401  before torch, which reads its thread settings when it is loaded

# isort: split
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from search.choice.choose import choose
from search.compress import search_defaults
from search.evaluation.latencies import Latencies
from search.export.weights import model_of
from search.options.search import SearchConfig
from search.run import search
from search.run_folder import RunRecord, read_run
from supernet.artifact import Supernet, load_supernet
from supernet.console.config import load_config
from supernet.data.load import TaskData, load_task
from supernet.evaluation.evaluator import Evaluator, Scores
from supernet.models.families import architecture_of
from supernet.models.pretrained import load_pretrained, locate
from supernet.models.slicing import extract
from supernet.options.finish import LABELS, FinishOptions
from supernet.options.training import TrainConfig
from supernet.runtime.files import append_json_line, digest
from supernet.runtime.reading import read_lines
from supernet.space.cost import Workload, params_share
from supernet.space.subnetwork import SubNetwork
from supernet.training.finish import finish
from supernet.training.importance import order_by_importance_, read_importance
from supernet.training.previous_run import training_of
from supernet.training.teacher import teacher_logits
from supernet.training.train import train

RESULTS = Path(__file__).resolve().parent / "results" / "contest.jsonl"

TASKS = {"sst2": (0, 1, 2), "stsb": (0, 1, 2), "stdlib": (0, 1, 2), "mrpc": (0, 1)}
"""The seeds of training, by task."""

SIZES = (0.5, 0.25, 0.12, 0.06)
"""Largest shares of the encoder's parameters."""

SUPERNET = ("experiment=best",)
STANDARD = ("experiment=best", "strategy=standard", "order=none")
"""Trainings: the supernet, and the full model alone with the same options."""

FINISHING = FinishOptions(epochs=1)

ALONE_EPOCHS = 4
"""As many passes over the rows as the supernet and finishing have together."""

WORKLOAD = Workload(1, 64)
"""Of the latencies."""


@dataclass(frozen=True)
class Entry:
    """A small model, as found."""

    subnet: SubNetwork
    model: PreTrainedModel


ForSize = Callable[[float], "Entry | None"]
"""The entry for a size; None if the way cannot make one so small."""


@dataclass(frozen=True)
class Ground:
    """What all entrants of a task and a seed share. Everything is made when it is first needed, and then kept.

    Attributes:
        task, seed: Of the training.
        training: Its other options.
        data_dir: Folder above the tasks' files.
        output: Folder of all runs.
    """

    task: str
    seed: int
    training: tuple[str, ...]
    data_dir: str
    output: str

    @cached_property
    def folder(self) -> Path:
        """The trained supernet."""
        rows = [] if self.task == "stdlib" else [f"data.dir={self.data_dir}", "data.max_train_samples=3600"]
        options = [*self.training, f"task={self.task}", *rows, "train.epochs=3", "train.batch_size=16"]
        return train(load_config("train", TrainConfig, [*options, f"seed={self.seed}", f"output_dir={self.output}"]))

    @cached_property
    def supernet(self) -> Supernet:
        return load_supernet(self.folder)

    @cached_property
    def data(self) -> TaskData:
        return load_task(self.supernet.info.task, self.supernet.info.data, self.supernet.tokenizer)

    @cached_property
    def teacher(self) -> np.ndarray:
        """The full model's predictions of the training rows, which every finishing learns from."""
        full = extract(self.supernet.model, architecture_of(self.supernet.model.config).full).eval()
        return teacher_logits(full, self.data, self.supernet.tokenizer)

    @cached_property
    def evaluators(self) -> dict[str, Evaluator]:
        """By name of the split."""
        task, tokenizer = self.supernet.info.task, self.supernet.tokenizer
        return {name: Evaluator(getattr(self.data, name), task, tokenizer) for name in ("validation", "test")}

    @cached_property
    def latencies(self) -> Latencies:
        return Latencies(self.supernet.model, WORKLOAD, mixed_precision="no")

    def errors(self, model: PreTrainedModel) -> dict[str, float]:
        """Error on each split."""
        return {name: round(evaluator.error(model), 6) for name, evaluator in self.evaluators.items()}

    def search(self, *overrides: str) -> RunRecord:
        """A run of stage two; a finished run is not repeated."""
        fixed = [f"supernet={self.folder}", f"output_dir={self.output}"]
        return read_run(search(load_config("search", SearchConfig, [*fixed, *overrides])))

    def finished(self, entry: Entry, options: FinishOptions) -> PreTrainedModel:
        """The model, trained alone."""
        trained = training_of(self.folder)
        assert trained is not None
        with tempfile.TemporaryDirectory() as folder:
            done = finish(
                entry.model,
                entry.subnet,
                self.teacher,
                self.data,
                self.supernet.tokenizer,
                training=trained,
                options=options,
                folder=Path(folder),
                seed=self.seed,
                console=Console(quiet=True),
            )
        return done.model


def searched(*overrides: str) -> Callable[[Ground], ForSize]:
    """A search, and what `plm-supernet select` chooses of it for each size."""

    def make(ground: Ground) -> ForSize:
        run = ground.search(*overrides)

        def entry(size: float) -> Entry:
            subnet = choose(run, {"params": str(size)}).chosen.subnet
            return Entry(subnet, model_of(run, subnet, ground.supernet))

        return entry

    return make


def pruned(baseline: str) -> Callable[[Ground], ForSize]:
    """A way of pruning without a search."""

    def make(ground: Ground) -> ForSize:
        run = ground.search(f"baseline={baseline}", f"baseline.budgets=[{','.join(map(str, SIZES))}]")
        made = {trial.subnet: share_of(ground, trial.subnet) for trial in run.trials}

        def entry(size: float) -> Entry | None:
            fitting = [subnet for subnet, share in made.items() if share <= size]
            if not fitting:
                return None
            subnet = max(fitting, key=lambda s: made[s])
            return Entry(subnet, model_of(run, subnet, ground.supernet))

        return entry

    return make


def alone(ground: Ground) -> ForSize:
    """What "ours" chooses, trained alone from the pre-trained weights, ordered like the supernet."""
    ours, trained = OURS.make(ground), training_of(ground.folder)
    assert trained is not None
    labels = ground.data.train.labels
    model, _ = load_pretrained(locate(trained.model).folder, ground.data.task, seed=ground.seed, labels=labels)
    importance = read_importance(ground.folder.parent, architecture_of(model.config).sizes)
    if importance is not None:
        order_by_importance_(model, importance)
    options = FinishOptions(ALONE_EPOCHS, targets=LABELS, learning_rate=trained.train.learning_rate)

    def entry(size: float) -> Entry | None:
        chosen = ours(size)
        assert chosen is not None
        start = Entry(chosen.subnet, extract(model, chosen.subnet).eval())
        return Entry(chosen.subnet, ground.finished(start, options))

    return entry


@dataclass(frozen=True)
class Entrant:
    """A way to small models.

    Attributes:
        make: Works on the common ground once, for all sizes.
        training: The training whose result it starts from.
        sizes: Those that it enters for.
        finishes: Whether what it finds is finished too.
    """

    make: Callable[[Ground], ForSize]
    training: tuple[str, ...] = SUPERNET
    sizes: tuple[float, ...] = SIZES
    finishes: bool = True


OURS = Entrant(searched(*search_defaults(LIMITS), f"max_evaluations={EVALUATIONS}"))

ENTRANTS: Mapping[str, Entrant] = {
    "ours": OURS,
    **{
        f"{searcher}, {space}": Entrant(
            searched(f"searcher={searcher}", f"space={space}", f"max_evaluations={EVALUATIONS}"),
            finishes=searcher == "ehvi",
        )
        for space in ("small64", "medium64", "large64")
        for searcher in ("ehvi", "random_scalarization", "nsga2", "stratified_random")
    },
    **{name: Entrant(pruned(name)) for name in ("kwon2022", "uniform_width", "layer_dropping", "head_pruning")},
    "kwon2022 of a fine-tuned model": Entrant(pruned("kwon2022"), STANDARD),
    "trained alone": Entrant(alone, sizes=(0.25, 0.12), finishes=False),
}


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
    return digest([parts, asdict(FINISHING), entrant.search, __version__])


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
    found = ground.errors(entry.model)
    finished = ground.errors(ground.finished(entry, FINISHING)) if finishes else found
    return {
        "subnet": entry.subnet.to_json(),
        "share": round(params_share(a, entry.subnet), 5),
        "latency_share": round(ground.latencies(entry.subnet, entry.model)["latency_share"], 4),
        "found": found,
        "finished": finished,
        "full": ground.full_errors,
        "seconds": round(time.perf_counter() - start, 1),
    }


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the tables, and writes them beside the results."""
    tables = [table(rows, how) for how in ("found", "finished")] + [latency_table(rows)]
    for console in (Console(width=WIDTH), Console(width=WIDTH, file=RESULTS.with_suffix(".md").open("w"))):
        for shown in tables:
            console.print(shown)


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
    """Mean share of the full model's latency, and the finished test error of what fits into it."""
    shown = Table("entrant", *(f"<= {size:.0%}" for size in SIZES), box=box.MARKDOWN, title="latency, share of the full model's")
    for name in ENTRANTS:
        own = [r for r in rows if r["entrant"] == name and r["recipe"] == recipe_of(name) and r["found"] is not None]
        shares = [[r["latency_share"] for r in own if r["size"] == size] for size in SIZES]
        shown.add_row(name, *(f"{np.mean(x):.3f}" if x else "" for x in shares))
    return shown


if __name__ == "__main__":
    main()
