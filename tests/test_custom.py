"""The user's own data: what is found in it, how it is split, and the one line that each mistake gives."""

import io
import json
import re
import tracemalloc
from dataclasses import asdict

import datasets
import numpy as np
import pytest
from rich.console import Console

from supernet.console.config import load_config
from supernet.data import hub as hub_data
from supernet.data.hub import HubData
from supernet.data.load import SPLITS, load_rows, load_task
from supernet.data.summary import print_data_summary
from supernet.options.data import DataOptions
from supernet.options.task import Task
from supernet.options.training import TrainConfig
from supernet.runtime.shapes import shaped
from tests.fixtures import read_task
from tests.user_data import all_texts, load, message_of, records, texts_of, write

# What is found


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.tsv", "reviews.jsonl", "reviews.parquet"])
def test_a_file_of_two_columns_is_all_that_is_needed(tmp_path, name):
    rows = load(write(tmp_path / name, records()))
    assert rows.task == read_task(
        "custom", kind="classification", text=["text"], label="label", classes=["bad", "good"], label_ids=False
    )
    assert rows.task.metric == "accuracy"
    assert [len(getattr(rows, split)) for split in SPLITS] == [28, 6, 6]
    assert all_texts(rows) == sorted(row["text"] for row in records())
    for split in SPLITS:
        part = getattr(rows, split)
        assert all(int(text.split()[1]) % 2 == y for text, y in zip(part.columns[0], part.labels, strict=True))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["pos", "neg"], ["neg", "pos"]),
        ([10, 9, 2], ["2", "9", "10"]),
        (["10", "9", "2"], ["2", "9", "10"]),
        ([1.0, 0.0], ["0", "1"]),
        ([-1, 1], ["-1", "1"]),
        ([True, False], ["false", "true"]),
        ([2, "b", "a"], ["2", "a", "b"]),
        (["Zoo", "ant", "bee"], ["ant", "bee", "Zoo"]),
        (["1.0", "2", "1"], ["1", "1.0", "2"]),
        (["é", "ü"], ["é", "ü"]),
    ],
)
def test_classes_are_sorted_sensibly(tmp_path, labels, classes):
    rows = load(write(tmp_path / "all.jsonl", records(60, labels)))
    assert list(rows.task.classes) == classes
    assert set(np.concatenate([getattr(rows, name).labels for name in SPLITS])) == set(range(len(classes)))


def test_classes_that_are_numbers_are_names_and_not_ids(tmp_path):
    rows = load(write(tmp_path / "all.jsonl", records(30, (1, 2, 3))))
    assert [rows.task.parse_label(value) for value in (1, "2", 3.0, 0, "0")] == [0, 1, 2, None, None]
    columns = {"text": ["text"], "label": "label"}
    assert read_task("custom", **columns, classes=["1", "2"]).parse_label(0) is None
    assert read_task("custom", **columns, classes=["no", "yes"]).parse_label(0) == 0


def test_numbers_with_fractions_are_a_regression(tmp_path):
    labels = [0.5 * i for i in range(9)]
    rows = load(write(tmp_path / "all.jsonl", records(45, labels)))
    assert (rows.task.kind, rows.task.label_range, rows.task.metric) == ("regression", (0.0, 4.0), "spearman")
    assert rows.train.labels.dtype == np.float32
    assert "labels are numbers with fractions: a regression" in " ".join(rows.provenance.notes)
    as_classes = load(tmp_path / "all.jsonl", task=read_task("custom", kind="classification"))
    assert as_classes.task.classes[:3] == ("0", "0.5", "1")


def test_whole_numbers_are_classes_until_a_regression_is_asked_for(tmp_path):
    file = write(tmp_path / "all.csv", records(50, range(5)))
    assert load(file).task.classes == ("0", "1", "2", "3", "4")
    assert load(file, task=read_task("custom", kind="regression")).task.label_range == (0.0, 4.0)
    assert load(file, task=read_task("custom", label_range=[0, 10])).task.label_range == (0.0, 10.0)
    wide = load(write(tmp_path / "wide.csv", records(50, (0, 500))), task=read_task("custom", kind="regression"))
    assert "labels from 0 to 500 learn slowly" in " ".join(wide.provenance.notes)


