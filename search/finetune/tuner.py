"""Standard NAS: each sub-network is trained alone from the pre-trained weights, by Syne Tune's Tuner and processes.

What the supernet's weights are measured against: `plm-supernet search evaluator=finetune searcher=moasha`. The space,
the order of heads and units, the rows and the validation split are the supernet's; its weights are not used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_model
from syne_tune.optimizer.scheduler import TrialScheduler
from syne_tune.tuner import Tuner
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from search.finetune.moasha import SubNetworkMOASHA
from search.finetune.recorder import Recorder, weights_name
from search.finetune.trial import Job
from search.finetune.workers import Workers
from search.loop import MAX_FAILURES
from search.measure import WeightSharedEvaluator
from search.objectives import QUALITY
from search.options.evaluators import FinetuneEvaluator
from search.options.search import SearchConfig
from search.options.searchers import MoashaOptions
from search.searchers.schedulers import make_scheduler
from search.trials import Trial, TrialFile
from supernet.artifact import Supernet
from supernet.data.load import TaskData
from supernet.models.families import architecture_of
from supernet.models.files import refusing
from supernet.models.pretrained import load_pretrained, locate
from supernet.models.slicing import extract
from supernet.options.model import ModelSource
from supernet.options.training import IMPORTANCE, Seeds, TrackingOptions, TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.precision import PRECISIONS
from supernet.runtime.processes import usable_cores
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.runtime.signals import ended_by_signals
from supernet.space.strategies import Strategy
from supernet.space.subnetwork import SubNetwork
from supernet.training.importance import order_by_importance_, read_importance

POLL_S = 0.3
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Finetuning:
    """Standard NAS on what a supernet was made from.

    Attributes:
        config: What to search, and how to train.
        mixed_precision: no | bf16 | fp16, Accelerate's name, in the main process and in the others.
        supernet_folder: The supernet's; the training's run folder is the one above.
        supernet: Says what to train, and on what.
        data: Its rows, validation rows cut if so wished.
        weight_shared: Computes the costs of sub-networks.
        folder: The run folder of this search, which nobody else writes in.
    """

    config: SearchConfig
    mixed_precision: str
    supernet_folder: Path
    supernet: Supernet
    data: TaskData
    weight_shared: WeightSharedEvaluator
    folder: Path

    def run(self, begin: Callable[[], TrialFile], on_trial: Callable[[Trial], object]) -> list[Trial]:
        """Trains sub-networks until there are as many trials as asked for, or none is left.

        Ended by a signal, it ends the processes too; trainings that were not at their end are begun anew the next time.

        Args:
            begin: Begins the run in its folder and gives its trials; called once it is clear that nothing is missing.
            on_trial: Called after each trial, those too that the run folder has already.

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
        shutil.rmtree(work, ignore_errors=True)  # a killed process leaves it
        work.mkdir()
        try:
            job.write(work)
            workers = Workers(work, self.supernet.space, threads=max(1, usable_cores() // evaluator.workers))
            recorder = Recorder(
                scheduler,
                self.supernet.space,
                file,
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
                f"{MAX_FAILURES} trials in a row failed, the last one with: {recorder.last_failure}; "
                f"{self.folder / 'failures'} has all they said, and the same command goes on with others"
            )
        return file.trials

    @property
    def evaluator(self) -> FinetuneEvaluator:
        """How sub-networks are trained.

        Raises:
            TypeError: if the search does not train them.
        """
        if not isinstance(self.config.evaluator, FinetuneEvaluator):
            raise TypeError(f"evaluator {self.config.evaluator.name} trains no sub-networks")
        return self.config.evaluator

    def job(self) -> Job:
        """What all trials share: the pre-trained model, its heads and units ordered as the supernet's; the rows."""
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
        """What proposes sub-networks, and for moasha stops them.

        Args:
            reports: Of a trial that is not stopped.
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
                f"searcher.grace is {searcher.grace}, but a trial has only {reports} report(s) in all: none could be "
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
        """The supernet's training, but of one network, and with this search's seed and settings."""
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
        """The pre-trained model that the supernet began with, from another place if so wished; at the same commit."""
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
            raise UserError(f"the supernet was made from another model than {folder}; give evaluator.model=FOLDER")
        if self.supernet.info.order.name == IMPORTANCE:
            importance = read_importance(self.supernet_folder.parent, architecture_of(model.config).sizes)
            if importance is None:
                raise UserError(
                    f"the supernet's heads and units were ordered by importance, and {self.supernet_folder.parent} has "
                    "no importance.npz to do so again; train the supernet again, or use one trained with order=none"
                )
            order_by_importance_(model, importance)
        return model, tokenizer


def _training_of(supernet_folder: Path) -> TrainConfig:
    """How a supernet was trained: config.json of its run folder.

    Raises:
        UserError: if it cannot be read.
    """
    path = supernet_folder.parent / "config.json"
    what = "evaluator=finetune begins with the weights that the supernet's training began with, but"
    with unusable(
        f"{what} {path}, which names them,", "give supernet=OUTPUT_DIR/train/NAME, the run folder of a training"
    ):
        return shaped(TrainConfig, load_json(path))


def tune(recorder: Recorder, workers: Workers, count: int, work: Path) -> None:
    """Runs Syne Tune's loop until the recorder has no more trials; its own files go to `work`."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # it prints tables, and has no switch for all
        tuner = Tuner(
            trial_backend=workers,
            scheduler=recorder,
            stop_criterion=lambda status: False,  # the recorder's to say, so that what runs can end
            n_workers=count,
            sleep_time=POLL_S,
            max_failures=recorder.max_trials,
            tuner_name=work.name,
            suffix_tuner_name=False,
            callbacks=[],
            save_tuner=False,  # it would be pickled
            trial_backend_path=str(work / "trials"),
        )
        tuner.tuner_path = work / "syne-tune"
        tuner.run()


def forget(folder: Path) -> None:
    """Removes what a run folder has besides its trials, once these are gone."""
    (folder / "epochs.jsonl").unlink(missing_ok=True)
    for name in ("weights", "failures"):
        shutil.rmtree(folder / name, ignore_errors=True)


def finetuned(
    folder: Path, trials: Sequence[Trial], full: PreTrainedModel
) -> Callable[[SubNetwork], PreTrainedModel | None]:
    """Reads the trained sub-networks of a run: those of its front and the full model; None for one that was not kept.

    Args:
        folder: The run folder.
        trials: Of the run.
        full: A model of the full size, of which only the shape counts.
    """
    numbers = {trial.subnet: trial.number for trial in trials}

    def read(subnet: SubNetwork) -> PreTrainedModel | None:
        path = folder / "weights" / weights_name(numbers[subnet])
        if not path.exists():
            return None
        model = extract(full, subnet)
        with refusing(
            f"{path}, the weights of trial {numbers[subnet]}, cannot be used", "start anew with overwrite=true"
        ):
            load_model(model, path)
        return model.eval()

    return read
