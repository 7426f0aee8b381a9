"""`plm-supernet predict`: a table or lines of texts in, the same rows with labels out."""

import csv
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import transformers.dynamic_module_utils

import supernet.predict
from supernet.console.config import load_config
from supernet.export import serving
from supernet.export.serving import load
from supernet.options.predict import PredictConfig
from supernet.predict import predict
from supernet.runtime.errors import UserError
from tests.exports import exported, model_file
from tests.launched import run

TEXTS = ["the cat", "a dog and a bird", "hello, world", "nice", 'a "nice" cat']


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory):
    """An export folder of each kind of task, and its model."""
    root = tmp_path_factory.mktemp("exports")
    return {kind: (root / kind, exported(root / kind, tokenizer, kind)) for kind in ("classes", "numbers", "choices")}


def predicted(config, capsys):
    """The rows that are written to standard output, as a list of dictionaries."""
    predict(config)
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def config_of(folder, **values):
    return PredictConfig(model=str(folder), **{key: value for key, value in values.items() if value is not None})


def expected(model, tokenizer, *sequences):
    """Logits row by row, by transformers."""
    logits = []
    for row in zip(*sequences, strict=True):
        inputs = tokenizer(*([text] for text in row), truncation=True, max_length=16, return_tensors="pt")
        with torch.inference_mode():
            logits.append(model(**inputs).logits[0].double())
    return torch.stack(logits)


def test_a_table_keeps_rows_and_columns_and_gets_labels(folders, tokenizer, tmp_path, capsys):
    folder, model = folders["classes"]
    file = tmp_path / "texts.csv"
    pd.DataFrame({"id": range(5), "review": TEXTS, "more": list("abcde")}).to_csv(file, index=False)
    rows = predicted(config_of(folder, input=str(file), probabilities=True, batch_size=2), capsys)
    shares = expected(model, tokenizer, TEXTS).softmax(1).numpy()
    assert [row["review"] for row in rows] == TEXTS
    assert list(rows[0]) == ["id", "review", "more", "label", "probability", "probability_bad", "probability_good"]
    assert [row["label"] for row in rows] == [("bad", "good")[i] for i in shares.argmax(1)]
    both = [[float(row["probability_bad"]), float(row["probability_good"])] for row in rows]
    np.testing.assert_allclose(both, shares, atol=1e-4)
    assert [float(row["probability"]) for row in rows] == [max(row) for row in both]


def test_numbers_have_no_probability(folders, tokenizer, tmp_path, capsys):
    folder, model = folders["numbers"]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"a": text, "b": text[::-1], "n": [1]}) + "\n" for text in TEXTS))
    output = tmp_path / "out.jsonl"
    predict(config_of(folder, input=str(file), output=str(output), probabilities=True))
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    numbers = expected(model, tokenizer, TEXTS, [text[::-1] for text in TEXTS])[:, 0].numpy()
    np.testing.assert_allclose([row["label"] for row in rows], numbers, rtol=1e-4)
    assert [row["n"] for row in rows] == [[1]] * 5
    assert {*rows[0]} == {"a", "b", "n", "label"}
    assert capsys.readouterr().out == ""


def test_choices_are_named_after_their_columns_in_training(folders, tmp_path, capsys):
    folder, _ = folders["choices"]
    file = tmp_path / "texts.tsv"
    file.write_text("context\tx\ty\n" + "".join(f"{text}\ta cat\tand a dog\n" for text in TEXTS[:3]))
    rows = predicted(config_of(folder, input=str(file), choices=("x", "y")), capsys)
    assert {row["label"] for row in rows} <= {"end 0", "end 1"}
    assert [row["context"] for row in rows] == TEXTS[:3]
    swapped = file.with_name("swapped.tsv")
    swapped.write_text("context\ty\tx\n" + "".join(f"{text}\ta cat\tand a dog\n" for text in TEXTS[:3]))
    others = predicted(config_of(folder, input=str(swapped), choices=("x", "y")), capsys)
    assert [row["label"] for row in rows] != [row["label"] for row in others]