def test_the_range_of_a_regression_holds_for_every_split(tmp_path):
    write(tmp_path / "train.jsonl", records(20, (0.5, 1.5)))
    write(tmp_path / "test.jsonl", records(20, (0.0, 2.5)))
    assert load(tmp_path).task.label_range == (0.0, 2.5)


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        (["review", "Sentiment"], {}, (("review",), "Sentiment")),
        (["id", "comment", "stars"], {}, (("comment",), "stars")),
        (["title", "body", "topic"], {"text": ["title", "body"]}, (("title", "body"), "topic")),
        (["title", "body", "topic"], {"text": "body", "label": "topic"}, (("body",), "topic")),
        (["a", "b"], {"text": "b"}, (("b",), "a")),
        (["a", "b"], {"label": "b"}, (("a",), "b")),
        (["text", "b"], {}, (("text",), "b")),
        (["target", "label"], {"label": "label"}, (("target",), "label")),
        (["", "idx", "text", "label"], {}, (("text",), "label")),
        (["1", "2"], {"text": 1, "label": "2"}, (("1",), "2")),
    ],
)
def test_columns_are_found_by_name_or_by_what_remains(tmp_path, columns, options, expected):
    rows = [dict.fromkeys(columns, f"words {i}") | {expected[1]: "ab"[i % 2]} for i in range(12)]
    task = load(write(tmp_path / "all.csv", rows), **options).task
    assert (task.text, task.label) == expected


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["title", "body", "topic"], {}, "has the columns title, body, topic: which is the text? besides the label "
         "'topic' "
         "there are 2; say data.text=COLUMN or data.text=[FIRST,SECOND]"),
        (["a", "b"], {}, "which is the label? no column has a usual name; say data.label=COLUMN (the first line of a"),
        (["text", "label", "class"], {}, "'label' and 'class' may be the label; say data.label=COLUMN"),
        (["id", "label"], {}, "which is the text? there is only the label 'label'"),
        (["text", "label"], {"text": "txt"}, "column 'txt' is missing; there are: text, label; name the file's "
         "columns with "
         "data.text=[...] and data.label=... (did you mean 'text'?)"),
        (["Text", "label"], {"text": "text"}, "(did you mean 'Text'?)"),
        (["text", "label"], {"label": "lable"}, "column 'lable' is missing; there are: text, label; name the file's "
         "columns "
         "with data.text=[...] and data.label=... (did you mean 'label'?)"),
        (["text", "label"], {"text": ["text", "text"]}, "data.text=[text,text] names a column twice"),
        (["text", "label"], {"text": []}, "data.text=[] is not allowed; give column names: data.text=[FIRST,SECOND]"),
        (["text", "label"], {"text": "label", "label": "label"}, "task.label='label' of task 'custom' is not "
         "allowed; give a "
         "column that is not among the texts (label)"),
        (["a", "b", "c", "label"], {"text": ["a", "b", "c"]}, "one or two column names"),
    ],
)  # fmt: skip
def test_columns_that_are_not_clear_are_told(tmp_path, columns, options, message):
    file = write(tmp_path / "all.csv", [dict.fromkeys(columns, f"words {i}") for i in range(12)])
    assert message in message_of(lambda: load(file, **options))


# Splits


