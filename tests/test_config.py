"""Every YAML composes into its dataclass; each mistake on the command line gives its one line."""

from pathlib import Path

import pytest

from search.options.export import ExportConfig
from search.options.search import SearchConfig
from supernet.console.choices import PRESETS, choice_of
from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError

CONF = Path(__file__).parent.parent / "conf"
GROUPS = {
    "train": (TrainConfig, ["task", "model", "space", "strategy", "sampling", "order"]),
    "search": (SearchConfig, ["searcher", "evaluator", "baseline"]),
    "export": (ExportConfig, []),
}
NEEDS = {"moasha": ["evaluator=finetune"], "export": ["max_params=0.5"]}
ALONE = {"compress", "train", "search", "doctor", "export", "predict", "profile", "report", "select", "base"}
CHOICES = [
    (command, group, file.stem)
    for command, (_, groups) in GROUPS.items()
    for group in groups
    for file in sorted((CONF / group).glob("*.yaml"))
]


@pytest.mark.parametrize(("command", "group", "name"), CHOICES)
def test_every_choice_composes(command, group, name):
    config = load_config(command, GROUPS[command][0], [f"{group}={name}", *NEEDS.get(name, [])])
    assert getattr(config, group).name == (None if name == "none" and group == "baseline" else name.removesuffix("64"))


PRESETS_OF = [
    (file.parent.name, file.parent.parent.name, file.stem)
    for preset in PRESETS
    for file in sorted((CONF / preset).glob("*/*.yaml"))
]


@pytest.mark.parametrize(("command", "preset", "name"), PRESETS_OF)
def test_every_preset_composes(command, preset, name):
    needed = NEEDS.get(command, [])
    with_it = load_config(command, GROUPS[command][0], [f"{preset}={name}", *needed])
    assert with_it != load_config(command, GROUPS[command][0], needed)


def test_the_command_line_wins_over_a_preset():
    config = load_config("train", TrainConfig, ["train.epochs=3", "space.depth=prefix", "experiment=best"])
    assert (config.train.epochs, config.space.depth, config.order.name) == (3, "prefix", "importance")
    fast = load_config("train", TrainConfig, ["experiment=best", "debug=fast", "strategy=sandwich"])
    assert (fast.train.epochs, fast.space.depth, fast.strategy.name) == (1, "even", "sandwich")


def test_no_yaml_is_left_out():
    reached = {f"{group}/{name}" for _, group, name in CHOICES} | {f"{p}/{c}/{n}" for c, p, n in PRESETS_OF}
    there = {file.relative_to(CONF).with_suffix("").as_posix() for file in CONF.rglob("*.yaml")}
    assert there - reached == ALONE


def test_defaults_are_as_documented():
    train, search = load_config("train", TrainConfig), load_config("search", SearchConfig)
    assert (train.task.name, train.model.name, train.space.name, train.strategy.name) == (
        "mnli", "minilm", "small", "full",
    )  # fmt: skip
    assert (search.searcher.name, search.searcher.known_cost, search.max_evaluations) == ("ehvi", True, 100)


def test_seed_sets_every_seed_that_is_not_set_itself():
    seeds = load_config("train", TrainConfig, ["seed=3", "seeds.data=5"]).seeds
    assert (seeds.model, seeds.data, seeds.sampling) == (3, 5, 3)


def test_the_run_folder_follows_from_the_configuration():
    def folder(*overrides):
        return load_config("train", TrainConfig, ["task=rte", "train.mixed_precision=fp32", *overrides]).folder

    assert folder() == folder() == folder("overwrite=true")
    assert folder("train.epochs=2") != folder()
    assert folder("output_dir=/elsewhere").name == folder().name
    assert folder("model.name_or_path=/models/My Bert").name.startswith("rte-My_Bert-small-full-seed0-")


