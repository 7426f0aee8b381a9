"""The options of stage two (conf/search.yaml).

`search.run` checks that the searcher or baseline exists, since their tables import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.objectives import OBJECTIVES, QUALITY
from search.options.evaluators import EVALUATOR_OPTIONS, FINETUNE, SUPERNET, EvaluatorOptions, SupernetEvaluator
from search.options.searchers import MOASHA, SEARCHER_OPTIONS, PhasedOptions, SearcherOptions
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import MAX_SEED, UserError, at_least, one_of, within
from supernet.runtime.fields import COUNTED_APART, NO_EFFECT, SINGLE, counts_as, identity, names, variants
from supernet.runtime.files import digest, file_sha256, folder_name, supernet_name
from supernet.runtime.precision import AUTO, PRECISIONS
from supernet.runtime.storage import user_path
from supernet.space.cost import Workload

SEARCH, BASELINE = "search", "baseline"
MODES = (SEARCH, FINETUNE, BASELINE)
"""Modes: a search of the supernet, a search that trains each sub-network alone, a baseline."""

DROPS = ("top", "bottom", "alternate", "symmetric")


@dataclass(frozen=True)
class BaselineOptions:
    """A baseline: a way of pruning without a search.

    Attributes:
        name: Name of the baseline. null: a search.
        budgets: Shares of the encoder's parameters to prune to, more than 0 and at most 1.
        rows: Number of training rows that kwon2022 and head_pruning look at. Kwon et al. take 2048.
        drop: Layers that layer_dropping drops first: top, bottom, alternate or symmetric.
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
        at_least("baseline.rows", self.rows, 1, what=" training rows")
        one_of("baseline.drop", self.drop, DROPS)


@dataclass(frozen=True)
class RowPlace:
    """Where the task's rows are now.

    Attributes:
        dir: Folder of the task's files, or the folder above it, if they were moved. null: as in training.
        cache_dir: Folder of the tokenised rows. null: as in training.
    """

    dir: str | None = field(default=None, metadata=NO_EFFECT)
    cache_dir: str | None = field(default=None, metadata=NO_EFFECT)


@dataclass(frozen=True)
class SearchData(RowPlace):
    """The task's rows.

    Attributes:
        validation_rows: Number of validation rows to evaluate on, the same in every search. null: all.
    """

    validation_rows: int | None = None

    def __post_init__(self) -> None:
        if self.validation_rows is not None:
            at_least("data.validation_rows", self.validation_rows, 1, what=", or null for all")


def _content(file: str) -> str | None:
    """The checksum of a file, wherever it is. A missing file is refused when it is read."""
    return file_sha256(user_path(file)) if user_path(file).is_file() else None


