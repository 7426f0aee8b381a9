import csv
import json
import os
import random
from dataclasses import asdict
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supernet.data import hub as hub_data
from supernet.data.hub import HubData
from supernet.data.load import TextSplit, load_rows, load_task, split_rows
from supernet.models.heads import head_for
from supernet.options.data import DataOptions
from supernet.options.kinds import REGRESSION
from supernet.options.task import EMBEDDED_TASK
from supernet.runtime.errors import UserError
from supernet.runtime.shapes import shaped
from tests.fixtures import TASK_NAMES, read_task

GLUE = Path(os.environ.get("PLM_SUPERNET_GLUE", "glue"))
GOOD = [{"sentence": f"sentence {i}", "label": i % 2, "idx": i} for i in range(10)]
QUOTED = [
    'a "quoted" word',
    "a\ttab",
    "two\nlines",
    "plain",
    'a comma, and a "quote"',
    "émigré 漢字",
    " ",
    "x",
    "y",
    "z",
]


def write_json(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_table(file, rows, delimiter):
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def sst2(folder, train=None, name="train.jsonl"):
    """A folder with a good test split, and a training file with this content (text or bytes)."""
    write_json(folder / "validation.jsonl", GOOD[:4])
    if train is None:
        write_json(folder / name, GOOD)
    else:
        (folder / name).write_bytes(train if isinstance(train, bytes) else train.encode())
    return folder


def load(folder, task=None, **options):
    return load_rows(task or read_task("sst2"), DataOptions(dir=str(folder), **options))


def message_of(function, *args, **kwargs):
    """The one-line message of the user's mistake."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def all_rows(rows):
    """Texts and labels of training and validation rows, sorted."""
    parts = [rows.train, rows.validation]
    return sorted((*texts, y) for p in parts for *texts, y in zip(*p.columns, p.labels.tolist(), strict=True))


# The task table


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_survives_json(name):
    task = read_task(name)
    assert task.name == name
    assert shaped(type(task), json.loads(json.dumps(asdict(task)))) == task
    assert hash(task) == hash(read_task(name))


def test_the_tasks_are_those_of_the_paper_and_three_more():
    paper = {"cola", "mnli", "mrpc", "qnli", "rte", "sst2", "stsb", "qqp", "imdb", "swag"}
    assert set(TASK_NAMES) == paper | {"wnli", "custom", EMBEDDED_TASK}
    assert {name for name in TASK_NAMES if read_task(name).max_validation_rows == 2048} == {
        "sst2",
        "qqp",
        "qnli",
        "mnli",
        "imdb",
        "swag",
        "custom",
    }
    assert read_task("stsb").kind == REGRESSION
    outputs = {name: head_for(read_task(name)).outputs(read_task(name)) for name in ("stsb", "mnli", "swag")}
    assert outputs == {"stsb": 1, "mnli": 3, "swag": 1}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "acuracy"}, "did you mean accuracy"),
        ({"metric": "spearman"}, "accuracy, f1 or matthews for classification"),
        ({"text": []}, "task.text=[] of task 'sst2' is not allowed; give a list of different names, not empty"),
        ({"text": "sentence"}, "a list of names"),
        ({"text": ["a", "b", "c"]}, "one or two column names"),
        ({"text": ["a", "a"]}, "a list of different names"),
        ({"classes": ["one"]}, "two or more classes"),
        ({"classes": []}, "either two or more classes, or label_range"),
        ({"label_range": [0, 5]}, "either two or more classes, or label_range"),
        ({"classes": [], "label_range": [5, 0]}, "two numbers [low, high] with low < high"),
        ({"classes": [], "label_range": [5]}, "two numbers [low, high] with low < high"),
        ({"classes": [], "label_range": [0, 5]}, "give spearman for regression"),
        ({"classes": ["a", "b", "c"], "metric": "f1"}, "f1 takes 2"),
        ({"max_length": 3}, "at least 4 tokens"),
        ({"max_validation_rows": 0}, "null for no limit"),
    ],
)
def test_values_that_describe_no_task_are_refused(values, message):
    assert message in message_of(read_task, "sst2", **values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0, 0), (1.0, 1), ("1", 1), (" positive ", 1), ("negative", 0)),
        *((value, None) for value in (2, -1, 0.5, True, None, "", "Positive?", "nan", float("inf"), 10**400, [1])),
        *(("1.0", 1), ("01", None), ("1E0", None), ("1.00", None), ("+1", None)),
    ],
)
def test_class_labels_are_ids_or_names(value, expected):
    assert read_task("sst2").parse_label(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (5.0, 5.0), ("3.25", 3.25), (5.1, None), (-0.1, None), ("nan", None), (None, None), ("high", None)],
)
def test_regression_labels_lie_within_the_range(value, expected):
    assert read_task("stsb").parse_label(value) == expected


# Local files


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_formats_give_the_same_rows(tmp_path, ending):
    rows = [{"idx": i, "sentence1": text, "label": i % 2, "sentence2": "other"} for i, text in enumerate(QUOTED)]
    for split in ("train", "dev"):
        file = tmp_path / f"{split}.{ending}"
        if ending in ("csv", "tsv"):
            write_table(file, rows, "," if ending == "csv" else "\t")
        elif ending == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), file)
        else:
            write_json(file, rows)
    loaded = load(tmp_path, read_task("rte"))
    assert all_rows(loaded) == sorted((text, "other", i % 2) for i, text in enumerate(QUOTED))
    assert loaded.test.columns == (QUOTED, ["other"] * 10)
    assert loaded.test.labels.dtype == np.int64


@pytest.mark.parametrize("where", ["sst2", "SST-2", "sst_2", "."])
def test_dir_is_the_folder_of_the_task_or_the_one_above(tmp_path, where):
    sst2(tmp_path / where)
    (tmp_path / "rte").mkdir()
    assert len(load(tmp_path).test) == 4


def test_splits_are_found_by_preference(tmp_path):
    task = read_task("mnli")
    rows = [{"premise": "p", "hypothesis": name, "label": 0} for name in "abcd"]
    write_json(tmp_path / "train.jsonl", rows)
    for name in ("dev", "validation_matched", "validation_mismatched"):
        write_json(tmp_path / f"{name}.jsonl", [{"premise": "p", "hypothesis": name, "label": "neutral"}])
    test = load(tmp_path, task).test
    assert test.columns[1] == ["validation_matched"]
    assert test.labels.tolist() == [1]


def test_parts_of_a_split_are_read_in_order(tmp_path):
    for part, rows in enumerate((GOOD[:5], GOOD[5:])):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"validation-0000{part}-of-00002.parquet")
    write_json(tmp_path / "train.jsonl", GOOD)
    assert load(tmp_path).test.columns[0] == [row["sentence"] for row in GOOD]
    (tmp_path / "validation-00000-of-00002.parquet").unlink()
    assert "is not a single file, or lacks a part: validation-00001-of-00002.parquet" in message_of(load, tmp_path)


def test_official_tsv_files_have_literal_quotes(tmp_path):
    texts = ['"an opening quote only', 'ends with one"', 'an "inner" pair', "\u2028 is no line end", "e", "f"]
    sst2(tmp_path, "sentence\tlabel\n" + "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(texts)), "train.tsv")
    assert all_rows(load(tmp_path)) == sorted((text, i % 2) for i, text in enumerate(texts))


def test_a_quote_closed_some_lines_below_does_not_swallow_rows(tmp_path):
    content = "label\tsentence\n" + "".join(f"0\t{line}\n" for line in ('"one', 'two"', "three", "four"))
    sst2(tmp_path, content, "train.tsv")
    assert [text for text, _ in all_rows(load(tmp_path))] == ['"one', "four", "three", 'two"']


@pytest.mark.parametrize("name", ["train.jsonl", "train.csv"])
def test_byte_order_mark_and_empty_lines_are_tolerated(tmp_path, name):
    lines = [json.dumps(row) for row in GOOD] if name.endswith("jsonl") else ["sentence,label", "a,1", "b,0", "c,1"]
    sst2(tmp_path, ("\ufeff" + "\r\n".join([*lines, "", ""])).encode(), name)
    assert len(all_rows(load(tmp_path))) == len(lines) - name.endswith("csv")


def test_other_column_names_can_be_given(tmp_path):
    task = read_task("sst2", text=["#1 String"], label="Quality")
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("Quality\t#1 String\n" + "1\tx\n0\ty\n" * 3)
    assert load(tmp_path, task).test.labels.tolist() == [1, 0] * 3


def test_one_of_two_texts_may_be_empty(tmp_path):
    rows = [{"question1": "a", "question2": "", "label": 0}] * 4
    write_json(tmp_path / "train.jsonl", rows)
    write_json(tmp_path / "dev.jsonl", rows)
    assert load(tmp_path, read_task("qqp")).test.columns[1] == [""] * 4


GOOD_LINE = '{"sentence": "x", "label": 1}\n'
HEADER = "sentence,label\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", GOOD_LINE + '{"sentence": "x", \n', "train.jsonl:2: not valid JSON (Expecting property name"),
        ("train.jsonl", GOOD_LINE + "[" * 100_000, "train.jsonl:2: not valid JSON (RecursionError)"),
        ("train.jsonl", GOOD_LINE + "[1, 2]\n", "train.jsonl:2: [1, 2] is not a JSON object"),
        ("train.jsonl", GOOD_LINE + '{"text": "x", "label": 1}', "train.jsonl:2: column 'sentence' is missing; there "
         "are: text, label; name the file's columns with data.text=[...]"),
        ("train.jsonl", GOOD_LINE + '{"sentence": null, "label": 1}', "train.jsonl:2: no text in column sentence"),
        ("train.jsonl", GOOD_LINE + '{"sentence": 7, "label": 1}', "train.jsonl:2: column 'sentence' holds 7; it must"),
        ("train.jsonl", GOOD_LINE + '{"sentence": " ", "label": 1}', "train.jsonl:2: no text in column sentence"),
        ("train.jsonl", GOOD_LINE + '{"sentence": "\\ud800", "label": 1}', "train.jsonl:2: column 'sentence' holds"),
        ("train.jsonl", GOOD_LINE + '{"sentence": "x", "label": 2}', "train.jsonl:2: label 2 in column 'label' is not "
         "allowed; task 'sst2' takes ids or class names: 0 (negative), 1 (positive)"),
        ("train.jsonl", GOOD_LINE + '{"sentence": "x", "label": "a\\nb"}', "train.jsonl:2: label 'a\\nb' in column"),
        ("train.jsonl", "", "train.jsonl: no rows; give a file with rows of the columns sentence, label"),
        ("train.jsonl", GOOD_LINE.encode() + b"{\xe9}", "train.jsonl:2: byte 0xe9 is not UTF-8"),
        ("train.jsonl", GOOD_LINE, "1 training row(s) cannot be split"),
        ("train.csv", "", "train.csv: no rows"),
        ("train.csv", HEADER, "train.csv: no rows"),
        ("train.csv", "text,label\nx,1\n", "train.csv:1: column 'sentence' is missing; there are: text, label;"),
        ("train.csv", HEADER + "x,1\nx\n", "train.csv:3: 1 fields where the header has 2"),
        ("train.csv", HEADER + '"x\n,1\n', "train.csv:3: not valid CSV (unexpected end of data)"),
        ("train.csv", HEADER + "x,1\n,1\n", "train.csv:3: no text in column sentence"),
        ("train.csv", HEADER.encode() + b"\xff,1\n", "train.csv:2: byte 0xff is not UTF-8"),
        ("train.tsv", "sentence\tlabel\nx\t1\nx\n", "train.tsv:3: 1 fields where the header has 2"),
        ("train.tsv", "sentence\tlabel\nx\t1\nx\t-1\n", "train.tsv:3: label '-1' in column 'label' is not allowed"),
        ("train.parquet", "no parquet", "train.parquet cannot be read as Parquet ("),
        ("tain.jsonl", GOOD_LINE, "no file of task 'sst2' for the split train; looked for train with the ending .jsonl,"
         " .json, .tsv, .csv, .parquet; there is: tain.jsonl, validation.jsonl"),
    ],
)  # fmt: skip
def test_bad_files_are_told_with_file_and_line(tmp_path, name, content, message):
    sst2(tmp_path, content, name)
    assert f"{tmp_path}" in message_of(load, tmp_path) or "row(s)" in message
    assert message in message_of(load, tmp_path)


def test_regression_labels_outside_the_range_are_told(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (0.0, 2.5, 5.0, 5.5)]
    write_json(tmp_path / "train.jsonl", rows)
    write_json(tmp_path / "dev.jsonl", rows[:3])
    assert "train.jsonl:4: label 5.5 in column 'label' is not allowed; task 'stsb' takes numbers from 0 to 5" in (
        message_of(load, tmp_path, read_task("stsb"))
    )
    write_json(tmp_path / "train.jsonl", [*rows[:3], rows[1]])
    assert load(tmp_path, read_task("stsb")).test.labels.tolist() == [0.0, 2.5, 5.0]
    assert load(tmp_path, read_task("stsb")).test.labels.dtype == np.float32


def test_parquet_columns_and_nulls_are_checked(tmp_path):
    sst2(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), tmp_path / "train.parquet")
    assert "column 'sentence' is missing; there are: text, label" in message_of(load, tmp_path)
    pq.write_table(pa.table({"sentence": ["x", None], "label": [1, 1]}), tmp_path / "train.parquet")
    assert "train.parquet:2: no text in column sentence" in message_of(load, tmp_path)
    pq.write_table(pa.table({"sentence": ["x", "y"], "label": [1, None]}), tmp_path / "train.parquet")
    assert "train.parquet:2: label None in column 'label'" in message_of(load, tmp_path)


def test_a_missing_test_split_and_two_files_for_one_are_told(tmp_path):
    sst2(tmp_path)
    write_table(tmp_path / "train.csv", GOOD, ",")
    assert "split 'train' is not a single file, or lacks a part: train.csv, train.jsonl; keep" in message_of(
        load, tmp_path
    )
    (tmp_path / "train.csv").unlink()
    (tmp_path / "validation.jsonl").unlink()
    assert "for the split validation or dev; looked for validation or dev with" in message_of(load, tmp_path)


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"source": "locl"},
            "data.source 'locl' is unknown; allowed: auto, embedded, hub, local (did you mean local?)",
        ),
        ({"source": "local"}, "data.source=local needs data.dir=FOLDER"),
        ({"max_train_samples": 3}, "data.max_train_samples=3 leaves too few rows"),
        ({"max_train_samples": 0}, "data.max_train_samples=0 leaves too few rows"),
        ({"source": "embedded"}, "data.source=embedded has the rows of the unchanged task=stdlib only, not of 'sst2'"),
        ({"dir": "/not/there"}, "data.dir=/not/there is not a folder"),
    ],
)
def test_impossible_options_are_refused(options, message):
    assert message in message_of(lambda: load_rows(read_task("sst2"), DataOptions(**options)))


def test_a_task_without_a_source_is_told(tmp_path):
    task = read_task("sst2", hub=None)
    assert "task 'sst2' is not on the hub (task.hub is null); give data.dir=FOLDER" in (
        message_of(load_rows, task, DataOptions())
    )
    assert len(load(sst2(tmp_path), task).test) == 4


def test_options_can_be_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = DataOptions(dir="glue", max_train_samples=8)
    assert options.absolute() == DataOptions(dir=str(tmp_path / "glue"), max_train_samples=8)


# The split


def numbered(n):
    return TextSplit(([str(i) for i in range(n)],), np.arange(n))


@pytest.mark.parametrize(("n", "limit"), [(10, None), (101, None), (101, 50), (10, 99)])
def test_the_split_is_the_papers(n, limit):
    rows = [str(i) for i in range(n)]
    random.Random(128).shuffle(rows)
    rows = rows[:limit]
    cut = int(0.7 * len(rows))
    train, validation = split_rows(numbered(n), 128, limit, None)
    assert (train.columns[0], validation.columns[0]) == (rows[:cut], rows[cut:])
    assert train.labels.tolist() == [int(row) for row in rows[:cut]]
    assert split_rows(numbered(n), 128, limit, 2)[1].columns[0] == rows[cut:][:2]


@pytest.mark.parametrize("n", [0, 1])
def test_a_split_is_never_empty(n):
    assert f"{n} training row(s) cannot be split" in message_of(split_rows, numbered(n), 128, None, None)


# The hub


def hub_splits():
    features = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(2)})
    rows = {"sentence": [row["sentence"] for row in GOOD], "label": [row["label"] for row in GOOD]}
    return datasets.DatasetDict({k: datasets.Dataset.from_dict(rows, features) for k in ("train", "validation")})


def test_hub_rows_equal_local_ones(tmp_path, monkeypatch):
    asked = []

    def load_from_hub(task, revision):
        asked.append((task.hub, task.hub_config, revision))
        return HubData(hub_splits(), "c" * 40)

    monkeypatch.setattr(hub_data, "load", load_from_hub)
    rows, local = load_rows(read_task("sst2"), DataOptions()), load(sst2(tmp_path))
    assert asked == [("nyu-mll/glue", "sst2", None)]
    assert rows.train.columns == local.train.columns
    assert rows.validation.labels.tolist() == local.validation.labels.tolist()
    assert "hub data set nyu-mll/glue/sst2 has no split dev; there are: train, validation" in (
        message_of(load_rows, read_task("sst2", test_splits=["dev"]), DataOptions())
    )
    assert "nyu-mll/glue/sst2/train: column 'text' is missing; there are: sentence, label" in (
        message_of(load_rows, read_task("sst2", text=["text"]), DataOptions())
    )


# Whole


def test_load_task_gives_tokens_of_every_split(tmp_path, tokenizer):
    options = DataOptions(dir=str(sst2(tmp_path / "data")), cache_dir=str(tmp_path / "cache"))
    data, rows = load_task(read_task("sst2"), options, tokenizer), load_rows(read_task("sst2"), options)
    assert (len(data.train), len(data.validation), len(data.test)) == (7, 3, 4)
    for split, part in ((data.train, rows.train), (data.validation, rows.validation), (data.test, rows.test)):
        assert split.labels.tolist() == part.labels.tolist()
        assert split.ids[: split.offsets[1]].tolist() == tokenizer(part.columns[0][0])["input_ids"]


@pytest.mark.parametrize("name", ["cola", "mnli", "mrpc", "qnli", "rte", "sst2", "stsb"])
def test_real_glue_files_load(name):
    if not (GLUE / name).is_dir():
        pytest.skip("no GLUE files; set PLM_SUPERNET_GLUE to their folder")
    task = read_task(name)
    rows = load(GLUE, task)
    content = (GLUE / name / "train.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in content.split("\n") if line]
    random.Random(128).shuffle(lines)
    cut = int(0.7 * len(lines))
    assert list(zip(*rows.train.columns, strict=True)) == [tuple(line[c] for c in task.text) for line in lines[:cut]]
    assert len(rows.validation) == min(len(lines) - cut, task.max_validation_rows or len(lines))
    assert set(np.unique(rows.test.labels)) >= set(range(len(task.classes)))
