"""The names of run folders, to the letter: whoever repeats a command of an older version finds the old run again.

Searches that learn are the exception: they are made in two phases now, so they are other runs.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from search.options.search import SearchConfig
from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.runtime.fields import COUNTED_APART, NO_EFFECT, counts_as, identity

TRAININGS = [
    ([], "mnli-minilm-small-full-seed0-41d0874e"),
    (["task=rte", "experiment=best"], "rte-minilm-small-full-seed0-9c1a4ece"),
    (["task=sst2", "experiment=paper", "seed=3", "seeds.data=5"], "sst2-minilm-small-full-seed3-48252042"),
    (
        [
            "task=stdlib",
            "debug=fast",
            "train.checkpoint_every=7",
            "train.keep_checkpoints=3",
            "resume=never",
            "overwrite=true",
            "tracking.to=[wandb]",
            "tracking.project=x",
        ],
        "stdlib-minilm-small-full-seed0-c490acf6",
    ),
    (
        [
            "task=custom",
            "data.dir=/data/reviews.csv",
            "data.text=[title,body]",
            "data.label=topic",
            "data.ignore_labels=[-1,null]",
            "model.name_or_path=/models/My Bert",
        ],
        "custom-My_Bert-small-full-seed0-f4c7b723",
    ),
    (
        [
            "task=custom",
            "data.hub=some/set",
            "data.hub_config=c",
            "data.hub_revision=v2",
            "data.text=body",
            "data.ignore_labels=1.5",
            "data.quotes=literal",
        ],
        "custom-minilm-small-full-seed0-22713f38",
    ),
    (
        [
            "task=swag",
            "data.choices=[a,b,c]",
            "data.cache_dir=/cache",
            "train.micro_batch_size=4",
            "train.gradient_checkpointing=true",
        ],
        "swag-minilm-small-full-seed0-e12d6377",
    ),
    (
        [
            "task=mnli",
            "strategy=kd",
            "distillation.teacher=/models/teacher",
            "distillation.divergence=reverse",
            "data.dir=/glue",
            "data.max_train_samples=100",
            "data.split_seed=1",
            "data.source=local",
        ],
        "mnli-minilm-small-kd-seed0-476af03e",
    ),
    (
        [
            "task=stsb",
            "space=medium64",
            "sampling=stratified",
            "order=importance",
            "order.batches=3",
            "train.compile=true",
            "train.micro_batch_size=null",
            "train.max_grad_norm=null",
            "model=bert-base-cased",
            "model.revision=abc",
            "test_run=true",
        ],
        "stsb-bert-base-cased-medium-full-seed0-d7f46fa4",
    ),
]

SEARCHES = [
    ([], "sst2-x-ehvi-seed0-b6f32289"),
    (["searcher=random", "seed=4", "max_evaluations=7"], "sst2-x-random-seed4-36b6e531"),
    (["searcher=morea", "searcher.population=6", "searcher.sample_size=3"], "sst2-x-morea-seed0-78de08dd"),
    (["searcher=nsga2", "searcher.population=4"], "sst2-x-nsga2-seed0-7b5e4ccc"),
    (
        ["searcher=ehvi", "searcher.known_cost=false", "objectives=[error,params,flops]", "workload.length=64"],
        "sst2-x-ehvi-seed0-3bee14a5",
    ),
    (
        [
            "searcher=moasha",
            "evaluator=finetune",
            "searcher.grace=2",
            "searcher.reduction_factor=4",
            "evaluator.workers=3",
        ],
        "sst2-x-finetune-moasha-seed0-4de6bd48",
    ),
    (
        [
            "searcher=grid",
            "evaluator=finetune",
            "evaluator.epochs=2",
            "evaluator.batch_size=4",
            "evaluator.learning_rate=1e-4",
            "evaluator.reports_per_epoch=2",
            "evaluator.model=some/model",
        ],
        "sst2-x-finetune-grid-seed0-a8a25cbe",
    ),
    (
        [
            "searcher=local_search",
            "evaluator.stop_confidence=0.9",
            "data.validation_rows=100",
            "data.dir=/x",
            "data.cache_dir=/y",
            "mixed_precision=bf16",
        ],
        "sst2-x-local_search-seed0-ee042d05",
    ),
    (["baseline=kwon2022", "baseline.rows=64", "baseline.budgets=[0.5,0.25]"], "sst2-x-kwon2022-seed0-d9751c2d"),
    (["baseline=layer_dropping", "baseline.drop=bottom"], "sst2-x-layer_dropping-seed0-a7ec958e"),
    (["baseline=uniform_width"], "sst2-x-uniform_width-seed0-559286a6"),
    (["baseline=head_pruning", "debug=fast"], "sst2-x-head_pruning-seed0-5a3bfc09"),
    (
        ["searcher=random_scalarization", "objectives=[error,latency_ms]", "latency_table=/nowhere/table.json"],
        "sst2-x-random_scalarization-seed0-82899ba9",
    ),
]

SETTINGS = {
    "searcher": {
        "name": "moasha",
        "known_cost": True,
        "population": 10,
        "sample_size": 5,
        "grace": 2,
        "reduction_factor": 4.0,
    },
    "data": {"validation_rows": None},
    "evaluator": {
        "name": "finetune",
        "epochs": None,
        "batch_size": None,
        "learning_rate": None,
        "reports_per_epoch": 1,
        "model": None,
    },
    "objectives": ["error", "params"],
    "workload": {"batch_size": 1, "length": 128},
    "latency_table": None,
    "mixed_precision": "auto",
}
"""In run.json, of a search with searcher=moasha: the options of all searchers, in this order."""


@pytest.mark.parametrize(("overrides", "name"), TRAININGS)
def test_a_training_s_folder_keeps_its_name(overrides, name):
    assert load_config("train", TrainConfig, [*overrides, "train.mixed_precision=fp32"]).folder.name == name


@pytest.mark.parametrize(("overrides", "name"), SEARCHES)
def test_a_search_s_folder_keeps_its_name(overrides, name):
    config = load_config("search", SearchConfig, overrides)
    assert config.folder(Path("/runs/train/sst2-x/supernet"), {"weights": "abc"}).name == name


def test_a_run_keeps_its_settings():
    (overrides,) = [overrides for overrides, _ in SEARCHES if "searcher=moasha" in overrides]
    assert json.dumps(load_config("search", SearchConfig, overrides).identity()) == json.dumps(SETTINGS)


def test_the_identity_leaves_out_what_does_not_change_the_result():
    @dataclass(frozen=True)
    class Inner:
        path: str | None = field(metadata=counts_as(str.upper))
        workers: int = field(default=1, metadata=NO_EFFECT)

    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        rows: list[int]
        seed: int = field(default=0, metadata=COUNTED_APART)

    assert identity(Outer(Inner("a", 3), [1], 2)) == {"inner": {"path": "A"}, "rows": [1]}
    assert identity(Outer(Inner(None), [])) == {"inner": {"path": None}, "rows": []}
