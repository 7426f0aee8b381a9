"""Run folders of stage two as searches write them, without a model: the error is a formula of what is kept.

With rows, each sub-network answers them with that error as its true error rate, and its error is the one that is seen.
"""

import json

import numpy as np
from scipy.stats import norm

from search.report.front import front_of
from search.report.one_run import write_results
from search.report.results import Results, Tested
from search.run_folder import TRIALS_FILE, RunInfo, begin_run, read_run
from search.trials import Evaluated, Outcome, Trial, all_evaluated, predictions_file
from supernet.evaluation.predictions import Predictions, write_predictions
from supernet.runtime.files import append_json_line
from supernet.space.cost import Architecture, encoder_params, params_share, total_flops, total_params
from supernet.space.spaces import MediumSpace
from supernet.space.subnetwork import Sizes

ARCHITECTURE = Architecture(
    layers=6,
    heads=12,
    units=1536,
    hidden=384,
    head_size=32,
    head_params=49_248,
    unit_params=769,
    attention_params=(1152,) * 6,
    feed_forward_params=(1152,) * 6,
    head_macs=49_152,
    unit_macs=768,
    embedding_params=11_900_000,
    embedding_macs=0,
    classifier_params=148_610,
    classifier_macs=148_224,
)
SPACE = MediumSpace(layers=6, heads=12, units=1536)
FULL = ARCHITECTURE.full
WORTH = np.array([0.3, 0.25, 0.18, 0.12, 0.09, 0.06])
"""Of a layer's heads and units."""
VALIDATION_ROWS = 872


def metrics_of(subnet, objectives):
    """What a search knows of a sub-network."""
    a, share = ARCHITECTURE, params_share(ARCHITECTURE, subnet)
    width = sum(WORTH[s.index] * (0.5 * len(s.heads) / 12 + 0.5 * len(s.units) / 1536) for s in subnet.layers)
    wobble = 0.03 * np.sin(sum(3 * len(s.heads) + len(s.units) for s in subnet.layers))
    latency = 1.5 + sum(0.8 * bool(s.heads) + 0.06 * len(s.heads) + 0.0009 * len(s.units) for s in subnet.layers)
    everything = {
        "error": 0.08 + 0.42 * (1 - width) ** 3 + wobble * (1 - width),
        "params": encoder_params(a, subnet),
        "params_share": share,
        "total_params": total_params(a, subnet),
        "flops": total_flops(a, subnet, tokens=128),
        "latency_ms": latency,
    }
    kept = {"error", "params", "params_share", "total_params", *objectives}
    return {name: float(value) for name, value in everything.items() if name in kept}


def subnets(count, seed, greed):
    """The full model, the smallest one, then random ones; with greed more and more of the good ones."""
    rng, found = np.random.default_rng(seed), [FULL, SPACE.smallest]
    while len(found) < count:
        skill = greed * len(found) / count
        mean, spread = rng.uniform(-0.2, 1.2), 0.5 * (1 - skill)
        shares = np.clip(mean + 3 * skill * np.tile(WORTH - WORTH.mean(), 2) + spread * rng.normal(size=12), 0, 1)
        found.append(SPACE.decode([int(n) for n in np.rint(shares * SPACE.upper)]))
    return found[:count]