def test_many_chunks_give_what_one_gives(folders, tmp_path, capsys, monkeypatch):
    folder, _ = folders["classes"]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    whole = predicted(config_of(folder, input=str(file)), capsys)
    assert len(whole) == 5
    monkeypatch.setattr(supernet.predict, "CHUNK_ROWS", 2)
    assert predicted(config_of(folder, input=str(file)), capsys) == whole


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("the cat\nnice\n", "text"),
        ('{"review": "the cat"}\n{"review": "nice"}\n', "jsonl"),
        ("x;review\n1;the cat\n2;nice\n", "csv"),
    ],
)
def test_the_first_line_of_standard_input_shows_its_format(folders, capsys, monkeypatch, text, format):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    predict(config_of(folders["classes"][0]))
    out, err = capsys.readouterr()
    assert [row["review"] for row in csv.DictReader(io.StringIO(out))] == ["the cat", "nice"]
    assert f"standard input: 2 rows of {format}" in err
    assert ("standard input: each line is a text (input_format=csv if it is a table)" in err) == (format == "text")
    assert "model.safetensors" in err


def test_standard_input_that_is_no_text_is_one_line(folders, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nice\n\xff\n")))
    with pytest.raises(UserError, match=r"^standard input:2: byte 0xff is not UTF-8"):
        predict(config_of(folders["classes"][0]))


def test_parquet_is_read_and_a_column_of_the_same_name_stays(folders, tmp_path, capsys):
    file = tmp_path / "texts.parquet"
    pd.DataFrame({"review": TEXTS, "label": range(5), "day": pd.to_datetime(["2020-01-01"] * 5)}).to_parquet(file)
    rows = predicted(config_of(folders["classes"][0], input=str(file)), capsys)
    assert list(rows[0]) == ["review", "label", "day", "predicted_label", "probability"]
    assert [row["label"] for row in rows] == list("01234")


BAD = {
    "empty text": ("a.csv", "review\nnice\n \n", "a.csv:3: no text in column review"),
    "missing column": ("a.csv", "text\nnice\n", r"a.csv: column 'review' is missing.*text=\[...\]"),
    "missing key": ("a.jsonl", '{"review": "a"}\n{"x": "a"}\n', r"a.jsonl:2: column 'review' is missing"),
    "no text": ("a.jsonl", '{"review": 5}\n', "a.jsonl:1: column 'review' holds 5; it must hold text"),
    "fields": ("a.csv", "review,x\nnice,1\nnice,1,2\n", "a.csv:3: 3 fields where the header has 2"),
    "no rows": ("a.csv", "review\n", "a.csv has no rows"),
    "blank line": ("a.txt", "nice\n\nnice\n", "a.txt:2: no text"),
    "ending": ("a.xls", "review\nnice\n", "ends with none of .*input_format="),
    "two": ("a.csv", "review,label,predicted_label\nnice,1,2\n", "columns label and predicted_label; rename"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_one_line_and_nothing_is_written(folders, tmp_path, capsys, case):
    name, content, said = BAD[case]
    (tmp_path / name).write_text(content)
    for output in (None, str(tmp_path / "out.csv")):
        with pytest.raises(UserError, match=said) as e:
            predict(config_of(folders["classes"][0], input=str(tmp_path / name), output=output))
        assert "data." not in str(e.value)
        assert "/table." not in str(e.value)
    assert capsys.readouterr().out == ""
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_messages_about_quotes_name_the_options_of_this_command(folders, tmp_path, capsys):
    file = tmp_path / "a.csv"
    file.write_text('review,x\n"nice,1\n')
    folder, _ = folders["classes"]
    (row,) = predicted(config_of(folder, input=str(file)), capsys)
    assert row["review"] == '"nice'
    predict(config_of(folder, input=str(file)))
    assert f"\n{file}: quotes are part of the texts (quotes=csv if they enclose fields)\n" in capsys.readouterr().err
    with pytest.raises(UserError, match=rf"{file}:\d: not valid CSV .* or say quotes=literal"):
        predict(config_of(folder, input=str(file), quotes="csv"))


def test_what_was_asked_for_wrongly_is_one_line(folders, tmp_path, monkeypatch):
    folder, _ = folders["classes"]
    file = tmp_path / "a.txt"
    file.write_text("nice\n")
    given = {"model": str(folder), "input": str(file)}
    for values, said in (
        ({"model": str(tmp_path / "no")}, "has no export.json, so it is not the folder of an export"),
        ({"model": None, "output_dir": str(tmp_path)}, "there is no export in .*give model=FOLDER"),
        ({"input": str(tmp_path / "no.csv")}, "there is no such file"),
        ({"output": "gone/a.csv"}, "gone/a.csv cannot be written .*; check the path, .* output=FILE$"),
        ({"output": "a.doc"}, "ends with none of .csv, .tsv, .jsonl"),
        ({"text": ("a", "b")}, "text names 2 columns; this model reads 1: review"),
        ({"choices": ("a",)}, "choices names 1 columns; this model reads 0: none"),
        ({"format": "int8"}, r"no file of format=int8; there are: torch \(engine torch\)"),
    ):
        with pytest.raises(UserError, match=said):
            predict(PredictConfig(**(given | values)))
    with pytest.raises(UserError, match="is read as plain text, but a row has 2 texts"):
        predict(config_of(folders["numbers"][0], input=str(file)))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="there are no texts; give input=FILE"):
        predict(config_of(folder))


@pytest.mark.parametrize(
    "typed", ["engine=tensorflow", "format=pickle", "batch_size=0", "threads=0", "output_format=xls", "quotes=no"]
)
def test_options_are_checked(typed):
    with pytest.raises(UserError, match=typed.partition("=")[0]):
        load_config("predict", PredictConfig, [typed])


def test_the_newest_export_is_the_default(folders, tokenizer, tmp_path, capsys):
    exported(tmp_path / "export" / "one", tokenizer)
    (tmp_path / "a.txt").write_text("nice\n")
    predict(PredictConfig(input=str(tmp_path / "a.txt"), output_dir=str(tmp_path)))
    assert f"{tmp_path}/export/one/model.safetensors" in capsys.readouterr().err


def test_a_failure_leaves_the_old_output(folders, tmp_path, monkeypatch):
    file, output = tmp_path / "a.txt", tmp_path / "out.csv"
    file.write_text("nice\n" * 10)
    output.write_text("old")
    monkeypatch.setattr(supernet.predict, "CHUNK_ROWS", 4)
    calls = []
    outputs = serving.Model.outputs

    def full(model, texts, **values):
        calls.append(len(texts))
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return outputs(model, texts, **values)

    monkeypatch.setattr(serving.Model, "outputs", full)
    with pytest.raises(UserError, match="the disk is full"):
        predict(config_of(folders["classes"][0], input=str(file), output=str(output)))
    assert output.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_fastest_usable_file_is_taken(monkeypatch, tmp_path):
    files = [model_file(ms=5.0), model_file("onnx", ms=3.0), model_file("int8", ms=2.0), model_file("openvino", ms=1.0)]
    monkeypatch.setattr(serving, "missing_packages", lambda engine: [])
    taken = [serving.fastest(tmp_path, files, engine).format for engine in ("auto", "torch", "onnx", "openvino")]
    assert taken == ["openvino", "torch", "int8", "openvino"]
    assert serving.fastest(tmp_path, files, format="onnx").format == "onnx"
    monkeypatch.setattr(serving, "missing_packages", lambda engine: ["x"] if engine == "openvino" else [])
    assert serving.fastest(tmp_path, files).format == "int8"
    with pytest.raises(UserError, match="format openvino needs x; pip install x"):
        serving.fastest(tmp_path, files, "openvino")


# The model in Python


def test_a_model_in_python(folders, tokenizer):
    folder, model = folders["classes"]
    loaded = load(folder)
    shares = expected(model, tokenizer, TEXTS).softmax(1).numpy()
    labels = [("bad", "good")[i] for i in shares.argmax(1)]
    assert (loaded.classes, loaded.kind, loaded.columns) == (("bad", "good"), "classification", ("review",))
    frame = pd.DataFrame({"review": TEXTS, "other": 1})
    mappings = [{"other": 1, "review": text} for text in TEXTS], {"other": [1], "review": TEXTS}
    for texts in (TEXTS, [[text] for text in TEXTS], frame["review"], frame, np.array(TEXTS), *mappings):
        assert loaded.predict(texts) == labels
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), shares, atol=1e-5)
    assert loaded.predict([]) == []
    assert loaded.predict_proba([]).shape == (0, 2)
    for texts, said in (
        ("nice", "a single text"),
        (["nice", ""], "row:2: no text"),
        ([["a", "b"]], "row:1: 2 texts; needed: review"),
        ([None], "row:1: no text"),
        ([5], "holds 5"),
        (frame[["other"]], "no column review"),
        ({"text": TEXTS}, "no column review"),
        ([TEXTS[0], {"text": "nice"}], "row:2: no review; needed: review"),
    ):
        with pytest.raises(UserError, match=said):
            loaded.predict(texts)
    numbers = load(folders["numbers"][0], engine="torch")
    assert all(isinstance(number, float) for number in numbers.predict([["a", "b"]]))
    assert numbers.predict([{"b": "nice", "a": "fog"}]) == numbers.predict([["fog", "nice"]])
    with pytest.raises(UserError, match="columns a, b of texts have different lengths"):
        numbers.predict({"a": ["nice"], "b": ["fog", "tree"]})
    with pytest.raises(UserError, match="no probabilities"):
        numbers.predict_proba([["a", "b"]])