def test_a_search_is_the_same_however_its_files_are_spelled(tmp_path, monkeypatch):
    def identity(*overrides):
        return load_config("search", SearchConfig, overrides).identity()

    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.json"
    table.write_text("{}")
    known = ["objectives=[error,latency_ms]", "latency_table="]
    here, there = (identity(known[0], known[1] + name) for name in ("table.json", str(table)))
    table.write_text("[]")
    assert here == there != identity(known[0], f"{known[1]}{table}")
    (tmp_path / "model").mkdir()
    here, there, hub = (
        identity("evaluator=finetune", f"evaluator.model={name}")["evaluator"]["model"]
        for name in ("model", f"{tmp_path}/model", "some/model")
    )
    assert (here, there, hub) == (str(tmp_path / "model"), str(tmp_path / "model"), "some/model")


MISTAKES = [
    ("train", "task=mnil", "task 'mnil' is unknown; allowed: cola, custom, .*did you mean mnli"),
    ("train", "model=minlm", "model 'minlm' is unknown; .*did you mean minilm"),
    ("train", "space=smal", "space 'smal' is unknown; .*did you mean small"),
    ("train", "strategy=ful", "strategy 'ful' is unknown; .*did you mean full"),
    ("search", "searcher=evhi", "searcher 'evhi' is unknown; allowed: ehvi, .*did you mean ehvi"),
    ("train", "train.epoch=3", "key 'train.epoch' is unknown; did you mean train.epochs"),
    ("train", "+train.epoch=3", "key 'train.epoch' is unknown; did you mean train.epochs"),
    ("train", "+task=rte", "'\\+task=rte' is not understood; write task=value"),
    ("train", "~task", "'~task' is not understood"),
    ("train", "searcher=random", "key 'searcher' is unknown"),
    ("search", "task=rte", "key 'task' is unknown"),
    ("train", "seed=5000000000", "seeds.model is 5000000000; it must be from 0 to"),
    ("train", "distillation.temperature=inf", "distillation.temperature is inf"),
    ("train", "train.weight_decay=inf", "train.weight_decay is inf"),
    ("train", "nonsense=1", "key 'nonsense' is unknown; --help shows all keys"),
    ("train", "train.epochs", "'train.epochs' is not understood; write key=value"),
    ("train", "train.epochs=many", "train.epochs 'many' must be a whole number$"),
    ("train", "train.learning_rate=abc", "train.learning_rate 'abc' must be a number$"),
    ("train", "sampling.per_rank=maybe", "sampling.per_rank 'maybe' must be true or false$"),
    ("train", "tracking.to=wandb", r"tracking.to 'wandb' must be a list: tracking.to=\[wandb\]$"),
    ("train", "task.classes=3", r"task.classes '3' must be a list: task.classes=\[3\]$"),
    ("train", "task.label_range=[a,b]", r"task.label_range\[0\] 'a' must be a number$"),
    ("train", "data.dir=[a]", r"data.dir \['a'\] must be text$"),
    ("train", "train.epochs=null", "train.epochs must not be null; give a whole number, for example train.epochs=5"),
    ("train", "experiment=papr", "experiment 'papr' is unknown; allowed: best, paper .*did you mean paper"),
    ("train", "debug=slow", "debug 'slow' is unknown; allowed: fast"),
    ("search", "experiment=paper", "key 'experiment' is unknown"),
    ("train", "order=important", "order 'important' is unknown; allowed: importance, none"),
    ("train", "order.batches=0", "order.batches is 0; it must be 1 or more"),
    ("train", "sampling=stratfied", "sampling 'stratfied' is unknown; .*did you mean stratified"),
    ("train", "space.depth=odd", "space.depth 'odd' is unknown; allowed: even, importance, prefix"),
    ("train", "data.dir=", "data.dir is empty; give it a value, or leave it out"),
    ("train", "task=", "task"),
    ("search", "supernet=", "supernet is empty"),
    (
        "train",
        "data.text=title,body",
        r"data.text=title,body has several values; write data.text=\[title,body\] for a list",
    ),
    ("train", "task=rte,sst2", "task=rte,sst2 has several values; add -m to run with each of them in turn"),
    ("train", "seed=range(0,3)", r"seed=range\(0,3\) has several values; add -m"),
    ("train", "train.epochs=0", "train.epochs is 0; it must be 1 or more"),
    ("train", "train.batch_size=0", "train.batch_size is 0"),
    ("train", "train.learning_rate=-1", "train.learning_rate is -1.0; it must be a number greater than 0"),
    ("train", "train.learning_rate=nan", "train.learning_rate is nan"),
    ("train", "train.warmup=2", "train.warmup is 2.0; it must be from 0 to 1, as a share"),
    ("train", "train.mixed_precision=fp8", "train.mixed_precision 'fp8' is unknown; allowed: auto, bf16, fp16, fp32"),
    ("train", "strategy.k=-1", "strategy.k is -1; it must be 0 or more"),
    ("train", "distillation.temperature=0", "distillation.temperature is 0.0; it must be from 0.01 to 1000"),
    ("train", "seed=-1", "seeds.model is -1"),
    ("train", "data.source=hup", "data.source 'hup' is unknown; .*did you mean hub"),
    ("train", "data.source=local", "data.source=local needs data.dir=FOLDER"),
    ("train", "data.max_train_samples=1", "data.max_train_samples=1 leaves too few rows"),
    ("train", "task.metric=f2", "task.metric 'f2' is unknown"),
    ("search", "max_evaluations=0", "max_evaluations is 0; it must be 1 or more"),
    ("search", "objectives=[error,parms]", r"objective 'parms' is unknown; .*did you mean params"),
    ("search", "objectives=[error]", r"objectives are \['error'\]; name two or more"),
    ("search", "objectives=[params,flops]", "one of them must be error or loss"),
    ("search", "workload.length=0", "length"),
    ("search", "latency_table=x.json", "latency_ms is not among the objectives"),
    ("search", "searcher=moasha", "add evaluator=finetune"),
    ("search", "baseline=kwon", "baseline 'kwon' is unknown; .*did you mean kwon2022"),
    ("search", "baseline.budgets=[0.5,2]", r"baseline.budgets is \[0.5, 2.0\]; give different shares"),
    (
        "search",
        "searcher.population=5",
        "is for searcher=morea or searcher=nsga2, and this is searcher=ehvi; leave",
    ),
    ("search", "data.validation_rows=0", "data.validation_rows is 0; it must be 1 or more"),
    ("search", "mixed_precision=fp8", "mixed_precision 'fp8' is unknown; allowed: auto, bf16, fp16, fp32"),
    ("search", "objectives=[error,loss]", r"objectives are \['error', 'loss'\]; one of them must be a cost: params, "),
    ("search", "name=..", r"name is '\.\.'; it must name a folder"),
    ("search", "name=''", "name is empty; give it a value"),
    ("search", "searcher.name=sorted", "searcher 'sorted' is unknown; allowed: ehvi, "),
    ("search", "evaluator.epochs=3", "evaluator.epochs is for evaluator=finetune, .* add evaluator=finetune$"),
    ("search", "evaluator.stop_confidence=1", "evaluator.stop_confidence is 1.0; it must be from 0.5 to less than 1"),
    ("search", "searcher.known_cost=maybe", "searcher.known_cost 'maybe' must be true or false"),
]


@pytest.mark.parametrize(("command", "override", "message"), MISTAKES)
def test_each_mistake_gives_its_line(command, override, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config(command, GROUPS[command][0], [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for _, group, name in CHOICES if group == "space"])
def test_a_space_is_called_as_the_user_called_it(name):
    assert choice_of("space", load_config("train", TrainConfig, [f"space={name}"]).space) == name


@pytest.mark.parametrize(
    ("overrides", "called"),
    [
        (["space=small64", "space.min_layers=1"], "small64, min_layers 1"),
        (["space=small", "space.multiple_of=64"], "small, multiple_of 64"),
        (["space=medium", "space.multiple_of=64"], "medium64"),
        (["space=small", "space.depth=even"], "small, depth even"),
        (["experiment=best"], "small64"),
    ],
)
def test_what_differs_from_a_space_with_a_name_is_said(overrides, called):
    assert choice_of("space", load_config("train", TrainConfig, overrides).space) == called
