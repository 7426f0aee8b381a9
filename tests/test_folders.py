"""Data files in a folder: which are read as which split, which are named as not used, and what is refused."""

import shutil

import pytest

from supernet.data.load import SPLITS
from tests.fixtures import read_task
from tests.user_data import load, message_of, records, write

HASH = "0a1b2c3d4e5f6a7b"


def make(folder, *names, n=20):
    """Files of n rows each, whose texts say which file they are from."""
    for name in names:
        write(folder / name, [row | {"text": f"{name} {row['text']}"} for row in records(n)])
    return folder


def origin(rows, split):
    """The files that a split's rows are from."""
    return sorted({text.split()[0] for text in getattr(rows, split).columns[0]})


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "eval", "evaluation", "Eval"])
def test_names_of_the_validation_split(tmp_path, name):
    rows = load(make(tmp_path, "train.csv", f"{name}.csv", "test.csv"))
    assert [origin(rows, split) for split in SPLITS] == [["train.csv"], [f"{name}.csv"], ["test.csv"]]


@pytest.mark.parametrize(
    "parts",
    [
        ["train.csv", "train_2.csv"],
        ["train.csv", "train_2.csv", "train_3.csv"],
        ["train_0.csv", "train_1.csv"],
        ["train_1.csv", "train_2.csv", "train_10.csv", *(f"train_{i}.csv" for i in range(3, 10))],
        ["train-001.jsonl", "train-002.jsonl"],
        ["train1.csv", "train2.csv"],
        ["train_part1.csv", "train_part2.csv"],
        ["train.part-1.csv", "train.part-2.csv"],
        ["train_1.csv", "train_2.jsonl"],
        ["training_1.csv", "training_2.csv"],
        ["train-1-of-2.csv", "train-2-of-2.csv"],
        ["train_0_of_2.csv", "train_1_of_2.csv"],
        ["train-00000-of-00001.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        [f"train-00000-of-00001-{HASH}.parquet"],
        [f"train-00000-of-00002-{HASH}.parquet", f"train-00001-of-00002-{HASH[::-1]}.parquet"],
    ],
)
def test_numbered_files_are_one_split(tmp_path, parts):
    rows = load(make(tmp_path, *parts, "dev.csv", "test.csv"))
    assert origin(rows, "train") == sorted(parts)
    assert len(rows.train) == 20 * len(parts)
    assert set(rows.provenance.files) == {str(tmp_path / name) for name in (*parts, "dev.csv", "test.csv")}
    assert not rows.provenance.unused


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path):
    names = [f"train_{i}.csv" for i in range(1, 12)]
    rows = load(make(tmp_path, *reversed(names), "dev.csv", "test.csv", n=10))
    assert list(dict.fromkeys(text.split()[0] for text in rows.train.columns[0])) == names


@pytest.mark.parametrize(
    "parts",
    [
        ["train.csv", "train.jsonl"],
        ["train.csv", "TRAIN.csv"],
        ["train_2.csv"],
        ["train_1.csv", "train_3.csv"],
        ["train.csv", "train_1.csv", "train_2.csv"],
        ["train_1.csv", "train_1.jsonl", "train_2.csv"],
        ["train-00001-of-00002.parquet"],
        ["train-00000-of-00001.parquet", f"train-00000-of-00001-{HASH}.parquet"],
        ["train-00000-of-00002.parquet", "train-00001-of-00003.parquet"],
        ["train.csv", "train-00000-of-00001.parquet"],
    ],
)
def test_files_that_are_not_one_split_are_refused(tmp_path, parts):
    message = message_of(load, make(tmp_path, *parts, "test.csv"))
    assert "split 'train' is not a single file, or lacks a part: " in message
    assert all(name in message for name in parts)
    assert (
        "keep a single file, or all parts train_1, train_2 and so on; or name a single file with data.dir=FILE"
        in message
    )


@pytest.mark.parametrize(
    ("files", "field", "names"),
    [
        (["train.csv", "valid.csv", "dev.csv", "test.csv"], "validation_splits", ["valid", "dev"]),
        (["train.csv", "training.jsonl"], "train_splits", ["train", "training"]),
        (["train.csv", "test.csv", "testing.csv"], "test_splits", ["test", "testing"]),
    ],
)
def test_a_split_under_two_names_is_refused_with_what_settles_it(tmp_path, files, field, names):
    message = message_of(load, make(tmp_path, *files))
    assert f"{names[0]} and {names[1]} may both be the {field.removesuffix('_splits')} split; say which" in message
    for i, name in enumerate(names):
        assert f"task.{field}=[{name}]" in message
        rows = load(tmp_path, task=read_task("custom", **{field: [name]}))
        (unused,) = [file for file in files if file.startswith(f"{names[1 - i]}.")]
        assert rows.provenance.unused == (f"file {tmp_path / unused}",)


