"""The model of a run's sub-network: with the supernet's weights, or with those that the run keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from transformers import PreTrainedModel

from search.baselines.table import BASELINES
from search.baselines.weights import read_changed_
from search.finetune.weights import finetuned
from search.options.search import BASELINE, FINETUNE, SEARCH
from search.run_folder import RunRecord
from supernet.artifact import Supernet
from supernet.models.slicing import extract
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, unknown
from supernet.space.subnetwork import SubNetwork


def model_of(run: RunRecord, subnet: SubNetwork, supernet: Supernet) -> PreTrainedModel:
    """The small model that a run evaluated, in evaluation mode, on the CPU, independent of the supernet.

    Args:
        run: The run.
        subnet: One of its sub-networks.
        supernet: The supernet of the run (`search.run_folder.supernet_of`), on the CPU.

    Raises:
        UserError: if the supernet is another one, or the run has not kept the sub-network's weights.
    """
    if supernet.weights != run.info.weights:
        raise UserError(
            f"{run.folder} searched another supernet: the digest of its weights is {run.info.weights}, not "
            f"{supernet.weights}; name its supernet with supernet=FOLDER"
        )
    return _MODELS[run.info.kind](run, subnet, supernet).eval()


def _searched(run: RunRecord, subnet: SubNetwork, supernet: Supernet) -> PreTrainedModel:
    return extract(supernet.model, subnet)


def _trained(run: RunRecord, subnet: SubNetwork, supernet: Supernet) -> PreTrainedModel:
    _number(run, subnet)
    model = finetuned(run.folder, run.trials, supernet.model)(subnet)
    if model is None:
        raise UserError(
            f"{run.folder} keeps the weights of its front and of the full model alone, not those of ({subnet}); choose "
            "a member of the front, see front.csv"
        )
    return model


def _pruned(run: RunRecord, subnet: SubNetwork, supernet: Supernet) -> PreTrainedModel:
    if run.info.label not in BASELINES:
        raise unknown("baseline", run.info.label, BASELINES)
    number, small = _number(run, subnet), extract(supernet.model, subnet)
    if BASELINES[run.info.label].tune is not None and not read_changed_(run.folder, number, small):
        raise UserError(
            f"{run.folder} is from an older version, which did not keep the weights that {run.info.label} changes; run "
            f"the same '{typed_command('search')} baseline={run.info.label} ...' again, which adds them"
        )
    return small


_MODELS: Mapping[str, Callable[[RunRecord, SubNetwork, Supernet], PreTrainedModel]] = {
    SEARCH: _searched,
    FINETUNE: _trained,
    BASELINE: _pruned,
}
"""By mode: the model of a sub-network."""


def _number(run: RunRecord, subnet: SubNetwork) -> int:
    """The number of the trial that evaluated a sub-network."""
    number = next((trial.number for trial in run.trials if trial.subnet == subnet), None)
    if number is None:
        raise UserError(f"{run.folder} has no trial of ({subnet}); choose one that it evaluated")
    return number
