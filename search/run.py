"""Stage two, from top to bottom: find the supernet, search it, report the Pareto front."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search.loop import Trial, run_search
from search.objectives import OBJECTIVES, Objectives
from search.report import FrontMember, front_of, front_table, search_hypervolume, write_report
from search.searchers import SEARCHERS, AskTell, make_scheduler
from supernet.checkpoint import Supernet, find_supernet, load_supernet
from supernet.data import TaskData, load_task
from supernet.errors import UserError, unknown
from supernet.evaluate import Evaluator
from supernet.metrics import majority_error
from supernet.options import MAX_SEED
from supernet.runs import digest, folder_name, only_writer, prepare_folder, write_json
from supernet.slicing import extract
from supernet.tasks import EMBEDDED_TASK

TRIALS_FILE = "trials.jsonl"


@dataclass(frozen=True)
class SearcherOptions:
    """How sub-networks are proposed (conf/searcher/*.yaml).

    Attributes:
        name: A key of `SEARCHERS`.
        known_cost: For ehvi: use that the cost is computed by formula and model the error alone (true), or model both
            objectives (false).
    """

    name: str
    known_cost: bool = True

    def __post_init__(self) -> None:
        if self.name not in SEARCHERS:
            raise unknown("searcher", self.name, SEARCHERS)


@dataclass(frozen=True)
class DataPlace:
    """Where the task's rows lie now, if no longer where the supernet's training found them; null is there.

    Attributes:
        dir: Folder of the task's files, or the folder above it.
        cache_dir: Folder for tokenised rows.
    """

    dir: str | None = None
    cache_dir: str | None = None


@dataclass(frozen=True)
class SearchConfig:
    """Everything that stage two can be told (conf/search.yaml)."""

    searcher: SearcherOptions
    data: DataPlace
    supernet: str | None = None
    max_evaluations: int = 100
    seed: int = 0
    output_dir: str = "runs"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.max_evaluations < 1:
            raise UserError(f"max_evaluations is {self.max_evaluations}; it must be 1 or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError(f"seed is {self.seed}; it must be from 0 to {MAX_SEED}")

    def folder(self, supernet: Supernet, supernet_folder: Path) -> Path:
        """The run folder: of this supernet, searcher and seed. More evaluations continue in the same folder."""
        run = supernet_folder.parent.name if supernet_folder.name == "supernet" else supernet_folder.name
        identity = [asdict(self.searcher), self.seed, asdict(supernet.info)]
        name = folder_name(run, self.searcher.name, f"seed{self.seed}", digest(identity))
        return Path(self.output_dir).expanduser() / "search" / name


def search(config: SearchConfig) -> Path:
    """Searches a trained supernet and returns the folder of the results.

    Raises:
        UserError: if there is no supernet, or its data or the output folder cannot be used.
    """
    console = Console(soft_wrap=True, highlight=False)
    supernet_folder = find_supernet(config.supernet, Path(config.output_dir).expanduser())
    supernet = load_supernet(supernet_folder)
    info, folder = supernet.info, config.folder(supernet, supernet_folder)
    console.print(f"supernet {supernet_folder}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("search.py runs in one process; start it with 'python search.py', without a launcher")
    prepare_folder(folder)
    data = _load_data(supernet, config.data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    supernet.model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the method's own type

    with only_writer(folder):
        if config.overwrite:
            (folder / TRIALS_FILE).unlink(missing_ok=True)
        write_json(folder / "config.json", asdict(config) | {"supernet": str(supernet_folder.resolve())})
        trials = _run(config, supernet, data, folder / TRIALS_FILE, device)
    if len(trials) < config.max_evaluations:
        console.print(f"all {len(trials)} sub-networks of space {supernet.space.name} are evaluated")
    front = _with_test_scores(front_of(trials), supernet, data, device)
    how = f"space {info.space.name}, strategy {info.strategy.name}, {config.searcher.name}"
    title = f"{info.task.name}: {info.model}, {how}"
    write_report(folder, trials, front, task=info.task, title=title)
    console.print(front_table(front, task=info.task))
    console.print(
        f"{len(trials)} evaluations, {len(front)} on the front, hypervolume {search_hypervolume(trials):.4f} "
        "(validation error x encoder share, up to 1 x 1); "
        f"always giving the commonest answer has error {majority_error(info.task, data.validation.labels):.4f}"
    )
    console.print(f"results in {folder}: front.csv front.json front.png trials.jsonl")
    return folder


def _run(config: SearchConfig, supernet: Supernet, data: TaskData, path: Path, device: torch.device) -> list[Trial]:
    """The trials, old and new, with a progress bar."""
    evaluator = Evaluator(data.validation, supernet.info.task, supernet.tokenizer, device=device)
    objectives = Objectives(supernet, evaluator)
    scheduler = make_scheduler(
        config.searcher.name,
        supernet.space,
        metrics=OBJECTIVES,
        seed=config.seed,
        known_cost=objectives.cost if config.searcher.known_cost else None,
    )
    with _progress() as progress:
        bar = progress.add_task(config.searcher.name, total=config.max_evaluations, seen="")

        def show(trial: Trial) -> None:
            m = trial.measurements
            progress.update(bar, advance=1, seen=f"error {m.error:.4f} at {m.params_share:.0%} of the encoder")

        searcher = AskTell(scheduler, supernet.space)
        return run_search(searcher, objectives, trials_path=path, max_evaluations=config.max_evaluations, on_trial=show)


def _load_data(supernet: Supernet, place: DataPlace) -> TaskData:
    """The very splits that the supernet was trained with.

    Raises:
        UserError: if they cannot be had, or the rows are others: the search might then evaluate on training rows.
    """
    info, moved = supernet.info, {k: v for k, v in asdict(place).items() if v is not None}
    options = replace(info.data, **moved | ({"source": "local"} if "dir" in moved else {}))
    data = load_task(info.task, options, supernet.tokenizer)
    if changed := [name for name, digest in data.digests().items() if digest != info.splits.get(name)]:
        reason = "another version of Python" if info.task.name == EMBEDDED_TASK else "other files"
        raise UserError(
            f"the rows of task '{info.task.name}' are not those that the supernet was trained with ({reason}): "
            f"{', '.join(changed)}; name the right ones with data.dir=FOLDER, or train again"
        )
    return data


def _with_test_scores(
    front: list[Trial], supernet: Supernet, data: TaskData, device: torch.device
) -> list[FrontMember]:
    """The front's members with their test metric. The only place where anything is evaluated on the test split."""
    evaluator = Evaluator(data.test, supernet.info.task, supernet.tokenizer, device=device)
    return [FrontMember(t, evaluator.score(extract(supernet.model, t.subnet, share=True))) for t in front]


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("searcher {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[seen]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