@pytest.mark.parametrize(
    ("files", "sizes", "origins"),
    [
        (["train"], (14, 3, 3), ("70 % of train.csv", "15 % of train.csv", "15 % of train.csv")),
        (["reviews"], (14, 3, 3), ("70 % of reviews.csv", "15 % of reviews.csv", "15 % of reviews.csv")),
        (["train", "test"], (14, 6, 20), ("70 % of train.csv", "30 % of train.csv", "test.csv")),
        (["train", "valid"], (14, 6, 20), ("70 % of train.csv", "30 % of train.csv", "valid.csv")),
        (["Train", "dev", "TEST"], (20, 20, 20), ("Train.csv", "dev.csv", "TEST.csv")),
    ],
)
def test_what_lacks_is_split_off_the_training_rows(tmp_path, files, sizes, origins):
    for file in files:
        write(tmp_path / f"{file}.csv", [row | {"text": f"{file} {row['text']}"} for row in records(20)])
    rows, again = load(tmp_path), load(tmp_path)
    assert tuple(len(getattr(rows, name)) for name in SPLITS) == sizes
    assert tuple(rows.provenance.origins[name] for name in SPLITS) == origins
    assert texts_of(rows) == texts_of(again)
    assert len(set(all_texts(rows))) == sum(sizes)
    assert texts_of(load(tmp_path, split_seed=1)) != texts_of(rows) or len(files) == 3


def test_a_test_file_without_labels_is_not_used(tmp_path):
    write(tmp_path / "train.csv", records(20))
    write(tmp_path / "test.csv", [{"id": 1, "text": "what is it"}])
    rows = load(tmp_path)
    assert [len(getattr(rows, name)) for name in SPLITS] == [14, 3, 3]
    assert f"{tmp_path / 'test.csv'} has no labels in column 'label' and is not used" in rows.provenance.notes


def test_rows_can_be_limited(tmp_path):
    file = write(tmp_path / "all.csv", records(100))
    rows = load(file, max_train_samples=20)
    assert [len(getattr(rows, name)) for name in SPLITS] == [14, 3, 3]
    assert "20 of 100 rows of all.csv are used (data.max_train_samples)" in rows.provenance.notes
    few = load(file, task=read_task("custom", max_validation_rows=4))
    assert [len(getattr(few, name)) for name in SPLITS] == [70, 4, 15]
    assert "no more than 4 validation rows are used (task.max_validation_rows)" in few.provenance.notes


def test_the_stored_task_gives_the_same_rows_again(tmp_path, tokenizer):
    options = DataOptions(dir=str(write(tmp_path / "a.csv", records())), cache_dir=str(tmp_path / "c"), text=("text",))
    first = load_task(read_task("custom"), options, tokenizer)
    stored_task = shaped(Task, json.loads(json.dumps(asdict(first.task))))
    stored_options = shaped(DataOptions, json.loads(json.dumps(asdict(options))))
    assert (stored_task, stored_options) == (first.task, options.normalised())
    assert not stored_task.is_open
    again = load_task(stored_task, stored_options, tokenizer)
    assert again.digests() == first.digests()
    assert again.task == first.task


def test_stored_classes_are_held_against_the_files(tmp_path):
    file = write(tmp_path / "a.csv", records())
    task = load(file).task
    write(file, records(40, ("bad", "better")))
    message = message_of(load, file, task=task)
    assert "label 'better' in column 'label' is not allowed" in message
    assert "task 'custom' takes the classes of the training rows: bad, good" in message


def test_columns_of_a_known_task_can_be_named_too(tmp_path):
    rows = [{"#1 String": f"a {i}", "#2 String": "b", "Quality": i % 2} for i in range(20)]
    for name in ("train", "dev"):
        write(tmp_path / f"{name}.tsv", rows)
    task = read_task("mrpc")
    loaded = load(tmp_path, task=task, text=["#1 String", "#2 String"], label="Quality")
    assert loaded.task.text == ("#1 String", "#2 String")
    assert loaded.task.classes == task.classes
    assert len(loaded.test) == 20


# Files as they come


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftext,label\na,x\nb,y\nc,x\nd,y\n",
        "text,label\r\na,x\r\nb,y\r\nc,x\r\nd,y\r\n\r\n\r\n",
        "text;label\na;x\nb;y\nc;x\nd;y\n,\n\n".replace(",\n", ";\n"),
        "text\tlabel\na\tx\nb\ty\nc\tx\nd\ty\n",
        "text|label\na|x\nb|y\nc|x\nd|y",
        "label , text\nx,a\ny,b\nx,c\ny,d\n,\n   \n",
        '"text","label"\n"a","x"\n"b","y"\n"c","x"\n"d","y"',
        "text,label\ra,x\rb,y\rc,x\rd,y\r",
        'text;label\r"a";x\rb;"y"\rc;x\rd;y',
        "\n,\n \ntext,label\na,x\nb,y\nc,x\nd,y\n",
        "\r\ntext;label\r\na;x\r\nb;y\r\nc;x\r\nd;y\r\n",
    ],
)
def test_odd_csv_files_are_read(tmp_path, content):
    file = tmp_path / "all.csv"
    file.write_bytes(content.encode())
    rows = load(file)
    assert all_texts(rows) == ["a", "b", "c", "d"]
    assert rows.task.classes == ("x", "y")


