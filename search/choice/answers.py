"""What a run keeps of its sub-networks' predictions, row by row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from search.run_folder import RunRecord
from search.trials import Evaluated, predictions_file
from supernet.evaluation.predictions import LABELS_FILE, Predictions, read_labels, read_predictions
from supernet.runtime.reading import unusable
from supernet.space.subnetwork import SubNetwork


@dataclass(frozen=True, eq=False)
class Answers:
    """What sub-networks say of the validation rows.

    Attributes:
        labels_n: The true labels of the rows.
        of: What each sub-network says, in the same order.
    """

    labels_n: np.ndarray
    of: Mapping[SubNetwork, Predictions]


def read_answers(run: RunRecord, wanted: Collection[Evaluated]) -> Answers:
    """Reads what a run keeps of these sub-networks; nothing of those that it keeps nothing of.

    Raises:
        UserError: if a file is damaged, or is not about the trial whose name it has.
    """
    left, found = {e.subnet for e in wanted}, dict[SubNetwork, Predictions]()
    folder, advice = predictions_file(run.folder, None).parent, "remove the folder of predictions to do without it"
    if not (folder / LABELS_FILE).exists():
        return Answers(np.zeros(0), {})
    with unusable(str(folder / LABELS_FILE), advice):
        labels_n = read_labels(folder)
    of_trials = [(predictions_file(run.folder, t.number), [e.subnet for e in t.evaluated]) for t in run.trials]
    whole = [e.subnet for e in wanted if e.metrics["params_share"] == 1]
    for path, subnets in [*of_trials, (predictions_file(run.folder, None), whole)]:
        if left.intersection(subnets) and path.exists():
            with unusable(str(path), advice):
                models = read_predictions(path, models=len(subnets), rows=len(labels_n))
            found |= {s: p for s, p in zip(subnets, models, strict=True) if s in left}
            left -= found.keys()
    return Answers(labels_n, found)
