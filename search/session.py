"""What every run of stage two starts from: the supernet, its rows, the evaluator, and the run folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from search.evaluation.latencies import Latencies
from search.evaluation.measure import WeightSharedEvaluator, reference_values
from search.objectives import FOR_WORKLOAD, LATENCY
from search.options.search import BASELINE, FINETUNE, SearchConfig
from search.ranking import ranking_of
from search.rows import load_rows
from search.run_folder import TRIALS_FILE, RunInfo, begin_run, going_on
from search.spaces import Searched, searched_spaces
from search.trials import TrialFile
from supernet.artifact import Supernet, find_supernet, load_supernet, remarks, unfinished_trainings
from supernet.console.progress import WorkProgress, plain_console, show_progress
from supernet.data.load import TaskData
from supernet.data.metrics import majority_error
from supernet.data.tokens import TokenizedSplit
from supernet.evaluation.evaluator import Evaluator
from supernet.evaluation.latency import refuse_longer
from supernet.evaluation.latency_table import Conditions, load_table
from supernet.options.training import TEST_RUN
from supernet.runtime.commands import typed_command
from supernet.runtime.digests import row_digests
from supernet.runtime.errors import UserError
from supernet.runtime.files import check_weights, digest
from supernet.runtime.processes import broadcast_from_main, check_same_everywhere, main_first
from supernet.runtime.state import mark_running
from supernet.runtime.storage import user_path
from supernet.space.ranked import write_ranking
from supernet.space.subnetwork import SubNetwork

PARTS = 8
"""With evaluator.stop_confidence, the validation rows have this many parts, and an evaluation may stop after each."""

OF_TRAININGS = ("reports", "epochs", "stopped")
"""Additional metrics of a trial that trains."""


@dataclass(frozen=True)
class Session:
    """What every run of stage two starts from, in every process.

    Attributes:
        config: The options.
        accelerator: The processes.
        console: Silent except in the main process.
        supernet: On the accelerator's device.
        searched: Where the search looks.
        data: The rows of its task.
        weight_shared: Evaluates sub-networks with the supernet's weights.
        folder: The run folder.
        info: The content of run.json.
        latencies: Measures latencies; None if none are measured.
    """

    config: SearchConfig
    accelerator: Accelerator
    console: Console
    supernet: Supernet
    searched: Searched
    data: TaskData
    weight_shared: WeightSharedEvaluator
    folder: Path
    info: RunInfo
    latencies: Latencies | None

    def evaluator(self, split: TokenizedSplit) -> Evaluator:
        """An evaluator on rows of the task, on the accelerator's device and in its precision."""
        return _evaluator(split, self.supernet, self.accelerator)

    def show_progress(
        self, description: str, total: int | None = None, *, unit: str = ""
    ) -> AbstractContextManager[WorkProgress]:
        """Shows the progress of work on stderr, apart from the output."""
        return show_progress(_beside(self.console), description, total, unit=unit)

    @property
    def kept_trials(self) -> int:
        """Number of trials in the run folder."""
        trials = self.folder / TRIALS_FILE
        return trials.read_bytes().count(b"\n") if trials.is_file() else 0

    def begin(self) -> TrialFile:
        """Writes run.json, or checks that the folder holds the same run. Only in the main process.

        Returns:
            The trials of the run.

        Raises:
            UserError: if the folder holds another run, or the supernet on disk has changed, or a trial in the file
                cannot belong to this run.
        """
        check_weights(Path(self.info.supernet), self.supernet.weights)
        kept = self.kept_trials
        begin_run(self.folder, self.info, overwrite=self.config.overwrite)
        if self.config.overwrite and kept:
            self.console.print(f"overwrite=true: {kept} earlier trials in {self.folder} were removed")
        required = (*self.info.reference, *(OF_TRAININGS if self.config.mode == FINETUNE else ()))
        wrong = self.supernet.space.sizes.excess if self.config.mode == BASELINE else self._outside
        labels = self.data.validation.labels
        file = TrialFile(self.folder / TRIALS_FILE, required=required, wrong=wrong, labels=labels)
        mark_running(self.folder)
        if self.searched.ranking is not None and not file.trials:
            write_ranking(self.folder, self.searched.ranking)
        return file

    def _outside(self, subnet: SubNetwork) -> str | None:
        """Why a sub-network is not in the space that is searched; None if it is."""
        space = self.searched.space
        beyond = space.sizes.excess(subnet)
        return beyond if beyond is not None or subnet in space else f"it is not in space {space.name}"

    def remarks(self) -> list[str]:
        """Notes at the end for a reader of the figures: that it is a test run, that the supernet was replaced."""
        notes = [TEST_RUN] if (going_on(self.folder) or self.info).test_run else []
        try:
            check_weights(Path(self.info.supernet), self.supernet.weights)
        except UserError as error:
            notes.append(f"the figures are right, but since this command began {error}")
        return notes