@pytest.mark.parametrize("named", [{}, {"text": ["text"], "label": "label"}])
def test_long_texts_do_not_change_what_quotes_mean(tmp_path, named):
    long = "x " * 100_000 + "end"
    rows = "".join(f'"word {i}"\t"{"yn"[i % 2]}"\n' for i in range(10))
    file = tmp_path / "all.tsv"
    file.write_text(f'text\tlabel\n"{long}"\ty\n{rows}')
    assert all_texts(load(file, **named)) == sorted([long, *(f"word {i}" for i in range(10))])


def test_a_quoted_text_may_run_over_lines(tmp_path):
    rows = [row | {"text": f'He said: "no",\n\nand {i}; left.'} for i, row in enumerate(records(12))]
    assert all_texts(load(write(tmp_path / "all.csv", rows))) == sorted(row["text"] for row in rows)


HEADER = "text,label\n"
GOOD = "".join(f"word {i},{'xy'[i % 2]}\n" for i in range(10))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("all.csv", "", "all.csv: no rows; give a file with rows, which names its columns"),
        ("all.csv", HEADER, "all.csv: no rows; give a file with rows of the columns text, label"),
        ("all.csv", HEADER + GOOD + "a,b,c\n", "all.csv:12: 3 fields where the header has 2; correct the line"),
        ("all.csv", HEADER + GOOD + "word,\n", "all.csv:12: no label in column 'label'; fill it in or remove the row"),
        ("all.csv", HEADER + GOOD + ",x\n", "all.csv:12: no text in column text; remove the row or fill it"),
        ("all.csv", HEADER + GOOD + '"a, b",x\n"word,x\n', "all.csv:13: not valid CSV (unexpected end of data)"),
        ("all.csv", (HEADER + GOOD).encode() + b"caf\xe9,x\n", "all.csv:12: byte 0xe9 is not UTF-8; convert the file"),
        ("all.csv", HEADER + "".join(f"w,{i}\n" for i in range(10)), "column 'label' has 10 different labels in 10 "
         "rows "
         "(0, 1, 2, 3 and 6 more): is it the right column? at most 1000 classes"),
        ("all.csv", HEADER + "".join(f"w,{i % 1001}\n" for i in range(2002)), "has 1001 different labels in 2002 rows"),
        ("all.csv", HEADER + "w,x\n" * 10, "column 'label' has the label 'x' in all 10 rows; two or more classes"),
        ("all.csv", "text,label,label\n" + "a,b,c\n" * 5, "which is the label? 'label' and 'label' may be the label"),
        ("all.csv", "text,text,label\n" + "a,b,c\n" * 5, "which is the text? besides the label 'label' there are 2"),
        ("all.csv", HEADER + "a,x\nb,y\n", "2 training row(s) with 2 different label(s) in column 'label' are too few"),
        ("all.csv", HEADER + "a,x\n" * 3, "3 training row(s) with 1 different label(s) in column 'label' are too few"),
        ("all.jsonl", '{"text": "a", "label": 1}\n{"text": "b"\n', "all.jsonl:2: not valid JSON (Expecting ',' "
         "delimiter"),
        ("all.jsonl", '[{"text": "a", "label": 1}]', "is not a JSON object; one object per line is needed (pandas: "
         "to_json("),
        ("all.jsonl", '[\n{"text": "a", "label": 1}\n]', "all.jsonl:1: this is one JSON array; one object per line"),
        ("all.jsonl", '{"text": 3, "label": 1}\n', "all.jsonl:1: column 'text' holds 3; it must hold text"),
        ("all.jsonl", '{"text": "a", "label": [1, 2]}\n', "[1, 2] in column 'label' must be a single name or number"),
        ("all.jsonl", '{"text": "a", "label": null}\n', "all.jsonl:1: no label in column 'label'; fill it in"),
        ("all.jsonl", '{"text": "a", "label": NaN}\n', "all.jsonl:1: no label in column 'label'; fill it in"),
        ("all.parquet", "x", "all.parquet cannot be read as Parquet"),
        ("all.xlsx", "x", "'.xlsx' files cannot be read; allowed endings: .jsonl, .json, .tsv, .csv, .parquet"),
    ],
)  # fmt: skip
def test_bad_files_each_give_their_line(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in message_of(load, file)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "regresion"}, "task.kind 'regresion' is unknown; allowed: auto, choice, classification, regression "
         "(did you"),
        ({"metric": "f1"}, "task.metric='f1' of task 'custom' is not allowed; give accuracy or matthews for 3 "
         "classes, f1"),
        ({"metric": "spearman"}, "task.metric='spearman' of task 'custom' is not allowed; give accuracy, f1 or "
         "matthews"),
        ({"kind": "regression", "metric": "accuracy"}, "give spearman for regression"),
        ({"kind": "regression"}, "all.csv:2: label 'x' in column 'label' is not a number, which task.kind=regression "
         "needs"),
        ({"label_range": [0, 1]}, "all.csv:2: label 'x' in column 'label' is not allowed; task 'custom' takes "
         "numbers from 0"),
        ({"kind": "choice"}, "task.choices=[] of task 'custom' is not allowed; give the columns of the choices: "
         "data.choices"),
        ({"kind": "regression", "classes": ["x", "y"]}, "task.classes=['x', 'y'] of task 'custom' is not allowed; "
         "give none"),
        ({"classes": ["x", "y"]}, "all.csv:4: label 'z' in column 'label' is not allowed; task 'custom' takes ids or "
         "class "
         "names: 0 (x), 1 (y)"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_data_are_told(tmp_path, values, message):
    file = write(tmp_path / "all.csv", records(30, "xyz"))
    assert message in message_of(lambda: load(file, task=read_task("custom", **values)))


def test_a_constant_regression_is_refused(tmp_path):
    file = write(tmp_path / "all.csv", records(30, (1.5,)))
    assert "column 'label' has the label 1.5 in every row, so there is nothing to learn" in message_of(load, file)


def test_a_class_that_no_training_row_has_is_told_with_its_line(tmp_path):
    write(tmp_path / "train.csv", records(20))
    write(tmp_path / "test.csv", [*records(20), {"text": "w", "label": "ugly"}])
    message = message_of(load, tmp_path)
    assert "test.csv:22: label 'ugly' in column 'label' is not allowed" in message
    assert "task 'custom' takes the classes of the training rows: bad, good" in message
    write(tmp_path / "test.csv", records(20, (0, 1)))
    assert "test.csv:2: label '0' in column 'label'" in message_of(load, tmp_path)


def test_what_is_odd_but_possible_is_noted(tmp_path):
    labels = ["Good", "good", *["bad"] * 20, "rare"]
    rows = [{"text": f"w {i}", "label": label} for i, label in enumerate(labels * 2)][:-1]
    notes = " | ".join(load(write(tmp_path / "all.csv", rows)).provenance.notes)
    assert "classes with a single row, which is used either to train or to evaluate: rare" in notes
    assert "classes that differ in capital letters only: Good, good" in notes
    two = load(write(tmp_path / "two.csv", records()), task=read_task("custom", metric="f1"))
    assert "F1 is computed for class 'good'" in " ".join(two.provenance.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "task 'custom' has no data yet; give data.dir=FILE_OR_FOLDER, or data.hub=NAME"),
        ({"dir": "/not/there.csv"}, "data.dir=/not/there.csv is not a file or folder"),
        ({"dir": "here", "hub": "there"}, "data.dir=here and data.hub=there are both given; give one of them"),
        ({"hub_config": "there"}, "data.hub_config=there is given without a data set; give data.hub=NAME too"),
        ({"choices": "one", "dir": "x"}, "the columns of two or more choices"),
        ({"text": {"a": 1}}, "data.text={'a': 1} is not allowed; give column names"),
    ],
)
def test_impossible_places_are_refused(options, message):
    assert message in message_of(lambda: load_rows(read_task("custom"), DataOptions(**options)))


