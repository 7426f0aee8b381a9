"""What the end of a run measures on the test split, which chooses nothing. The file front.json keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.folder import RunInfo, RunRecord
from search.trials import Evaluated
from supernet.errors import UserError
from supernet.subnetwork import SubNetwork

FRONT_FILE = "front.json"
MAJORITY = "commonest answer"
"""What a row of tables is called that is no sub-network: always giving the answer that is the commonest."""


@dataclass(frozen=True)
class Tested:
    """A sub-network with its metric on the test split."""

    evaluated: Evaluated
    test_score: float


@dataclass(frozen=True)
class Results:
    """What the end of a run measures; front.json keeps it.

    Attributes:
        front: The members of the front, the largest cost first.
        full: The full net, on the front or not; None if it could not be measured.
        full_is_supernets: Whether that is the supernet's, as the run has no full net of its own.
        majority_score: The metric on the test split of always giving the answer that is the commonest among validation
            rows; None if it is not known.
        validation_rows: How many rows the errors are of; None if it is not known.
    """

    front: Sequence[Tested] = ()
    full: Tested | None = None
    full_is_supernets: bool = False
    majority_score: float | None = None
    validation_rows: int | None = None

    @property
    def shown(self) -> list[Tested]:
        """What tables list: the full net, then the front from large to small."""
        return [*([] if self.full is None or self.full_on_front else [self.full]), *self.front]

    @property
    def full_on_front(self) -> bool:
        """Whether the full net is a member of the front."""
        return any(self.is_full(member) for member in self.front)

    @property
    def test_scores(self) -> dict[SubNetwork, float]:
        """The metric on the test split, of those sub-networks of which it is known."""
        return {tested.evaluated.subnet: tested.test_score for tested in self.shown}

    def final(self, evaluated: Iterable[Evaluated]) -> list[Evaluated]:
        """Sub-networks with what the end of the run measured of them, which may be a better latency, where it did."""
        own = [t for t in self.shown if not (self.full_is_supernets and self.is_full(t))]
        measured = {tested.evaluated.subnet: tested.evaluated.metrics for tested in own}
        return [replace(e, metrics={**e.metrics, **measured.get(e.subnet, {})}) for e in evaluated]

    def is_full(self, tested: Tested) -> bool:
        """Whether that is the full net."""
        return self.full is not None and tested.evaluated.subnet == self.full.evaluated.subnet

    def against_full(self, score: float | None) -> float | None:
        """A metric on the test split less the full net's."""
        return None if self.full is None or score is None else score - self.full.test_score

    def rows(self, metric: str) -> list[dict[str, Any]]:
        """What front.json lists, see `shown`."""
        members, rows = {tested.evaluated.subnet for tested in self.front}, []
        for tested in self.shown:
            e = tested.evaluated
            marks = {"on_front": e.subnet in members, "full_net": self.is_full(tested)}
            row = {"text": str(e.subnet), "subnet": e.subnet.to_json()} | marks | dict(e.metrics)
            rows.append(row | self.scores(tested.test_score, metric))
        return rows

    def majority(self, info: RunInfo) -> dict[str, Any]:
        """What front.json says of the commonest answer."""
        return {"error": info.majority_error} | self.scores(self.majority_score, info.metric)

    def scores(self, score: float | None, metric: str) -> dict[str, Any]:
        """A metric on the test split and its difference from the full net's, by name; nothing of what is not known."""
        values = {f"test_{metric}": score, f"test_{metric}_against_full": self.against_full(score)}
        return {name: value for name, value in values.items() if value is not None}


_ROW_MARKS = ("text", "subnet", "on_front", "full_net")


def read_results(run: RunRecord) -> Results:
    """What front.json of a run says; nothing if there is no such file yet.

    Raises:
        UserError: if the file is damaged.
    """
    path, name = run.folder / FRONT_FILE, f"test_{run.info.metric}"
    if not path.exists():
        return Results()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        rows = [(row, _tested(row, name)) for row in values["front"]]
        return Results(
            front=[tested for row, tested in rows if row.get("on_front", True)],
            full=next((tested for row, tested in rows if row.get("full_net", row["params_share"] == 1)), None),
            full_is_supernets=bool(values.get("full_is_supernets")),
            majority_score=values.get("majority", {}).get(name),
            validation_rows=values.get("validation_rows"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be used ({error!r}); remove it and run the same search again") from error


def _tested(row: dict[str, Any], name: str) -> Tested:
    metrics = {key: float(v) for key, v in row.items() if key not in _ROW_MARKS and not key.startswith(name)}
    return Tested(Evaluated(SubNetwork.from_json(row["subnet"]), metrics), float(row[name]))


def check_front(run: RunRecord, front: Sequence[Evaluated]) -> None:
    """Sees that there is a front.

    Raises:
        UserError: if there is none, because there are no trials, or every one failed.
    """
    if front:
        return
    if not run.trials:
        raise UserError(f"there is no trial in {run.folder}, and so no front; allow larger sub-networks")
    reason = run.trials[-1].outcome.failure
    raise UserError(f"all {len(run.trials)} trials failed, the last one with: {reason}; see {run.folder}")