def make_run(
    folder,
    *,
    label="random",
    seed=0,
    kind="search",
    evaluations=40,
    objectives=("error", "params"),
    greed=0.0,
    failed=(),
    tested=True,
    settings=None,
    majority_score=0.5,
    rows=None,
    **info,
):
    """Writes a run folder and returns what reading it gives.

    Args:
        folder: Made here.
        greed: From 0 to 1; how much better than random.
        failed: Numbers of the trials that fail.
        tested: Whether the run has ended, so that it has a front measured on the test split.
        majority_score: On the test split, of the trivial predictor.
        rows: Number of validation rows whose answers the run keeps; None keeps none.
        settings: Of the run, besides those that every search has.
        info: Other values of `RunInfo`.
    """
    folder.mkdir(parents=True)
    begin_run(folder, info_of(label, seed, objectives, kind=kind, settings=settings, **info), overwrite=False)
    proposed = subnets(evaluations, seed, greed)
    known = [metrics_of(subnet, objectives) for subnet in proposed]
    labels, answers = answers_of([metrics["error"] for metrics in known], rows or 1, np.random.default_rng(seed))
    for number, (subnet, metrics) in enumerate(zip(proposed, known, strict=True)):
        seconds = 0.4 + 0.6 * params_share(ARCHITECTURE, subnet)
        if rows is not None:
            metrics = metrics | {"error": float(np.mean(answers[number] != labels))}
            write_predictions(predictions_file(folder, number), [said(answers[number], labels)], labels)
        outcome = Outcome(metrics, seconds=seconds)
        if number in failed:
            outcome = Outcome(None, "RuntimeError: out of memory", seconds=seconds)
        elapsed = (number + 1) * (0.9 + 0.6 * greed)
        append_json_line(folder / TRIALS_FILE, Trial(number, subnet, outcome, elapsed).to_json())
    record = read_run(folder)
    if tested:
        write_results(record, results_of(record, rows or VALIDATION_ROWS, majority_score=majority_score))
    return record


def answers_of(error_rates, rows, rng, shared=0.9):
    """(n,) labels 0 and 1, and (m, n) answers with these true error rates.

    Rows are as hard for one model as for another: `shared` is the correlation of what decides whether an answer is
    wrong. Near models of one supernet have 0.9 and more.
    """
    rates_m1 = np.asarray(error_rates)[:, None]
    hardness = np.sqrt(shared) * rng.normal(size=rows) + np.sqrt(1 - shared) * rng.normal(size=(len(rates_m1), rows))
    labels = rng.integers(0, 2, rows)
    return labels, np.where(hardness < norm.ppf(rates_m1), 1 - labels, labels)


def said(answers, labels):
    """Predictions of a sub-network that is always equally certain."""
    return Predictions(answers, np.where(answers == labels, 0.1, 2.4))


def info_of(label, seed, objectives, *, settings=None, **info):
    """The run.json of a search of these objectives."""
    searched = {
        "workload": {"batch_size": 1, "length": 128},
        "searcher": {"name": label, "known_cost": True, "population": 10, "sample_size": 5},
        "data": {"validation_rows": None},
        "objectives": list(objectives),
        "seed": seed,
    }
    known = {
        "label": label,
        "seed": seed,
        "task": "sst2",
        "metric": "accuracy",
        "model": "minilm",
        "space": "medium",
        "strategy": "full",
        "objectives": list(objectives),
        "reference": {n: 1.0 if n == "error" else metrics_of(FULL, objectives)[n] for n in objectives},
        "majority_error": 0.4912,
        "supernet": "/elsewhere/runs/train/sst2-minilm-medium-full-seed0-1a2b3c4d/supernet",
        "weights": "5f" * 8,
        "data": "1a2b3c4d",
        "settings": searched | (settings or {}),
        "sizes": Sizes(layers=6, heads=12, units=1536),
    }
    return RunInfo(**(known | info))


def results_of(run, validation_rows=VALIDATION_ROWS, *, majority_score=0.5):
    """What the end of a run would measure."""
    front = [Tested(e, test_score(e)) for e in front_of(run)]
    own = next((e for e in all_evaluated(run.trials) if e.subnet == FULL), None)
    full = Evaluated(FULL, metrics_of(FULL, run.info.objectives)) if own is None else own
    tested = Tested(full, test_score(full))
    return Results(front, tested, own is None, majority_score=majority_score, validation_rows=validation_rows)


def test_score(evaluated: Evaluated):
    """The accuracy on the test split: not quite that on the validation split."""
    return 0.99 - evaluated.metrics["error"]


test_score.__test__ = False  # a helper, not a test


def trials_in(folder):
    """Everything of the trials but how long they took."""
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "elapsed")} for row in rows]