def test_own_code_is_trusted_only_if_this_library_wrote_it(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = exported(tmp_path / "code", tokenizer, code=True)
    file = tmp_path / "code" / "modeling_pruned.py"
    logits = load(tmp_path / "code").outputs(TEXTS)
    np.testing.assert_allclose(logits, expected(model, tokenizer, TEXTS).numpy(), atol=1e-5)
    file.write_text(file.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match=r"look at it, then allow it with trust_remote_code=true"):
        load(tmp_path / "code")
    again = load(tmp_path / "code", trust_remote_code=True).outputs(TEXTS)
    np.testing.assert_allclose(again, logits, atol=1e-6)
    file.unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path / "code", trust_remote_code=True)
    (tmp_path / "code" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"code has no tokenizer\.json any more; copy the whole folder again"):
        load(tmp_path / "code", trust_remote_code=True)


def test_a_tokenizer_of_somebody_else_runs_no_code(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    exported(tmp_path / "code", tokenizer, code=True)
    (tmp_path / "code" / "other.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tokenizer: pass\n")
    settings = tmp_path / "code" / "tokenizer_config.json"
    code = {"auto_map": {"AutoTokenizer": [None, "other.Tokenizer"]}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | code))
    with pytest.raises(UserError, match=r"look at it, then allow it with trust_remote_code=true"):
        load(tmp_path / "code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_the_command_reads_a_pipe_and_ends_in_one_line(folders, tmp_path):
    file = tmp_path / "texts.csv"
    file.write_text("review\nnice\n")
    ended = run(
        supernet.predict.main, f"model={folders['classes'][0]}", f"input={file}", "output=out.csv", cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert (tmp_path / "out.csv").read_text().startswith("review,label,probability\nnice,")
    file.write_text("review\n \n")
    ended = run(supernet.predict.main, f"model={folders['classes'][0]}", f"input={file}", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: {file}:2: no text in column review; remove the row or fill it\n"