def test_every_file_that_is_not_used_is_named(tmp_path):
    others = ["more.csv", "train copy.csv", "old_train.parquet", "train.csv.gz", "test.xlsx", "a.txt"]
    make(tmp_path, "train.csv", "more.csv", "train copy.csv", "old_train.parquet")
    for name in (*others[3:], "README.md", ".hidden.csv", "script.py"):
        (tmp_path / name).write_text("x")
    rows = load(tmp_path)
    assert set(rows.provenance.unused) == {f"file {tmp_path / name}" for name in others}
    assert rows.provenance.files == (str(tmp_path / "train.csv"),)


def test_a_file_in_the_folder_that_was_named_is_not_passed_over_in_silence(tmp_path):
    make(tmp_path / "data", "train.csv")
    make(tmp_path, "x.csv")
    rows = load(tmp_path)
    assert rows.provenance.files == (str(tmp_path / "data" / "train.csv"),)
    assert rows.provenance.unused == (f"file {tmp_path / 'x.csv'}",)


def test_every_column_that_is_not_used_is_named(tmp_path):
    rows = [row | {"id": i, "source": "web"} for i, row in enumerate(records(20))]
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.csv", [row | {"judge": "x"} for row in records(20)])
    assert load(tmp_path, text="text").provenance.unused == ("columns id, source, judge",)


def test_a_known_task_names_what_it_does_not_use_too(tmp_path):
    rows = [{"sentence": f"words {i}", "label": i % 2, "idx": i} for i in range(10)]
    for name in ("train", "validation", "dev", "test"):
        write(tmp_path / f"{name}.jsonl", rows)
    found = load(tmp_path, task=read_task("sst2")).provenance
    assert found.files == (str(tmp_path / "train.jsonl"), str(tmp_path / "validation.jsonl"))
    assert found.unused == ("columns idx", f"file {tmp_path / 'dev.jsonl'}", f"file {tmp_path / 'test.jsonl'}")


@pytest.mark.parametrize("task", ["custom", "sst2"])
def test_the_folder_named_wins_over_one_of_the_tasks_name(tmp_path, task):
    names = ("train.csv", "validation.csv", "test.csv")
    for folder in (tmp_path, tmp_path / task):
        for name in names:
            row = {"text": str(folder / name), "sentence": str(folder / name)}
            write(folder / name, [row | {"label": i % 2} for i in range(10)])
    rows = load(tmp_path, task=read_task(task, text=["sentence"], label="label"))
    assert set(rows.train.columns[0]) == {str(tmp_path / "train.csv")}
    assert rows.provenance.files[0] == str(tmp_path / "train.csv")
    inner = tmp_path / task
    assert f"folder {inner} (data.dir={inner} to use it)" in rows.provenance.unused
    for name in names:
        (tmp_path / name).unlink()
    rows = load(tmp_path, task=read_task(task, text=["sentence"], label="label"))
    assert rows.provenance.files[0] == str(inner / "train.csv")


def test_a_clone_of_a_hub_data_set_has_its_files_in_data(tmp_path):
    make(tmp_path / "data", f"train-00000-of-00001-{HASH}.parquet", f"test-00000-of-00001-{HASH}.parquet")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "dataset_infos.json").write_text("{}")
    rows = load(tmp_path)
    assert (len(rows.train), len(rows.test)) == (14, 20)
    assert rows.provenance.files[0] == str(tmp_path / "data" / f"train-00000-of-00001-{HASH}.parquet")


@pytest.mark.parametrize("name", ["test.csv", "dev.jsonl", "eval.parquet", "test-00000-of-00001.parquet"])
def test_a_lone_test_file_is_not_taken_for_training_rows(tmp_path, name):
    make(tmp_path, name)
    message = message_of(load, tmp_path)
    assert f"the only data file is {name}, which is not a name of training rows" in message
    assert f"or say data.dir={tmp_path / name} to split this file into all three" in message
    assert len(load(tmp_path / name).train) == 14
    shutil.move(tmp_path / name, tmp_path / f"reviews{(tmp_path / name).suffix}")
    assert len(load(tmp_path).train) == 14


def test_of_very_many_files_the_first_and_the_last_are_named(tmp_path):
    names = [f"train_{i}.csv" for i in range(1, 31)]
    rows = load(make(tmp_path, *names, "test.csv", n=4))
    first, last = tmp_path / "train_1.csv", tmp_path / "train_30.csv"
    assert rows.provenance.files == (f"{first} to {last} (30 files)", str(tmp_path / "test.csv"))