def test_folders_that_do_not_say_which_file_are_told(tmp_path):
    assert "looked for train or training with the ending" in message_of(load, tmp_path)
    for name in "ab":
        write(tmp_path / f"{name}.csv", records())
    message = message_of(load, tmp_path)
    assert "there is: a.csv, b.csv; rename the training file, or name a single file with data.dir=FILE" in message
    message = message_of(load, tmp_path / "a.csv", task=read_task("sst2"))
    assert "is a file; task 'sst2' has a file for each split" in message
    assert "or say task=custom for a file of your own" in message


def test_options_are_typed_as_a_user_would(tmp_path):
    few = ["task=custom", "data.dir=reviews.csv", "data.label=topic"]
    for typed, text in (("body", ("body",)), ("[title,body]", ("title", "body")), ("[body]", ("body",))):
        config = load_config("train", TrainConfig, [*few, f"data.text={typed}"])
        assert (config.data.text, config.data.label) == (text, "topic")
        assert config.data.applied_to(config.task).text == text
    assert "data.text=[a,a] names a column twice" in message_of(load_config, "train", TrainConfig, ["data.text=[a,a]"])


# The hub


def on_the_hub(monkeypatch, **splits):
    asked = []

    def load(task, revision):
        asked.append((task.hub, task.hub_config))
        return HubData(datasets.DatasetDict(**splits), "c" * 40)

    monkeypatch.setattr(hub_data, "load", load)
    return asked


