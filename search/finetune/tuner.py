"""Standard NAS: each sub-network is trained alone from the pre-trained weights, by Syne Tune's Tuner and processes.

It is the comparison for a search of the supernet: `plm-supernet search evaluator=finetune searcher=moasha`. The space,
the order of heads and units, the rows and the validation split are the supernet's. Its weights are not used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from syne_tune.optimizer.scheduler import TrialScheduler
from syne_tune.tuner import Tuner
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from search.evaluation.measure import WeightSharedEvaluator
from search.finetune.moasha import SubNetworkMOASHA
from search.finetune.recorder import Recorder
from search.finetune.records import Records
from search.finetune.trial import Job
from search.finetune.workers import Workers
from search.loop import MAX_FAILURES
from search.objectives import QUALITY
from search.options.evaluators import FinetuneEvaluator
from search.options.search import SearchConfig
from search.options.searchers import MoashaOptions
from search.searchers.schedulers import make_scheduler
from search.trials import Trial, TrialFile
from supernet.artifact import Supernet
from supernet.data.load import TaskData
from supernet.models.families import architecture_of
from supernet.models.pretrained import load_pretrained, locate
from supernet.options.model import ModelSource
from supernet.options.training import IMPORTANCE, Seeds, TrackingOptions, TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.precision import PRECISIONS
from supernet.runtime.processes import usable_cores
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.runtime.signals import ended_by_signals
from supernet.space.strategies import Strategy
from supernet.training.importance import order_by_importance_, read_importance

POLL_S = 0.3
"""Seconds between two checks of the processes."""


@dataclass(frozen=True)
class Finetuning:
    """Standard NAS, for the pre-trained model and the rows of a supernet.

    Attributes:
        config: The options of the search and of the trainings.
        mixed_precision: no | bf16 | fp16 (Accelerate's names), in all processes.
        supernet_folder: Folder of the supernet; the training's run folder is above it.
        supernet: Gives the task, the space and the order of heads and units.
        data: Its rows, with the number of validation rows from the options.
        weight_shared: Computes the costs of sub-networks.
        folder: The run folder of this search. No other process writes in it.
    """

    config: SearchConfig
    mixed_precision: str
    supernet_folder: Path
    supernet: Supernet
    data: TaskData
    weight_shared: WeightSharedEvaluator
    folder: Path

    def run(self, begin: Callable[[], TrialFile], on_trial: Callable[[Trial], object]) -> list[Trial]:
        """Trains sub-networks until there are `max_evaluations` trials, or none is left.

        A signal ends the trainings too. The next run starts unfinished trainings again from scratch.

        Args:
            begin: Begins the run in its folder and returns its trials. Called after all checks.
            on_trial: Called after each trial, and for each earlier one.

        Raises:
            UserError: if the pre-trained model cannot be read, options do not fit, or `MAX_FAILURES` trials in a row
                failed.
        """
        job, evaluator = self.job(), self.evaluator
        reports = job.config.train.epochs * job.reports_per_epoch
        scheduler = self.scheduler(reports)
        file, work = begin(), self.folder / "work"
        if not file.trials:
            forget(self.folder)
        shutil.rmtree(work, ignore_errors=True)  # a killed search leaves it
        work.mkdir()
        try:
            job.write(work)
            workers = Workers(work, self.supernet.space, threads=max(1, usable_cores() // evaluator.workers))
            recorder = Recorder(
                scheduler,
                self.supernet.space,
                Records(file, self.config.objectives, self.supernet.space.largest),
                workers,
                objectives=self.config.objectives,
                costs=self.weight_shared.costs,
                max_trials=self.config.max_evaluations,
                reports=reports,
                on_trial=on_trial,
            )
            with ended_by_signals():
                tune(recorder, workers, evaluator.workers, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if recorder.gave_up:
            raise UserError(
                f"{MAX_FAILURES} trials in a row failed, the last with: {recorder.last_failure}; "
                f"{self.folder / 'failures'} has the output of each, and the same command tries other sub-networks"
            )
        return file.trials

    @property
    def evaluator(self) -> FinetuneEvaluator:
        """The options for training sub-networks.

        Raises:
            TypeError: if the search does not train sub-networks.
        """
        if not isinstance(self.config.evaluator, FinetuneEvaluator):
            raise TypeError(f"evaluator {self.config.evaluator.name} trains no sub-networks")
        return self.config.evaluator

    def job(self) -> Job:
        """The inputs of all trials: the rows, and the pre-trained model, ordered like the supernet."""
        values = _training_of(self.supernet_folder)
        config = self._training(values)
        model, tokenizer = self._pretrained(config)
        evaluator = self.evaluator
        steps = -(-len(self.data.train) // config.train.batch_size)
        if evaluator.reports_per_epoch > steps:
            raise UserError(
                f"evaluator.reports_per_epoch is {evaluator.reports_per_epoch}, but an epoch has only {steps} steps"
            )
        return Job(config, evaluator.reports_per_epoch, model, tokenizer, self.data.train, self.data.validation)

    def scheduler(self, reports: int) -> TrialScheduler:
        """The scheduler that proposes sub-networks; moasha also stops them.

        Args:
            reports: Number of reports of a full trial.
        """
        config, searcher = self.config, self.config.searcher
        if not isinstance(searcher, MoashaOptions):
            return make_scheduler(
                searcher.name,
                self.supernet.space,
                metrics=config.objectives,
                seed=config.seed,
                known=self.weight_shared.known,
                options=searcher,
            )
        if searcher.grace >= reports:
            raise UserError(
                f"searcher.grace is {searcher.grace}, but a trial has only {reports} report(s), so no trial could be "
                "stopped; give a larger evaluator.reports_per_epoch or evaluator.epochs"
            )
        return SubNetworkMOASHA(
            self.supernet.space,
            metrics=config.objectives,
            first=next(i for i, name in enumerate(config.objectives) if name in QUALITY),
            seed=config.seed,
            reports=reports,
            grace=searcher.grace,
            reduction_factor=searcher.reduction_factor,
        )

    def _training(self, trained: TrainConfig) -> TrainConfig:
        """The supernet's training options, for one sub-network, with this search's seed and settings."""
        evaluator, seed = self.evaluator, self.config.seed
        names = ("epochs", "batch_size", "learning_rate")
        given = {name: getattr(evaluator, name) for name in names if getattr(evaluator, name) is not None}
        precision = {theirs: ours for ours, theirs in PRECISIONS.items()}[self.mixed_precision]
        return replace(
            trained,
            task=self.data.task,
            model=self._model(trained.model),
            strategy=Strategy("standard", k=0),
            distillation=type(trained.distillation)(),
            train=replace(trained.train, **given, mixed_precision=precision, compile=False),
            seeds=Seeds(seed, seed, seed),
            tracking=TrackingOptions(),
        )

    def _model(self, trained: ModelSource) -> ModelSource:
        """The pre-trained model of the supernet, at the same commit; evaluator.model may name another place."""
        given = self.evaluator.model
        source = trained if given is None else ModelSource("given", given)
        same = source.on_hub == trained.on_hub
        return replace(source, revision=self.supernet.info.revisions.get("model")) if same else source

    def _pretrained(self, config: TrainConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        try:
            folder = locate(config.model).folder
        except UserError as error:
            raise UserError(f"{error}; evaluator.model=FOLDER names the pre-trained model's folder") from error
        model, tokenizer = load_pretrained(
            folder, self.data.task, seed=config.seeds.model, labels=self.data.train.labels
        )
        if architecture_of(model.config) != architecture_of(self.supernet.model.config):
            raise UserError(f"{folder} is not the pre-trained model of the supernet; give evaluator.model=FOLDER")
        if self.supernet.info.order.name == IMPORTANCE:
            importance = read_importance(self.supernet_folder.parent, architecture_of(model.config).sizes)
            if importance is None:
                raise UserError(
                    f"the supernet's heads and units were ordered by importance, but {self.supernet_folder.parent} has "
                    "no importance.npz with that order; train the supernet again, or use one trained with order=none"
                )
            order_by_importance_(model, importance)
        return model, tokenizer


def _training_of(supernet_folder: Path) -> TrainConfig:
    """The options of a supernet's training: config.json of its run folder.

    Raises:
        UserError: if it cannot be read.
    """
    path = supernet_folder.parent / "config.json"
    what = "evaluator=finetune starts from the pre-trained weights of the supernet's training, but"
    with unusable(
        f"{what} {path}, which names them,", "give supernet=OUTPUT_DIR/train/NAME, the run folder of a training"
    ):
        return shaped(TrainConfig, load_json(path))


def tune(recorder: Recorder, workers: Workers, count: int, work: Path) -> None:
    """Runs Syne Tune's loop until the recorder has no more trials; Syne Tune's own files go to `work`."""
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):  # it prints tables
        tuner = Tuner(
            trial_backend=workers,
            scheduler=recorder,
            stop_criterion=lambda status: False,  # the recorder decides, so that running trials can end
            n_workers=count,
            sleep_time=POLL_S,
            max_failures=recorder.max_trials,
            tuner_name=work.name,
            suffix_tuner_name=False,
            callbacks=[],
            save_tuner=False,  # it would pickle the tuner
            trial_backend_path=str(work / "trials"),
        )
        tuner.tuner_path = work / "syne-tune"
        tuner.run()


def forget(folder: Path) -> None:
    """Removes the other files of a run folder after its trials were removed."""
    (folder / "epochs.jsonl").unlink(missing_ok=True)
    for name in ("weights", "failures"):
        shutil.rmtree(folder / name, ignore_errors=True)
