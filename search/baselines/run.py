"""A baseline in stage two: the full model pruned to each budget, and evaluated as a search evaluates sub-networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from transformers import PreTrainedModel

from search.baselines.base import Pruned
from search.baselines.table import BASELINES
from search.baselines.weights import write_changed
from search.evaluation.measure import WeightSharedEvaluator
from search.loop import attempt
from search.options.search import BaselineOptions
from search.trials import Trial, TrialFile, weights_file
from supernet.artifact import Supernet
from supernet.data.tokens import TokenizedSplit
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork


def prune(
    supernet: Supernet,
    train: TokenizedSplit,
    weight_shared: WeightSharedEvaluator,
    file: TrialFile,
    *,
    options: BaselineOptions,
    seed: int,
    on_trial: Callable[[Trial], None],
) -> tuple[dict[SubNetwork, PreTrainedModel], list[float]]:
    """Makes a smaller model for each budget and evaluates it. Budgets that give the same sub-network make one trial.

    For trials in the file the models are made again, which is quick and gives the same models. If the baseline changes
    weights, those of each trial are kept in the run folder before the trial is in the file. Runs of older versions get
    those that they lack.

    Args:
        supernet: Its full model is pruned.
        train: Training rows, which some baselines read.
        weight_shared: Evaluates a model.
        file: Where trials are appended.
        options: The baseline, its budgets and its other options.
        seed: Selects the training rows.
        on_trial: Called after each trial, including the trials of the file.

    Returns:
        The model of each sub-network, whose weights the baseline may have changed, and the budgets that it cannot meet.

    Raises:
        UserError: if the file holds trials of other sub-networks.
    """
    assert options.name is not None
    baseline, full = BASELINES[options.name], supernet.model
    models: dict[SubNetwork, PreTrainedModel] = {}
    left_out = list(options.budgets)
    pruning = baseline.prune(
        full, train, options.budgets, pad_token_id=supernet.tokenizer.pad_token_id, seed=seed, options=options
    )
    start = time.perf_counter()
    for pruned in pruning:
        left_out.remove(pruned.budget)
        if pruned.subnet not in models:
            models[pruned.subnet] = pruned.model
            changed_from = full if baseline.tune is not None else None
            on_trial(_trial(len(models) - 1, pruned, weight_shared, file, since=start, changed_from=changed_from))
        start = time.perf_counter()
    return models, left_out


def _trial(
    number: int,
    pruned: Pruned,
    weight_shared: WeightSharedEvaluator,
    file: TrialFile,
    *,
    since: float,
    changed_from: PreTrainedModel | None,
) -> Trial:
    """The trial of that number, from the file or evaluated now; its weights are kept if they may be changed."""
    known = file.trials[number] if number < len(file.trials) else None
    if known is not None and known.subnet != pruned.subnet:
        raise UserError(f"{file.path}:{number + 1} is another sub-network; start again with overwrite=true")
    if known is None:
        outcome = attempt(lambda: weight_shared.evaluate(pruned.subnet, pruned.model))
        outcome = replace(outcome, seconds=time.perf_counter() - since)
    folder = file.path.parent
    if changed_from is not None and (known is None or not weights_file(folder, number).exists()):
        write_changed(folder, number, pruned.model, pruned.subnet, changed_from)
    return file.append(pruned.subnet, outcome) if known is None else known
