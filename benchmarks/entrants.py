"""The entrants of the contest (`contest.py`): ways to a small model, and the ground that they share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from rich.console import Console
from transformers import PreTrainedModel

from search.choice.choose import choose
from search.compress import EVALUATIONS, search_defaults
from search.evaluation.latencies import Latencies
from search.export.finalists import decide
from search.export.weights import model_of
from search.objectives import SHARE
from search.options.export import ExportConfig
from search.options.limits import Limits
from search.options.search import SearchConfig
from search.ranking import ROWS, SHARES
from search.run import search
from search.run_folder import RunRecord, read_run
from search.trials import all_evaluated
from supernet.artifact import Supernet, load_supernet
from supernet.console.config import load_config
from supernet.data.load import TaskData, load_task
from supernet.evaluation.evaluator import Evaluator
from supernet.models.families import architecture_of
from supernet.models.pretrained import load_pretrained, locate
from supernet.models.slicing import extract
from supernet.models.weights import weights_digest_of
from supernet.options.finish import LABELS, FinishOptions
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.space.cost import Workload, params_share
from supernet.space.ranked import read_ranking
from supernet.space.subnetwork import SubNetwork
from supernet.training.finish import finish
from supernet.training.importance import order_by_importance_, read_importance
from supernet.training.previous_run import training_of
from supernet.training.teacher import teacher_logits
from supernet.training.train import train

SIZES = (0.5, 0.25, 0.12, 0.06)
"""Largest shares of the encoder's parameters."""

SUPERNET = ("experiment=best",)
STANDARD = ("experiment=best", "strategy=standard", "order=none")
"""Trainings: the supernet, and the full model alone with the same options."""

ALONE_EPOCHS = 4
"""As many passes over the rows as the supernet and finishing have together."""

WORKLOAD = Workload(1, 64)
"""Of the latencies."""


@dataclass(frozen=True)
class Entry:
    """A small model, as found.

    Attributes:
        subnet: What it keeps.
        model: Its model.
        rivals: Other models of the same way, which are finished too; the best on validation rows is taken then.
    """

    subnet: SubNetwork
    model: PreTrainedModel
    rivals: tuple[Entry, ...] = ()


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

    @cached_property
    def full_errors(self) -> dict[str, float]:
        """Of the full model."""
        return self.errors(self.supernet.model)

    def errors(self, model: PreTrainedModel) -> dict[str, float]:
        """Error on each split."""
        return {name: round(evaluator.error(model), 6) for name, evaluator in self.evaluators.items()}

    def search(self, *overrides: str) -> RunRecord:
        """A run of stage two; a finished run is not repeated."""
        fixed = [f"supernet={self.folder}", f"output_dir={self.output}"]
        return read_run(search(load_config("search", SearchConfig, [*fixed, *overrides])))

    def best_finished(self, entry: Entry, options: FinishOptions) -> tuple[SubNetwork, PreTrainedModel]:
        """What is the best on the validation rows of the entry and its rivals, each trained alone."""
        done = [(one.subnet, self.finished(one, options)) for one in (entry, *entry.rivals)]
        scores = [self.evaluators["validation"].evaluate(model) for _, model in done]
        return done[decide(None, scores)[0]]

    @cached_property
    def done(self) -> dict[tuple[SubNetwork, str, FinishOptions], PreTrainedModel]:
        """What was trained alone. Several ways find the same sub-networks."""
        return {}

    def finished(self, entry: Entry, options: FinishOptions) -> PreTrainedModel:
        """The model, trained alone."""
        key = (entry.subnet, weights_digest_of(entry.model), options)
        if key not in self.done:
            self.done[key] = self._finish(entry, options)
        return self.done[key]

    def _finish(self, entry: Entry, options: FinishOptions) -> PreTrainedModel:
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


def searched(*overrides: str, finalists: int = 1) -> Callable[[Ground], ForSize]:
    """A search, what `plm-supernet select` chooses of it for each size, and as many finalists as `export` takes."""

    def make(ground: Ground) -> ForSize:
        run = ground.search(*overrides)

        def entry(size: float) -> Entry | None:
            try:
                choice = choose(run, {"params": str(size)})
            except UserError:  # no sub-network of the space is so small
                return None
            subnets = [e.subnet for e in choice.finalists[:finalists]]
            first, *others = (Entry(subnet, model_of(run, subnet, ground.supernet)) for subnet in subnets)
            return replace(first, rivals=tuple(others))

        return entry

    return make


def stepwise(*overrides: str) -> Callable[[Ground], ForSize]:
    """The steps of the pruning that a search begins with, without the search."""

    def make(ground: Ground) -> ForSize:
        run, sizes = ground.search(*overrides), ground.supernet.space.sizes
        ranking = read_ranking(run.folder, sizes)
        assert ranking is not None
        share = partial(params_share, architecture_of(ground.supernet.model.config))

        def entry(size: float) -> Entry | None:
            fitting = [subnet for subnet in ranking.subnets(sizes) if share(subnet) <= size]
            if not fitting:
                return None
            subnet = max(fitting, key=share)
            return Entry(subnet, model_of(run, subnet, ground.supernet))

        return entry

    return make


def pruned(baseline: str) -> Callable[[Ground], ForSize]:
    """A way of pruning without a search."""

    def make(ground: Ground) -> ForSize:
        run = ground.search(f"baseline={baseline}", f"baseline.budgets=[{','.join(map(str, SIZES))}]")
        made = {e.subnet: e.metrics[SHARE] for e in all_evaluated(run.trials)}

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
        depends: What else its results depend on.
    """

    make: Callable[[Ground], ForSize]
    training: tuple[str, ...] = SUPERNET
    sizes: tuple[float, ...] = SIZES
    finishes: bool = True
    depends: tuple[object, ...] = ()


def entrant_of_search(*overrides: str, finishes: bool = True, finalists: int = 1) -> Entrant:
    """An entrant that searches."""
    depends = (*overrides, finalists, SHARES, ROWS)
    return Entrant(searched(*overrides, finalists=finalists), finishes=finishes, depends=depends)


DEFAULTS = (*search_defaults(Limits(max_params="0.5"), 128), f"max_evaluations={EVALUATIONS}")
FINALISTS = load_config("export", ExportConfig, ["experiment=best", "max_params=0.5"]).finetune.finalists
OURS = entrant_of_search(*DEFAULTS, finalists=FINALISTS)

ENTRANTS: Mapping[str, Entrant] = {
    "ours": OURS,
    "its pruning alone": Entrant(stepwise(*DEFAULTS), depends=OURS.depends),
    **{
        f"{searcher}, {space}": entrant_of_search(
            f"searcher={searcher}", f"space={space}", f"max_evaluations={EVALUATIONS}", finishes=searcher == "ehvi"
        )
        for space in ("small64", "medium64", "large64")
        for searcher in ("ehvi", "random_scalarization", "nsga2", "stratified_random")
    },
    **{name: Entrant(pruned(name)) for name in ("kwon2022", "uniform_width", "layer_dropping")},
    "head_pruning": Entrant(pruned("head_pruning"), sizes=()),  # without any heads two thirds of the encoder are left
    "kwon2022 of a fine-tuned model": Entrant(pruned("kwon2022"), STANDARD),
    "trained alone": Entrant(alone, sizes=(0.25, 0.12), finishes=False, depends=(*OURS.depends, ALONE_EPOCHS)),
}