def labelled(labels, names=("neg", "pos")):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "label": labels}, features)


def test_a_hub_data_set_of_any_name(monkeypatch):
    hidden = labelled([-1] * 5)
    asked = on_the_hub(monkeypatch, train=labelled([1, 0] * 10), validation=labelled([0, 1, 1]), test=hidden)
    rows = load_rows(read_task("custom"), DataOptions(hub="someone/reviews", hub_config="small"))
    assert asked == [("someone/reviews", "small")]
    assert rows.task.classes == ("neg", "pos")
    assert (rows.task.hub, rows.task.hub_config) == ("someone/reviews", "small")
    assert (len(rows.train), len(rows.validation), rows.test.labels.tolist()) == (14, 6, [0, 1, 1])
    assert "someone/reviews/small/test has no labels in column 'label' and is not used" in rows.provenance.notes
    assert rows.provenance.origins["test"] == "someone/reviews/small/validation"
    again = load_rows(rows.task, DataOptions(hub="someone/reviews", hub_config="small"))
    assert texts_of(again) == texts_of(rows)


@pytest.mark.parametrize("names", [("1", "2"), ("1", "0"), ("0.5", "1.5")])
def test_hub_classes_may_be_called_by_numbers_other_than_their_ids(monkeypatch, names):
    on_the_hub(monkeypatch, train=labelled([1, 0] * 10, names), test=labelled([0, 1, 1], names))
    rows = load_rows(read_task("custom"), DataOptions(hub="someone/reviews"))
    assert (rows.task.classes, rows.test.labels.tolist()) == (names, [0, 1, 1])
    assert load_rows(rows.task, DataOptions(hub="someone/reviews")).test.labels.tolist() == [0, 1, 1]


def test_hub_classes_may_be_put_in_another_order_or_renamed(monkeypatch):
    on_the_hub(monkeypatch, train=labelled([1, 0] * 10), test=labelled([0, 1, 1]))
    for classes, labels in ((("pos", "neg"), [1, 0, 0]), (("bad", "good"), [0, 1, 1])):
        rows = load_rows(read_task("custom", classes=list(classes)), DataOptions(hub="someone/reviews"))
        assert (rows.task.classes, rows.test.labels.tolist()) == (classes, labels)