def open_session(config: SearchConfig, accelerator: Accelerator) -> Session:
    """Reads supernet and data, and makes the evaluator.

    Raises:
        UserError: if there is no supernet, it is too short for the workload, its rows cannot be read, a latency table
            does not fit, or an objective has no scale.
    """
    console = plain_console(quiet=not accelerator.is_main_process)
    supernet_folder, supernet = _load_supernet(config, console)
    loading = show_progress(_beside(console), f"loading the rows of task {supernet.info.task.name}")
    with loading, main_first(accelerator):  # one process tokenises, the others read its cache
        data = load_rows(supernet, config.data)
    check_same_everywhere(
        {"supernet's weights": supernet.weights} | row_digests(supernet.info.splits, supernet.info.task.answers)
    )
    supernet.model.to(accelerator.device)
    info = supernet.info
    if config.stop_confidence is not None and info.task.metric != "accuracy":
        raise UserError(
            f"evaluator.stop_confidence needs an error that is a mean over rows (accuracy), but the metric of task "
            f"'{info.task.name}' is {info.task.metric}; leave it out"
        )
    folder = config.folder(supernet_folder, asdict(info))
    resumes = not config.overwrite and going_on(folder) is not None
    ranking = partial(ranking_of, supernet, data.train, accelerator, folder, resumes=resumes, beside=_beside(console))
    searched = searched_spaces(config, supernet, ranking)
    latencies = _latencies(config, supernet, accelerator, folder, beside=_beside(console))
    weight_shared = _weight_shared(config, supernet, data, accelerator, latencies)
    full = weight_shared.costs(supernet.space.largest) | ({} if latencies is None else dict(latencies.full))
    reference = reference_values(config.objectives, info.task, data.validation.labels, full=full)
    run = _run_info(
        config,
        supernet_folder,
        supernet,
        searched.label,
        reference=reference,
        majority=majority_error(info.task, data.validation.labels),
        conditions=_conditions(config, supernet, accelerator),
    )
    return Session(config, accelerator, console, supernet, searched, data, weight_shared, folder, run, latencies)


def _load_supernet(config: SearchConfig, console: Console) -> tuple[Path, Supernet]:
    """Loads the supernet and prints notes on it; returns its folder too."""
    output = user_path(config.output_dir)
    folder = find_supernet(config.supernet, output)
    supernet = load_supernet(folder)
    console.print(f"supernet {folder}")
    for remark in (*remarks(folder, supernet.info), *(unfinished_trainings(output) if config.supernet is None else ())):
        console.print(f"note: {remark}")
    if set(FOR_WORKLOAD) & set(config.objectives):
        refuse_longer(supernet.model.config, config.workload)
    return folder, supernet


def _run_info(
    config: SearchConfig,
    folder: Path,
    supernet: Supernet,
    space: str,
    *,
    reference: dict[str, float],
    majority: float,
    conditions: dict[str, Any],
) -> RunInfo:
    info = supernet.info
    return RunInfo(
        kind=config.mode,
        label=config.label,
        seed=config.seed,
        task=info.task.name,
        metric=info.task.metric,
        model=info.model,
        space=space,
        strategy=info.strategy.name,
        objectives=list(config.objectives),
        reference=reference,
        majority_error=majority,
        supernet=str(folder.resolve()),
        weights=supernet.weights,
        data=digest(info.splits),
        settings=config.identity() | {"conditions": conditions},
        test_run=config.test_run or info.test_run,
        sizes=supernet.space.sizes,
    )


def _beside(console: Console) -> Console:
    """A console on stderr for progress, which does not belong to the output."""
    return plain_console(stderr=True, quiet=console.quiet)


def _evaluator(split: TokenizedSplit, supernet: Supernet, accelerator: Accelerator, *, parts: int = 1) -> Evaluator:
    device, precision, task = accelerator.device, accelerator.mixed_precision, supernet.info.task
    return Evaluator(split, task, supernet.tokenizer, device=device, mixed_precision=precision, parts=parts)


def _latencies(
    config: SearchConfig, supernet: Supernet, accelerator: Accelerator, folder: Path, *, beside: Console
) -> Latencies | None:
    """Measures latencies relative to the full model's at the beginning of the run; None if none are measured."""
    if "latency_ms" not in config.objectives or config.latency_table is not None:
        return None
    if accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        raise UserError(
            "objective latency_ms cannot be measured by several processes that share a CPU; use one process, or "
            f"give latency_table=FILE, which '{typed_command('profile')}' writes"
        )
    latencies = partial(Latencies, supernet.model, config.workload, mixed_precision=accelerator.mixed_precision)
    full = None
    if accelerator.is_main_process:
        old = None if config.overwrite else going_on(folder)
        known = {} if old is None else {name: old.reference[name] for name in LATENCY if name in old.reference}
        with show_progress(beside, "measuring the latency of the full model"):
            full = known if len(known) == len(LATENCY) else latencies().full
    return latencies(full=broadcast_from_main(accelerator, full))


def _weight_shared(
    config: SearchConfig, supernet: Supernet, data: TaskData, accelerator: Accelerator, latencies: Latencies | None
) -> WeightSharedEvaluator:
    """The evaluator. A latency is measured, or computed by a table; evaluations may stop early."""
    confidence, predict = config.stop_confidence, None
    if config.latency_table is not None:
        conditions = _latency_conditions(config, supernet, accelerator)
        predict = load_table(user_path(config.latency_table), conditions, sizes=supernet.space.sizes).predict
    return WeightSharedEvaluator(
        supernet,
        _evaluator(data.validation, supernet, accelerator, parts=1 if confidence is None else PARTS),
        config.workload,
        config.objectives,
        measure_latency=latencies,
        predict_latency=predict,
        stop_confidence=confidence,
    )


def _conditions(config: SearchConfig, supernet: Supernet, accelerator: Accelerator) -> dict[str, Any]:
    """The conditions of the results besides the configuration. A search resumes only under the same conditions."""
    values: dict[str, Any] = {"device": accelerator.device.type, "precision": accelerator.mixed_precision}
    if "latency_ms" not in config.objectives:
        return values
    measured = {} if config.latency_table is not None else {"measured": "in turns with the full net"}
    return values | {"latency": str(_latency_conditions(config, supernet, accelerator))} | measured


def _latency_conditions(config: SearchConfig, supernet: Supernet, accelerator: Accelerator) -> Conditions:
    device, precision = accelerator.device, accelerator.mixed_precision
    return Conditions.of(supernet.model, config.workload, device=device, mixed_precision=precision)
