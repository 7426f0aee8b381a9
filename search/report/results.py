"""Results of the end of a run, kept in front.json. The test split chooses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

from search.objectives import ROUNDING, SHARE
from search.run_folder import RunInfo, RunRecord
from search.trials import Evaluated, KnownMetrics, all_evaluated
from supernet.options.kinds import KINDS
from supernet.runtime.errors import UserError
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import Count, Named, Within, WrongValue, shaped
from supernet.space.subnetwork import SubNetwork

FRONT_FILE = "front.json"


def trivial_predictor(info: RunInfo) -> str:
    """Name of the predictor that gives the same answer for every row: the last row of tables."""
    names = (kind.labels.trivial for kind in KINDS.values() if info.metric in kind.metrics)
    return next(names, "trivial predictor")


@dataclass(frozen=True)
class Tested:
    """A sub-network with its metric on the test split."""

    evaluated: Evaluated
    test_score: float


@dataclass(frozen=True)
class Results:
    """Results of the end of a run, kept in front.json.

    Attributes:
        front: The members of the front, the largest cost first.
        full: The full model, on the front or not; None if it could not be measured.
        full_is_supernets: Whether `full` is the supernet's, because the run has no full model of its own.
        majority_score: The trivial predictor's metric on the test split. Its answer comes from validation rows. None if
            it is not known.
        validation_rows: Number of rows that errors were computed on; None if it is not known.
    """

    front: Sequence[Tested] = ()
    full: Tested | None = None
    full_is_supernets: bool = False
    majority_score: float | None = None
    validation_rows: int | None = None

    @property
    def shown(self) -> list[Tested]:
        """The rows of tables: the full model, then the front from large to small."""
        return [*([] if self.full is None or self.full_on_front else [self.full]), *self.front]

    @property
    def full_on_front(self) -> bool:
        """Whether the full model is a member of the front."""
        return any(self.is_full(member) for member in self.front)

    @property
    def test_scores(self) -> dict[SubNetwork, float]:
        """The metric on the test split, for each sub-network whose metric is known."""
        return {tested.evaluated.subnet: tested.test_score for tested in self.shown}

    def final(self, evaluated: Iterable[Evaluated]) -> list[Evaluated]:
        """Sub-networks with their latest metrics: the end of the run may have measured latencies again."""
        own = self.front if self.full_is_supernets else self.shown
        measured = {tested.evaluated.subnet: tested.evaluated.metrics for tested in own}
        return [replace(e, metrics={**e.metrics, **measured.get(e.subnet, {})}) for e in evaluated]

    def is_full(self, tested: Tested) -> bool:
        """Whether this is the full model."""
        return self.full is not None and tested.evaluated.subnet == self.full.evaluated.subnet

    def against_full(self, score: float | None) -> float | None:
        """A metric on the test split, minus the full model's."""
        return None if self.full is None or score is None else score - self.full.test_score

    def rows(self, metric: str) -> list[dict[str, Any]]:
        """The rows of front.json, see `shown`."""
        members, rows = {tested.evaluated.subnet for tested in self.front}, []
        for tested in self.shown:
            e = tested.evaluated
            marks = {"on_front": e.subnet in members, "full_net": self.is_full(tested)}
            row = {"text": str(e.subnet), "subnet": e.subnet.to_json()} | marks | dict(e.metrics)
            rows.append(row | self.scores(tested.test_score, metric))
        return rows

    def majority(self, info: RunInfo) -> dict[str, Any]:
        """The entry of the trivial predictor in front.json."""
        return {"error": info.majority_error} | self.scores(self.majority_score, info.metric)

    def scores(self, score: float | None, metric: str) -> dict[str, Any]:
        """A metric on the test split and its difference from the full model's, by name; unknown values are left out."""
        values = {f"test_{metric}": score, f"test_{metric}_against_full": self.against_full(score)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class _Kept:
    """The part of front.json that is read again."""

    front: list[dict[str, Any]]
    majority: dict[str, float] = field(default_factory=dict)
    full_is_supernets: bool = False
    validation_rows: Count | None = None


_Score = Annotated[float, Within(-1 - ROUNDING, 1 + ROUNDING)]
_ROW_MARKS = ("text", "subnet", "on_front", "full_net")


def read_results(run: RunRecord) -> Results:
    """Reads front.json of a run; empty results if there is no such file yet.

    Raises:
        UserError: if the file is damaged, or belongs to another run.
    """
    path, name = run.folder / FRONT_FILE, f"test_{run.info.metric}"
    if not path.exists():
        return Results()
    required = Named({}, tuple(run.info.reference))
    with unusable(str(path), "remove it and run the same search again"):
        values = shaped(dict[str, Any], load_json(path))
        kept = shaped(_Kept, {f.name: values[f.name] for f in fields(_Kept) if f.name in values})
        rows = [(row, _tested(row, name, required, f"front[{i}]")) for i, row in enumerate(kept.front)]
        front = [tested for row, tested in rows if row.get("on_front", True)]
        known = {e.subnet for e in all_evaluated(run.trials)}
        for subnet in (tested.evaluated.subnet for tested in front):
            if subnet not in known:
                raise WrongValue(f"sub-network ({subnet}) is not among the run's trials")
        return Results(
            front=front,
            full=next((tested for row, tested in rows if row.get("full_net", row[SHARE] == 1)), None),
            full_is_supernets=kept.full_is_supernets,
            majority_score=kept.majority.get(name),
            validation_rows=kept.validation_rows,
        )


def _tested(row: dict[str, Any], name: str, required: Named, key: str) -> Tested:
    values = {k: v for k, v in row.items() if k not in _ROW_MARKS and not k.startswith(name)}
    subnet, metrics = shaped(SubNetwork, row.get("subnet"), f"{key}.subnet"), shaped(KnownMetrics, values, key)
    required.check(metrics, key)
    return Tested(Evaluated(subnet, metrics), shaped(_Score, row.get(name), f"{key}.{name}"))


def check_front(run: RunRecord, front: Sequence[Evaluated]) -> None:
    """Checks that there is a front.

    Raises:
        UserError: if there is none, because there are no trials or all trials failed.
    """
    if front:
        return
    if not run.trials:
        raise UserError(f"{run.folder} has no trial, so there is no front; allow larger sub-networks")
    reason = run.trials[-1].outcome.failure
    raise UserError(f"all {len(run.trials)} trials failed, the last one with: {reason}; see {run.folder}")