def test_hub_labels_may_be_plain_strings(monkeypatch):
    data = datasets.Dataset.from_list(records(20))
    on_the_hub(monkeypatch, train=data, test=data)
    rows = load_rows(read_task("custom"), DataOptions(hub="someone/reviews"))
    assert rows.task.classes == ("bad", "good")
    assert len(rows.test) == 20


def test_hub_mistakes_give_their_line(monkeypatch):
    on_the_hub(monkeypatch, data=labelled([1, 0] * 10))
    options = DataOptions(hub="someone/reviews")
    assert "hub data set someone/reviews has no split train or training; there are: data" in (
        message_of(load_rows, read_task("custom"), options)
    )
    on_the_hub(monkeypatch, train=labelled([1, 0, -1] * 10))
    assert "someone/reviews/train:3: label '-1' in column 'label' is not allowed" in (
        message_of(load_rows, read_task("custom"), options)
    )


def test_hub_rows_whose_label_is_no_class_can_be_left_out(monkeypatch):
    on_the_hub(monkeypatch, train=labelled([1, 0, -1] * 10), test=labelled([1, 0]))
    message = message_of(load_rows, read_task("custom"), DataOptions(hub="someone/reviews"))
    assert "data.ignore_labels=[-1] leaves such rows out" in message
    rows = load_rows(read_task("custom"), DataOptions(hub="someone/reviews", ignore_labels=[-1]))
    assert rows.task.classes == ("neg", "pos")
    assert len(rows.train) + len(rows.validation) == 20


def test_hub_splits_under_two_names_are_asked_and_others_are_named(monkeypatch):
    splits = {name: labelled([1, 0] * 10) for name in ("train", "validation", "dev", "test", "unsupervised")}
    on_the_hub(monkeypatch, **splits)
    message = message_of(load_rows, read_task("custom"), DataOptions(hub="someone/reviews"))
    assert (
        "validation and dev may both be the validation split; say which: task.validation_splits=[validation]" in message
    )
    rows = load_rows(read_task("custom", validation_splits=["dev"]), DataOptions(hub="someone/reviews"))
    assert rows.provenance.files == tuple(f"someone/reviews/{name}" for name in ("train", "dev", "test"))
    assert rows.provenance.unused == ("splits validation, unsupervised",)


def test_imdb_and_swag_are_read_as_the_hub_has_them(monkeypatch):
    on_the_hub(monkeypatch, train=labelled([1, 0] * 10), test=labelled([0, 1]), unsupervised=labelled([-1] * 5))
    imdb = load_rows(read_task("imdb"), DataOptions())
    assert [len(getattr(imdb, name)) for name in SPLITS] == [14, 6, 2]
    endings = [f"ending{i}" for i in range(4)]
    row = {"video-id": "v", "sent1": "He runs.", "sent2": "He", "label": 3} | {name: f"{name}." for name in endings}
    asked = on_the_hub(
        monkeypatch, train=datasets.Dataset.from_list([row] * 8), validation=datasets.Dataset.from_list([row])
    )
    swag = load_rows(read_task("swag"), DataOptions())
    assert asked == [("allenai/swag", "regular")]
    assert swag.test.columns == (["He runs."], ["He"], *([f"{name}."] for name in endings))
    assert swag.test.labels.tolist() == [3]


# The table


def shown(data, width=80):
    stream = io.StringIO()
    print_data_summary(data, Console(file=stream, width=width, soft_wrap=True))
    return stream.getvalue()


def task_data(tmp_path, tokenizer, rows, **values):
    options = DataOptions(dir=str(write(tmp_path / "reviews.csv", rows)), cache_dir=str(tmp_path / "cache"))
    return load_task(read_task("custom", **values), options, tokenizer)


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_says_what_was_found_and_fits(tmp_path, tokenizer, width):
    said = shown(task_data(tmp_path, tokenizer, records(), max_length=6), width)
    assert max(map(len, said.splitlines())) <= width
    assert "data of task custom: 2 classes, metric accuracy" in said
    for line in (
        r"training +28 +\d+ +\d+ +6 +\d+\.\d % +70 % of reviews.csv",
        r"validation +6 +",
        r"bad +\d+ +\d+\.\d % +\d+ +\d+\.\d %",
        r"error of the majority class +0\.\d{3} +0\.\d{3} +0\.\d{3}",
        "text +text",
        "label +label",
        "label is column 'label', by its name",
        "cut at 6 tokens",
    ):
        assert re.search(line, said), said


