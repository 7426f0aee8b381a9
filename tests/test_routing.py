"""A command that takes other commands' options too: each override reaches the commands that know its key."""

import sys
from dataclasses import replace

import pytest

from search.options.search import SearchConfig
from supernet.console.config import load_config
from supernet.console.help import help_of
from supernet.console.routing import route, routed_jobs, run_each, run_routed
from supernet.options.training import TrainConfig
from supernet.runtime.commands import COMMANDS
from supernet.runtime.errors import UserError

SEVERAL = "doctor"


@pytest.fixture(autouse=True)
def _doctor_takes_two_commands_options(monkeypatch):
    monkeypatch.setitem(COMMANDS, SEVERAL, replace(COMMANDS[SEVERAL], also=("train", "search")))


@pytest.mark.parametrize(
    ("typed", "takers"),
    [
        ("task=rte", ["train"]),
        ("experiment=best", ["train"]),
        ("searcher=random", ["search"]),
        ("debug=fast", ["train", "search"]),
        ("seed=3", ["train", "search"]),
        ("output_dir='elsewhere'", ["train", "search"]),
        ("train.epochs=2", ["train"]),
        ("task.name='mine'", ["train"]),
        ("max_params='0.5'", ["doctor"]),
        ("workload.length=64", ["doctor", "search"]),
        ("data.text=['a','b']", ["train"]),
    ],
)
def test_an_override_goes_to_all_that_know_its_key(typed, takers):
    overrides = route(SEVERAL, [typed])
    assert overrides == {name: [typed] if name in takers else [] for name in ("doctor", "train", "search")}


def test_each_command_reads_what_it_is_given():
    overrides = route(SEVERAL, ["task=sst2", "data.dir=Größe[1].csv", "seed=3", "experiment=best", "searcher=random"])
    train = load_config("train", TrainConfig, overrides["train"])
    search = load_config("search", SearchConfig, overrides["search"])
    assert (train.task.name, train.data.dir, train.seeds.data, train.space.multiple_of) == (
        "sst2",
        "Größe[1].csv",
        3,
        64,
    )
    assert (search.data.dir, search.seed, search.searcher.name) == ("Größe[1].csv", 3, "random")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("serchr=random", "key 'serchr' is unknown; did you mean searcher"),
        ("max_param=0.5", "key 'max_param' is unknown; did you mean max_params"),
        ("lr=1", "did you mean evaluator.learning_rate or .* or train.learning_rate"),
        ("task=mnil", r"task 'mnil' is unknown; .*did you mean mnli"),
        ("debug=slow", r"debug 'slow' is unknown"),
        ("foo", "'foo' is not understood"),
        ("=foo", "'=foo' is not understood"),
        ("train.epochs=some", "train.epochs 'some' must be a whole number"),
        ("train.epochs=0", "train.epochs is 0"),
        ("max_evaluations=0", "max_evaluations is 0"),
        ("seed=1,2", "seed=1,2 has several values; add -m"),
        ("hydra/launcher=slurm", "key 'hydra/launcher' is unknown"),
    ],
)
def test_a_mistake_is_found_whichever_command_it_is_for(typed, message):
    with pytest.raises(UserError, match=message):
        route(SEVERAL, [typed])


def test_a_sweep_combines_the_values_of_all_commands():
    typed = ["task=rte,mrpc", "searcher=random,ehvi", "max_params=0.5", "seed=1"]
    jobs = routed_jobs(SEVERAL, typed, sweep=True)
    assert [job.name for job in jobs] == [f"task={t} searcher={s}" for t in ("rte", "mrpc") for s in ("random", "ehvi")]
    one = {"doctor": ["max_params='0.5'"], "train": ["task=mrpc", "seed=1"], "search": ["searcher=ehvi", "seed=1"]}
    assert jobs[-1].config == one


def test_a_key_of_two_commands_has_the_same_value_in_both():
    jobs = routed_jobs(SEVERAL, ["seed=1,2"], sweep=True)
    assert [job.config for job in jobs] == [{"doctor": [], "train": [s], "search": [s]} for s in ("seed=1", "seed=2")]


def test_the_jobs_of_a_command_line_run(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(sys, "argv", ["doctor", "task=rte", "max_evaluations=3"])
    run_routed(SEVERAL, run_each(ran.append))
    assert ran == [{"doctor": [], "train": ["task=rte"], "search": ["max_evaluations=3"]}]
    monkeypatch.setattr(sys, "argv", ["doctor", "-m", "task=rte,mrpc"])
    run_routed(SEVERAL, run_each(ran.append))
    assert [each["train"] for each in ran[1:]] == [["task=rte"], ["task=mrpc"]]
    assert "task=mrpc" in capsys.readouterr().err


def test_flags_for_a_single_command_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doctor", "--cfg", "job"])
    with pytest.raises(SystemExit):
        run_routed(SEVERAL, print)
    assert capsys.readouterr().err.startswith("error: --cfg is for a single command; give it to one, for example")


def test_the_help_names_the_other_commands_options():
    text = help_of(SEVERAL)
    lines = text.splitlines()
    assert sum("too; '" in line for line in lines) == 2
    assert any(line.split()[:2] == ["train.*", "epochs,"] for line in lines)
    assert any(line.split()[:2] == ["searcher=NAME", "ehvi,"] for line in lines)
    assert "--cfg" not in text
    assert "--cfg" in help_of("train")
