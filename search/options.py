"""What stage two can be told: conf/search.yaml as frozen values that check themselves.

Like `supernet.options` this imports no torch. So whether a searcher or a baseline is known by a name `search.run` says,
where their tables are at hand.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from search.objectives import OBJECTIVES, QUALITY
from supernet.options.training import MAX_SEED
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.files import digest, file_sha256, folder_name
from supernet.runtime.precision import PRECISIONS
from supernet.runtime.storage import user_path
from supernet.space.cost import Workload

MOASHA = "moasha"
"""A searcher that stops trainings early; the others are the keys of `search.searchers.SEARCHERS`."""


@dataclass(frozen=True)
class SearcherOptions:
    """How sub-networks are proposed (conf/searcher/*.yaml).

    Attributes:
        name: A key of `search.searchers.SEARCHERS`, or `MOASHA`.
        known_cost: For ehvi: use that costs are computed by formula and model the error alone (true), or model all
            objectives (false).
        population: For morea and nsga2: sub-networks that parents are taken from.
        sample_size: For morea: members of the population that compete to be a parent.
        grace: For moasha: reports of a trial before it may be stopped.
        reduction_factor: For moasha: of so many trials one goes on, to so many times the reports.
    """

    name: str
    known_cost: bool = True
    population: int = 10
    sample_size: int = 5
    grace: int = 1
    reduction_factor: float = 3.0

    def __post_init__(self) -> None:
        if self.population < 2:
            raise UserError(f"searcher.population is {self.population}; it must be 2 or more")
        if self.name == "morea" and not 1 <= self.sample_size <= self.population:
            raise UserError(
                f"searcher.sample_size is {self.sample_size}; it must be from 1 to searcher.population "
                f"({self.population})"
            )
        if self.grace < 1:
            raise UserError(f"searcher.grace is {self.grace}; it must be 1 report or more")
        if not 1 < self.reduction_factor < math.inf:
            raise UserError(f"searcher.reduction_factor is {self.reduction_factor}; it must be greater than 1")


SUPERNET, FINETUNE = EVALUATORS = ("supernet", "finetune")

SEARCH, FINETUNE, BASELINE = KINDS = ("search", FINETUNE, "baseline")
"""How trials come about: a search of the supernet, a search whose sub-networks are trained alone, a baseline."""


@dataclass(frozen=True)
class EvaluatorOptions:
    """How sub-networks come by their weights (conf/evaluator/*.yaml); all but the first two are for finetune.

    Attributes:
        name: supernet: they are the supernet's. finetune: each is trained alone from the pre-trained weights.
        stop_confidence: For supernet: stop evaluating a sub-network once it is worse than one that costs no more, with
            this confidence (0.5 to less than 1); None evaluates each on all validation rows.
        workers: Sub-networks trained at once, each by a process of its own.
        epochs, batch_size, learning_rate: Of each training; None is as the supernet was trained.
        reports_per_epoch: Evaluations on the validation split in each epoch; after each a trial may be stopped.
        model: Folder of the pre-trained model or its name on the hub; None is where the supernet's training had it.
    """

    name: str = SUPERNET
    stop_confidence: float | None = None
    workers: int = 2
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    reports_per_epoch: int = 1
    model: str | None = None

    def __post_init__(self) -> None:
        if self.name not in EVALUATORS:
            raise unknown("evaluator", self.name, EVALUATORS)
        if self.stop_confidence is not None and self.name != SUPERNET:
            raise UserError("evaluator.stop_confidence is for evaluator=supernet; to stop trainings, searcher=moasha")
        if self.stop_confidence is not None and not 0.5 <= self.stop_confidence < 1:
            raise UserError(f"evaluator.stop_confidence is {self.stop_confidence}; it must be from 0.5 to less than 1")
        for option in fields(self)[2:] if self.name == SUPERNET else ():
            if getattr(self, option.name) != option.default:
                raise UserError(f"evaluator.{option.name} is for sub-networks that are trained; add evaluator=finetune")
        for key in ("workers", "epochs", "batch_size", "reports_per_epoch"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise UserError(f"evaluator.{key} is {getattr(self, key)}; it must be 1 or more")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise UserError(f"evaluator.learning_rate is {self.learning_rate}; it must be a number greater than 0")

    def identity(self) -> dict[str, Any]:
        """What the results depend on."""
        values = asdict(self)
        del values["workers"]
        del values["stop_confidence"]
        if self.model is not None and os.path.isdir(folder := os.path.expanduser(self.model)):  # else a name on the hub
            values["model"] = os.path.abspath(folder)
        return values if self.name == FINETUNE else {"name": self.name, "stop_confidence": self.stop_confidence}


DROPS = ("top", "bottom", "alternate", "symmetric")


@dataclass(frozen=True)
class BaselineOptions:
    """Which baseline, and what it is told (conf/baseline/*.yaml).

    Attributes:
        name: A key of `search.baselines.BASELINES`; None searches instead.
        budgets: Shares of the encoder's parameters, more than 0 and at most 1.
        rows: Training rows that a method looks at; all of them if there are fewer. Kwon et al. take 2048.
        drop: Which layers layer_dropping drops first, one of `DROPS`; see `search.baselines.widths`.
    """

    name: str | None = None
    budgets: list[float] = field(default_factory=lambda: [1.0, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1])
    rows: int = 2048
    drop: str = "top"

    def __post_init__(self) -> None:
        if not self.budgets or len(set(self.budgets)) < len(self.budgets) or not all(0 < b <= 1 for b in self.budgets):
            raise UserError(
                f"baseline.budgets is {self.budgets}; give different shares of the encoder, above 0 and up to 1"
            )
        if self.rows < 1:
            raise UserError(f"baseline.rows is {self.rows}; it must be 1 or more training rows")
        if self.drop not in DROPS:
            raise unknown("baseline.drop", self.drop, DROPS)


@dataclass(frozen=True)
class SearchData:
    """The task's rows (all of it null: as they were in training).

    Attributes:
        dir: Folder of the task's files, or the folder above it, if they have been moved since.
        cache_dir: Folder for tokenised rows.
        validation_rows: Rows of the validation split to evaluate on, the same ones in every search; None is all.
    """

    dir: str | None = None
    cache_dir: str | None = None
    validation_rows: int | None = None

    def __post_init__(self) -> None:
        if self.validation_rows is not None and self.validation_rows < 1:
            raise UserError(f"data.validation_rows is {self.validation_rows}; it must be 1 or more, or null for all")


@dataclass(frozen=True)
class SearchConfig:
    """Everything that stage two can be told (conf/search.yaml).

    Attributes:
        searcher: How sub-networks are proposed.
        data: The task's rows.
        evaluator: How sub-networks come by their weights.
        baseline: A way of pruning to be run instead of a search.
        supernet: Folder of a trained supernet; None is the newest one.
        objectives: Two or more of `OBJECTIVES`, all minimised.
        workload: Batch and length that FLOPs, latency and memory are stated for.
        latency_table: File that `plm-supernet profile` wrote: latencies are then computed. None measures them.
        mixed_precision: auto | fp32 | bf16 | fp16; auto is bf16 on a GPU that has it, otherwise fp32.
        max_evaluations: Trials in all.
        name: Of the run folder; None makes one of the configuration.
        test_run: Whether it is only to be seen that everything works (debug=fast); the results are marked so.
    """

    searcher: SearcherOptions
    data: SearchData
    evaluator: EvaluatorOptions = field(default_factory=EvaluatorOptions)
    baseline: BaselineOptions = field(default_factory=BaselineOptions)
    supernet: str | None = None
    objectives: list[str] = field(default_factory=lambda: ["error", "params"])
    workload: Workload = field(default_factory=Workload)
    latency_table: str | None = None
    mixed_precision: str = "auto"
    max_evaluations: int = 100
    seed: int = 0
    output_dir: str = "runs"
    name: str | None = None
    overwrite: bool = False
    test_run: bool = False

    def __post_init__(self) -> None:
        self._check_objectives()
        self._check_stop_confidence()
        if self.searcher.name == MOASHA and self.evaluator.name != FINETUNE:
            raise UserError("searcher moasha stops trainings early, and there are none; add evaluator=finetune")
        if self.baseline.name is not None and self.evaluator.name == FINETUNE:
            raise UserError(f"baseline={self.baseline.name} trains nothing; leave out evaluator=finetune")
        if self.mixed_precision not in ("auto", *PRECISIONS):
            raise unknown("mixed_precision", self.mixed_precision, ("auto", *PRECISIONS))
        if self.max_evaluations < 1:
            raise UserError(f"max_evaluations is {self.max_evaluations}; it must be 1 or more")
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError(f"seed is {self.seed}; it must be from 0 to {MAX_SEED}")
        if self.name is not None and not folder_name(self.name).strip("."):  # it would be the folder of all runs
            raise UserError(f"name is '{self.name}'; it must name a folder, or be null to have one made")

    def _check_objectives(self) -> None:
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise unknown("objective", name, OBJECTIVES)
        if len(set(self.objectives)) < max(2, len(self.objectives)):
            raise UserError(f"objectives are {self.objectives}; name two or more different ones of {list(OBJECTIVES)}")
        if not set(QUALITY) & set(self.objectives):
            raise UserError(f"objectives are {self.objectives}; one of them must be {' or '.join(QUALITY)}")
        if set(self.objectives) <= set(QUALITY):
            costs = [name for name in OBJECTIVES if name not in QUALITY]
            raise UserError(f"objectives are {self.objectives}; one of them must be a cost: {', '.join(costs)}")
        if self.latency_table is not None and "latency_ms" not in self.objectives:
            raise UserError("latency_table is given, but latency_ms is not among the objectives; add it there")
        if self.evaluator.name == FINETUNE and "latency_ms" in self.objectives and self.latency_table is None:
            raise UserError(
                "objective latency_ms cannot be measured while evaluator=finetune trains; give latency_table=FILE, "
                f"which '{typed_command('profile')}' writes"
            )

    def _check_stop_confidence(self) -> None:
        if self.evaluator.stop_confidence is None:
            return
        if self.baseline.name is not None:
            raise UserError(f"baseline={self.baseline.name} evaluates on all rows; leave out evaluator.stop_confidence")
        if "loss" in self.objectives:
            raise UserError("evaluator.stop_confidence judges by the error; leave loss out of the objectives")
        if "latency_ms" in self.objectives and self.latency_table is None:
            raise UserError(
                "evaluator.stop_confidence needs costs that are computed; give latency_table=FILE, which "
                f"'{typed_command('profile')}' writes"
            )

    @property
    def kind(self) -> str:
        """One of `KINDS`: how trials come about."""
        if self.baseline.name is not None:
            return BASELINE
        return FINETUNE if self.evaluator.name == FINETUNE else SEARCH

    @property
    def label(self) -> str:
        """What proposes the sub-networks."""
        return self.searcher.name if self.baseline.name is None else self.baseline.name

    @property
    def trials(self) -> int:
        """How many there are to be, at most."""
        return self.max_evaluations if self.baseline.name is None else len(self.baseline.budgets)

    def identity(self) -> dict[str, Any]:
        """What the trials depend on, the supernet aside: a run folder goes on only if none of it has changed."""
        values = asdict(self)
        for name in ("supernet", "max_evaluations", "output_dir", "name", "overwrite", "seed", "test_run"):
            del values[name]
        for name in ("searcher", "evaluator") if self.kind == BASELINE else ("baseline",):
            del values[name]
        values["data"] = {"validation_rows": self.data.validation_rows}
        if self.latency_table is not None:  # wherever it lies; one that is not there is refused when it is read
            table = user_path(self.latency_table)
            values["latency_table"] = file_sha256(table) if table.is_file() else None
        return values if self.kind == BASELINE else values | {"evaluator": self.evaluator.identity()}

    def folder(self, supernet_folder: Path, supernet: dict[str, Any]) -> Path:
        """The run folder: named after this supernet, searcher and seed unless it has a name of its own.

        Args:
            supernet_folder: Where the supernet lies.
            supernet: What is known of it, in plain values.
        """
        run = supernet_folder.parent.name if supernet_folder.name == "supernet" else supernet_folder.name
        way = f"{FINETUNE}-{self.label}" if self.kind == FINETUNE else self.label
        made = folder_name(run, way, f"seed{self.seed}", digest([self.identity(), supernet]))
        return user_path(self.output_dir) / "search" / (made if self.name is None else folder_name(self.name))