def test_the_table_names_every_file_column_and_note(tmp_path, tokenizer):
    for name in ("train.csv", "train_2.csv", "test.csv", "more.csv"):
        write(tmp_path / "in" / name, [row | {"id": name, "text": f"{name} {row['text']}"} for row in records(20)])
    options = DataOptions(dir=str(tmp_path / "in"), cache_dir=str(tmp_path / "cache"))
    data = load_task(read_task("custom"), options, tokenizer)
    said = "".join(shown(data, 80).split())
    for name in ("train.csv", "train_2.csv", "test.csv", "more.csv"):
        assert str(tmp_path / "in" / name) in said
    assert f"notusedcolumnsidfile{tmp_path}" in said
    assert all("".join(note.split()) in said for note in data.provenance.notes)
    assert max(map(len, shown(data, 80).splitlines())) <= 80


def test_the_table_shows_the_commonest_of_many_classes(tmp_path, tokenizer):
    labels = [f"[b]class[/b] {i} with a name that goes on and on" for i in range(30)]
    said = shown(task_data(tmp_path, tokenizer, records(300, labels)), 80)
    assert "data of task custom: 30 classes" in said
    assert "24 other classes" in said
    assert "[b]class[/b]" in said
    assert len(re.findall(r"^ \[b\]class\[/b\] \d+ with a.*… +\d+ +\d\.\d % ", said, re.MULTILINE)) == 6
    assert max(map(len, said.splitlines())) <= 80


def test_a_long_file_name_takes_no_more_lines(tmp_path, tokenizer):
    file = write(tmp_path / f"{'a-long-name-' * 8}.csv", records(5000))
    said = shown(load_task(read_task("custom"), DataOptions(dir=str(file), cache_dir=str(tmp_path)), tokenizer), 70)
    assert len(re.findall(r"^ (training +3 500|validation +750|test +750) .* % of a-lo.*…$", said, re.MULTILINE)) == 3
    assert not re.search(r"[ ]$", said, re.MULTILINE)
    assert file.name in "".join(said.split())  # whole in the note on how it is split


def test_the_table_of_a_regression(tmp_path, tokenizer):
    said = shown(task_data(tmp_path, tokenizer, records(40, (0.5, 1.5, 2.0, 4.0))))
    assert "regression, metric spearman" in said
    assert "largest" in said
    assert re.search(r"error of the constant prediction +1\.000 +1\.000 +1\.000", said)
    assert "a regression (task.kind=classification for classes)" in " ".join(said.split())


def test_a_class_without_a_training_row_is_said(tmp_path, tokenizer):
    rows = [*records(40), {"text": "w", "label": "rare"}]
    file, said = write(tmp_path / "all.csv", rows), set()
    for seed in range(30):
        options = DataOptions(dir=str(file), split_seed=seed, cache_dir=str(tmp_path / "cache"))
        data = load_task(read_task("custom"), options, tokenizer)
        learnt = data.task.classes.index("rare") in data.train.labels
        assert learnt != ("no training row has the label rare, so no model can learn it" in shown(data, 100))
        said.add(learnt)
    assert said == {True, False}


# Memory


def test_texts_are_in_memory_once(tmp_path):
    rows = [{"text": f"{i} " + "word " * 200, "label": "ab"[i % 2]} for i in range(4000)]
    once = sum(len(row["text"]) for row in rows)
    file = write(tmp_path / "all.csv", rows)
    del rows
    load(file)
    tracemalloc.start()
    try:
        loaded = load(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(loaded.train) == 2800
    assert once < peak < 1.5 * once
