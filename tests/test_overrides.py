"""Values on the command line are what was typed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from search.options.search import SearchConfig
from search.options.select import SelectConfig
from search.report.overlay import ReportConfig
from supernet.console.config import load_config, load_sweep
from supernet.console.keys import ValueForm
from supernet.console.overrides import in_grammar, parse, quoted
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError

TEXT, TEXTS, COLUMN = (
    ValueForm("text", text=True),
    ValueForm("a list of text", several=True),
    ValueForm("text", text=True, column=True),
)
ODD = "aä字 0.,[](){}=:'\"\\$~%&#*?!|;<>@+-_/\n"


@given(st.text(ODD, min_size=1))
@example("${oc.env:HOME}")
@example("\\\\${")
@example("\\")
@example("\\\n")
@example("it's \\' \\\\'")
def test_a_quoted_text_is_that_text_again(text):
    assert OmegaConf.create({"key": parse(f"key={quoted(text)}").value()}).key == text


TYPED = [
    "Größe.csv", "数据/训练.csv", "é", "👍", "data[1].csv", "a[1", "a]b", "{x", "(1)", "f(1,2)", "(a,b)", "my file.csv",
    "a=b", "x==", "it's", 'say "hi"', "$HOME", "$", "${seed}", "${oc.env:HOME}", "a\\${x}", "back\\slash", "end\\",
    "100%", "~", "~/x y", "~data", "2024", "1e3", "01", "1.0", "1_000", "true", "False", "nan", "inf", "-", "-1", "a:b",
    "a;b", "*", "#1", "a&b|c", "<x>",
]  # fmt: skip


@pytest.mark.parametrize("text", TYPED)
def test_a_path_or_a_name_is_the_text_that_was_typed(text):
    keys = ("data.dir", "data.label", "data.text", "output_dir")
    config = load_config("train", TrainConfig, [f"{key}={text}" for key in keys])
    assert (config.data.dir, config.data.label, config.data.text, config.output_dir) == (text, text, (text,), text)


@pytest.mark.parametrize("text", [t for t in TYPED if t.count("[") == t.count("]") and t not in ("{x", "end\\")])
def test_so_is_each_in_a_list(text):
    assert load_config("train", TrainConfig, [f"data.text=[{text}, other]"]).data.text == (text, "other")
    assert load_config("report", ReportConfig, [f"runs=[a,{text}]"]).runs == ["a", text]


def test_columns_may_be_called_as_yaml_calls_other_things():
    config = load_config(
        "train", TrainConfig, ["data.label=null", "data.text=[1e3,null]", "task.classes=[01,1.0,true]"]
    )
    assert (config.data.label, config.data.text) == ("null", ("1e3", "null"))
    assert config.task.classes == ("01", "1.0", "true")


def test_null_is_none_for_other_texts_and_quotes_make_it_text():
    assert load_config("train", TrainConfig, ["data.dir=null"]).data.dir is None
    assert load_config("search", SearchConfig, ["name='null'"]).name == "null"
    assert load_config("search", SearchConfig, ['name="a,b"']).name == "a,b"
    assert load_config("search", SearchConfig, [r"name=a\,b"]).name == "a,b"


def test_numbers_may_still_follow_from_others():
    assert load_config("train", TrainConfig, ["seed=3", "seeds.data=${seed}"]).seeds.data == 3
    assert load_config("select", SelectConfig, ["max_params=0.50"]).max_params == "0.50"


def test_a_file_with_a_comma_in_its_name_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.csv", "[x]", "choice(1,2)"):
        with pytest.raises(UserError):
            load_config("train", TrainConfig, [f"data.dir={name}"])
        (tmp_path / name).touch()
        assert load_config("train", TrainConfig, [f"data.dir={name}"]).data.dir == name


def test_a_title_with_a_comma_is_one():
    assert load_config("report", ReportConfig, ["title=Searchers, on sst2"]).title == "Searchers, on sst2"


@pytest.mark.parametrize("blank", ["", " ", "''"])
def test_a_text_without_letters_is_none(blank):
    with pytest.raises(UserError, match=r"data\.dir is empty; give it a value, or leave it out"):
        load_config("train", TrainConfig, [f"data.dir={blank}"])


def test_a_sweep_has_each_value_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "01,größe [1].csv").touch()

    def values(*overrides):
        return [(job.name, job.config.data.dir, job.config.seed) for job in load_sweep("train", TrainConfig, overrides)]

    assert values("data.dir=01,größe [1].csv", "seed=3") == [
        ("data.dir=01", "01", 3),
        ("data.dir=größe [1].csv", "größe [1].csv", 3),
    ]
    assert [seed for *_, seed in values("seed=range(1,4)")] == [1, 2, 3]
    assert [name for name, *_ in values("task=rte,sst2", "seed=0,1")] == [
        "task=rte seed=0", "task=rte seed=1", "task=sst2 seed=0", "task=sst2 seed=1",
    ]  # fmt: skip
    assert values("data.dir='a,b',c")[0][1] == "a,b"
    texts = [job.config.data.text for job in load_sweep("train", TrainConfig, ["data.text=[a,b],[1e3,d]"])]
    assert texts == [("a", "b"), ("1e3", "d")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=rte,sts2"], "task 'sts2' is unknown"),
        (["train.epochs=3,0"], "train.epochs is 0; it must be 1 or more"),
        (["train.epochs=3,x"], "train.epochs 'x' must be a whole number"),
        (["seed=0,1", "data.source=hub,local"], "data.source=local needs data.dir"),
        (["seed=interval(0,1)"], "names no values; give them one by one: seed=VALUE,VALUE"),
    ],
)
def test_all_values_of_a_sweep_are_checked(overrides, message):
    with pytest.raises(UserError, match=message):
        load_sweep("train", TrainConfig, overrides)


@pytest.mark.parametrize("argument", ["key", "key=", "=x", "other={a:1}", "other=[1,2]"])
def test_what_needs_nothing_is_left_alone(argument):
    assert in_grammar(argument, {"key": ValueForm("text", text=True)}, sweep=False) == argument