@dataclass(frozen=True)
class SearchConfig:
    """All options of a search.

    The results are written to OUTPUT_DIR/search/NAME. The same command again resumes an interrupted search. With a
    larger max_evaluations it also resumes a search that has ended.

    Attributes:
        searcher: How sub-networks are proposed.
        space: Where to search: ranked8, or a space of train such as medium64 that contains the supernet's own space or
            lies within it. null: first in the supernet's own space, then in a larger one around what was found (after
            small64 and medium64: ranked8). Searchers that do not learn stay in the supernet's own space.
        starts: Folders of runs that searched the same supernet. The sub-networks on their fronts are evaluated first.
        data: The task's rows.
        evaluator: Where the weights of a sub-network come from.
        baseline: A way of pruning without a search, to compare a search with.
        supernet: Folder of a trained supernet. null: the newest one in OUTPUT_DIR/train.
        objectives: Two or more objectives, all minimised: error or loss, and one or more costs. Names:
        workload: The batch that FLOPs, latency and memory are stated for.
        latency_table: File of `plm-supernet profile`. Latencies are then computed. null: they are measured.
        mixed_precision: auto, fp32, bf16 or fp16. auto: bf16 on a GPU that has it, else fp32.
        max_evaluations: Number of sub-networks to evaluate, those that are evaluated already included.
        seed: Seed of the searcher.
        output_dir: Folder of all runs.
        name: Name of the run folder. null: a name made from the configuration.
        overwrite: Delete the trials that are there and start from scratch.
        test_run: Mark the results as those of a test run. debug=fast sets it.
    """

    searcher: SearcherOptions = field(metadata=variants(SEARCHER_OPTIONS))
    data: SearchData
    evaluator: EvaluatorOptions = field(
        default_factory=lambda: SupernetEvaluator(SUPERNET), metadata=variants(EVALUATOR_OPTIONS)
    )
    baseline: BaselineOptions = field(default_factory=BaselineOptions)
    space: str | None = None
    starts: tuple[str, ...] = field(default=(), metadata=SINGLE)
    supernet: str | None = field(default=None, metadata=COUNTED_APART)
    objectives: list[str] = field(
        default_factory=lambda: ["error", "params"], metadata=names({n: o.label for n, o in OBJECTIVES.items()})
    )
    workload: Workload = field(default_factory=Workload)
    latency_table: str | None = field(default=None, metadata=counts_as(_content))
    mixed_precision: str = AUTO
    max_evaluations: int = field(default=100, metadata=NO_EFFECT)
    seed: int = field(default=0, metadata=COUNTED_APART)
    output_dir: str = field(default="runs", metadata=NO_EFFECT)
    name: str | None = field(default=None, metadata=NO_EFFECT)
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    test_run: bool = field(default=False, metadata=COUNTED_APART)

    def __post_init__(self) -> None:
        self._check_objectives()
        self._check_stop_confidence()
        if self.searcher.name == MOASHA and self.evaluator.name != FINETUNE:
            raise UserError(
                "searcher moasha stops trainings early, but nothing is trained here; add evaluator=finetune"
            )
        if self.baseline.name is not None and self.evaluator.name == FINETUNE:
            raise UserError(f"baseline={self.baseline.name} trains nothing; leave out evaluator=finetune")
        one_of("mixed_precision", self.mixed_precision, (AUTO, *PRECISIONS))
        at_least("max_evaluations", self.max_evaluations, 1)
        for key, given in (("space", self.space is not None), ("starts", bool(self.starts))):
            if given and self.mode != SEARCH:
                raise UserError(f"{key} is for a search with the supernet's weights; leave it out with {self._way}")
        within("seed", self.seed, 0, MAX_SEED)
        if self.name is not None and not folder_name(self.name).strip("."):  # it would be the folder of all runs
            raise UserError(f"name is '{self.name}'; it must name a folder, or be null to have one made")

    def _check_objectives(self) -> None:
        for name in self.objectives:
            one_of("objective", name, OBJECTIVES)
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
        if self.stop_confidence is None:
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
    def mode(self) -> str:
        """One of `MODES`."""
        if self.baseline.name is not None:
            return BASELINE
        return FINETUNE if self.evaluator.name == FINETUNE else SEARCH

    @property
    def _way(self) -> str:
        """What was asked for instead of a search with the supernet's weights, as it is typed."""
        return f"evaluator={FINETUNE}" if self.mode == FINETUNE else f"baseline={self.baseline.name}"

    @property
    def first_phase(self) -> int | None:
        """Number of sub-networks to try in the supernet's own space before a larger one; None if there is one space."""
        searcher = self.searcher
        if self.mode != SEARCH or self.space is not None or not isinstance(searcher, PhasedOptions):
            return None
        return searcher.first_phase

    @property
    def stop_confidence(self) -> float | None:
        """The confidence at which evaluations stop early; None if all rows are evaluated."""
        return self.evaluator.stop_confidence if isinstance(self.evaluator, SupernetEvaluator) else None

    @property
    def label(self) -> str:
        """Name of the searcher or baseline that proposes the sub-networks."""
        return self.searcher.name if self.baseline.name is None else self.baseline.name

    @property
    def trials(self) -> int:
        """The largest number of trials."""
        return self.max_evaluations if self.baseline.name is None else len(self.baseline.budgets)

    def identity(self) -> dict[str, Any]:
        """The values that the trials depend on, except supernet and seed. A run resumes only if all are unchanged."""
        values, unused = identity(self), ("searcher", "evaluator") if self.mode == BASELINE else ("baseline",)
        if self.first_phase is None:
            values["searcher"].pop("first_phase", None)
        # Options that older versions did not have count only if they are given: the names of their runs must stay.
        newer = [name for name in ("space", "starts") if not values[name]]
        return {name: value for name, value in values.items() if name not in (*unused, *newer)}

    def folder(self, supernet_folder: Path, supernet: dict[str, Any]) -> Path:
        """The run folder: named after this supernet, searcher and seed unless it has a name of its own.

        Args:
            supernet_folder: Folder of the supernet.
            supernet: What identifies the supernet, in plain values.
        """
        way = f"{FINETUNE}-{self.label}" if self.mode == FINETUNE else self.label
        made = folder_name(supernet_name(supernet_folder), way, f"seed{self.seed}", digest([self.identity(), supernet]))
        return user_path(self.output_dir) / "search" / (made if self.name is None else folder_name(self.name))
