"""The card of an export folder: what the hub reads of it, what people read, and its programs, which are run."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import transformers.dynamic_module_utils
import yaml
from huggingface_hub import ModelCard

from supernet.export.card import card_of, write_card
from supernet.export.report import read_report
from supernet.export.serving import load
from supernet.options.task import Task
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.exports import TASKS, exported, model_file, report_of, task_of

KINDS = pytest.mark.parametrize("kind", TASKS)


@pytest.fixture
def folder(tmp_path, monkeypatch, tokenizer):
    """Makes an export folder in the current folder, and returns the report with some values changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))

    def make(kind="classes", **values):
        exported(tmp_path / "tiny-50", tokenizer, kind, **values)
        report = read_report(tmp_path / "tiny-50")
        write_card(tmp_path / "tiny-50", report)
        return SimpleNamespace(path=tmp_path / "tiny-50", card=(tmp_path / "tiny-50" / "README.md").read_text())

    return make


def programs(card):
    """The card's programs, by the heading above them."""
    return dict(re.findall(r"### (\S+)\n.*?```python\n(.*?)```", card, re.DOTALL))


def printed(program, capsys):
    """What a program prints."""
    capsys.readouterr()
    exec(compile(program, "card", "exec"), {})
    return capsys.readouterr().out


def test_the_hub_reads_what_is_known(folder):
    data = ModelCard(folder().card).data
    (result,) = data.eval_results
    assert (data.model_name, data.library_name, data.pipeline_tag) == ("tiny-50", "transformers", "text-classification")
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.9, "my-classes")
    assert (data.base_model, data.datasets, data.license, data.language) == (None, None, None, None)
    assert data.tags == ["plm-supernet", "structured-pruning"]
    assert data.metrics == ["accuracy"]
    assert yaml.safe_load(data.to_yaml())["model-index"][0]["results"][0]["task"]["type"] == "text-classification"


def test_a_known_model_and_data_set_have_their_names_on_the_hub(folder):
    task = Task(
        "sst2",
        ("sentence",),
        "label",
        "matthews",
        ("bad", "good"),
        hub="nyu-mll/glue",
        hub_config="sst2",
        kind="classification",
    )
    report = report_of(task, "code", [model_file("int8"), model_file("onnx")], origin={"model": "bert-base-cased"})
    data = card_of(folder().path, report).data
    (result,) = data.eval_results
    assert (data.base_model, data.datasets) == ("google-bert/bert-base-cased", ["nyu-mll/glue"])
    assert (result.dataset_type, result.dataset_config, result.metric_type) == (
        "nyu-mll/glue",
        "sst2",
        "matthews_correlation",
    )
    assert data.tags == ["plm-supernet", "structured-pruning", "onnx", "custom_code"]


def test_the_text_has_every_figure(folder, tmp_path):
    subnet = SubNetwork((LayerSlice(0, (0, 1), range(5)), LayerSlice(3, (), range(2))))
    origin = {"model": "my-model", "finished": {"better": True, "error_before": 0.25, "error_after": 0.125}}
    report = report_of(
        task_of("classes"),
        files=[model_file("int8", ms=1.0)],
        subnet=subnet.to_json(),
        origin=origin | {"test_run": True},
        left_out={"openvino": "loses 0.2 of accuracy"},
    )
    text = card_of(folder().path, report).text
    for row in report.rows:
        assert f"| {' | '.join(row)} |" in text
    assert "| 0 | 2 | 5 |\n| 3 | 0 | 2 |" in text
    assert "40 % are left" in text
    assert "2 classes: bad, good" in text
    assert "from 0.2500 to 0.1250" in text
    assert "test run" in text
    assert f"{report.conditions[1:]}. int8 differs" in text
    assert "this one does not have them" in text
    assert "openvino was left out: it loses 0.2 of accuracy." in text
    assert "at most 16 tokens" in text
    assert "int8" not in card_of(tmp_path, report_of(task_of("classes"))).text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("search", "trained as a part of a supernet, and chosen"),
        ("finetune", "cut out of the pre-trained model, trained alone, and chosen"),
        ("baseline", "as the baseline `kwon2022` does it, and chosen"),
    ],
)
def test_the_text_says_how_the_weights_were_made(folder, kind, words):
    origin = {"model": "my-model", "kind": kind, "label": "kwon2022"}
    assert words in card_of(folder().path, report_of(task_of("classes"), origin=origin)).text


@KINDS
@pytest.mark.parametrize("code", [False, True], ids=["native", "code"])
def test_the_program_with_transformers_predicts_what_we_predict(folder, capsys, kind, code):
    made = folder(kind, code=code)
    program = programs(made.card)["transformers"]
    said = printed(program, capsys)
    assert ("trust_remote_code=True" in program) == code
    task, texts = task_of(kind), {"text": "A first text.", "text_pair": "Another text."}
    model = load("tiny-50")
    if kind == "choices":
        (label,) = model.predict([["A first text.", "ending 0", "ending 1"]])
        assert said == f"ending {task.choices.index(label)}\n"
        return
    ((score,),) = [re.findall(r"'score': ([-\d.e]+)", said)]
    row = [*texts.values()][: len(task.text)]
    if kind == "numbers":
        assert float(score) == pytest.approx(model.predict([row])[0], abs=1e-4)
    else:
        assert f"'{model.predict([row])[0]}'" in said
        assert float(score) == pytest.approx(model.predict_proba([row]).max(), abs=1e-4)


@KINDS
def test_our_program_runs(folder, capsys, kind):
    program = programs(folder(kind).card)["plm-supernet"]
    said = eval(printed(program, capsys))
    texts = ["A first text.", "Another text."][: len(task_of(kind).text)]
    row = texts + [f"ending {i}" for i in range(len(task_of(kind).choices))]
    assert said == load("tiny-50").predict([row])


def test_there_is_no_program_for_a_file_that_is_not_there(folder):
    assert programs(folder().card).keys() == {"transformers", "plm-supernet"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "numbers", "choices"])
def test_the_program_with_onnxruntime_needs_no_torch(folder, kind):
    pytest.importorskip("onnxscript")
    from supernet.export.onnx import write_onnx

    made = folder(kind, files=[model_file("onnx", ms=1.0)], layers=1)
    model = load("tiny-50", engine="torch")
    auto = (
        transformers.AutoModelForMultipleChoice
        if kind == "choices"
        else transformers.AutoModelForSequenceClassification
    )
    write_onnx(made.path, auto.from_pretrained(made.path).eval(), None, 1)
    program = programs(made.card)["onnxruntime"]
    assert len(program.strip().splitlines()) <= 15
    program += "import sys; assert not {'torch', 'transformers', 'supernet'} & sys.modules.keys()\n"
    ended = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    first, second = "A first text.", "Another text."
    rows = [[first], [second]] if len(task_of(kind).text) == 1 else [[first, second], [second, first]]
    if kind == "choices":
        rows = [[first, "ending 0", "ending 1"]]
    if kind == "numbers":
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d*(?:e-?\d+)?", ended.stdout)]
        np.testing.assert_allclose(numbers, model.predict(rows), atol=1e-4)
    else:
        assert eval(ended.stdout) == model.predict(rows)
