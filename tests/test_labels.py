"""Labels of the user's own data: classes as written, numbers, labels that are missing; and texts that are shared."""

import json

import numpy as np
import pytest

from supernet.console.config import load_config
from supernet.data.classes import LabelCounts, infer_labels
from supernet.data.load import SPLITS
from supernet.data.lookalikes import alike_notes
from supernet.options.data import DataOptions
from supernet.options.kinds import REGRESSION
from supernet.options.labels import other_writing, parse_number, spellings
from supernet.options.task import Task
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.shapes import shaped
from tests.fixtures import read_task
from tests.user_data import load, message_of, records, write

ALL = ["all.csv", "all.tsv", "all.jsonl", "all.parquet"]


def notes_of(rows):
    return " | ".join(rows.provenance.notes)


def labels_by_text(rows):
    """The class of each text."""
    parts = [getattr(rows, name) for name in SPLITS]
    return {text: rows.task.answers[y] for part in parts for text, y in zip(part.columns[0], part.labels, strict=True)}


# Classes as they are written


@pytest.mark.parametrize("kind", ["auto", "classification"])
@pytest.mark.parametrize(
    "labels",
    [
        ["1.1", "1.10", "2.1"],
        ["01", "1", "001"],
        ["1E2", "100", "1E3"],
        ["1", "+1", "2"],
        ["0.5", ".5", "1.5"],
        ["01.1", "02.1", "02.2"],
        ["1e400", "2", "3"],
        ["0x1", "1", "2"],
        ["1_0", "10", "2"],
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_codes_that_look_like_numbers_are_classes_as_written(tmp_path, name, labels, kind):
    data = records(60, labels)
    rows = load(write(tmp_path / name, data), task=read_task("custom", kind=kind))
    assert sorted(rows.task.classes) == sorted(labels)
    assert labels_by_text(rows) == {row["text"]: row["label"] for row in data}
    stored = shaped(Task, json.loads(json.dumps(vars(rows.task))))
    assert labels_by_text(load(tmp_path / name, task=stored)) == labels_by_text(rows)


def test_codes_are_said_to_be_and_may_be_numbers(tmp_path):
    file = write(tmp_path / "all.csv", records(60, ["1.1", "1.10", "2.1"]))
    said = notes_of(load(file))
    assert "labels such as 1.1, 1.10 are codes, so they are classes (task.kind=regression for numbers)" in said
    assert "classes that differ in how a number is written only: 1.1, 1.10" in said
    rows = load(file, task=read_task("custom", kind="regression"))
    assert rows.task.label_range == (1.1, 2.1)
    assert {round(float(y), 3) for y in rows.train.labels} == {1.1, 2.1}


@pytest.mark.parametrize("labels", [[0.5, 1.5, 2.0], ["0.5", "1.0", "1", "2.25"], ["0", "0.0", "-0.5", "0.5"]])
def test_numbers_are_a_regression_however_their_whole_ones_are_written(tmp_path, labels):
    assert load(write(tmp_path / "all.jsonl", records(60, labels))).task.kind == "regression"


@pytest.mark.parametrize("name", ["9" * 400, "-" + "9" * 400, "9" * 5000, "1e400", "inf", "nan"])
def test_what_is_no_finite_number_is_none(name):
    assert parse_number(name) is None


def test_a_label_of_hundreds_of_digits_is_no_number(tmp_path):
    rows = [row | {"label": float(i)} for i, row in enumerate(records(20))]
    write(tmp_path / "all.jsonl", [*rows, rows[0] | {"label": int("9" * 400)}])
    with pytest.raises(UserError, match=r"all\.jsonl:21: label '.*' in column 'label' is not a number"):
        load(tmp_path, task=read_task("custom", kind="regression"))


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet"])
def test_a_number_has_one_name_where_the_file_holds_numbers(tmp_path, name):
    rows = load(write(tmp_path / name, records(60, [1.0, 2.0, 100.0])))
    assert rows.task.classes == ("1", "2", "100")
    mixed = load(write(tmp_path / "mixed.jsonl", records(60, [1, 1.0, "1", 2, 2e0])))
    assert mixed.task.classes == ("1", "2")


@pytest.mark.parametrize(("train", "test"), [(["1", "2"], ["1.0", "2.0"]), (["1.0", "2.0"], ["1", "2"])])
def test_whole_numbers_as_pandas_writes_them_beside_a_missing_one_are_the_same(tmp_path, train, test):
    write(tmp_path / "train.csv", records(40, train))
    write(tmp_path / "test.csv", records(20, test))
    rows = load(tmp_path)
    assert rows.task.classes == tuple(train)
    assert rows.test.labels.tolist() == [0, 1] * 10
    assert (
        f"labels of the test rows are read as other labels: {test[0]} as {train[0]}, {test[1]} as {train[1]}"
        in notes_of(rows)
    )


@pytest.mark.parametrize(("train", "test"), [(["1.1", "2.1"], "1.10"), (["1", "2"], "01"), (["100", "2"], "1E2")])
def test_a_label_that_is_a_class_as_a_number_only_is_told(tmp_path, train, test):
    write(tmp_path / "train.csv", records(40, train))
    write(tmp_path / "test.csv", records(20, [test, train[1]]))
    message = message_of(load, tmp_path, task=read_task("custom", kind="classification"))
    assert f"test.csv:2: label '{test}' in column 'label' is not allowed" in message
    assert f"as a number it is the class '{train[0]}': write it as '{train[0]}' in all files" in message


@pytest.mark.parametrize(
    ("name", "other"),
    [("1", "1.0"), ("1.0", "1"), ("-3", "-3.0"), ("01", None), ("1.00", None), ("1.5", None), ("a", None)],
)
def test_only_whole_numbers_are_written_in_two_ways(name, other):
    assert other_writing(name) == other


# Classes that look alike


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["Good", "good", "bad"], "classes that differ in capital letters only: Good, good"),
        (["yes", "yes\u200b"], r"look alike or cannot be seen only: 'yes', 'yes\u200b'"),
        (["\ufeffno", "no"], r"look alike or cannot be seen only: '\ufeffno', 'no'"),
        (["caf\u00e9", "cafe\u0301"], r"look alike or cannot be seen only: 'caf\xe9', 'cafe\u0301'"),
        (["a\u00a0b", "a b", "c"], r"look alike or cannot be seen only: 'a\xa0b', 'a b'"),
        (["a  b", "a b"], "look alike or cannot be seen only"),
        (["a\u00adb", "ab"], r"look alike or cannot be seen only: 'a\xadb', 'ab'"),
        (["\uff21", "A"], r"look alike or cannot be seen only: '\uff21', 'A'"),
        (["Yes.", "yes"], "capital letters and signs at the ends only: 'Yes.', 'yes'"),
        (["1", "01", "2"], "how a number is written only: 1, 01"),
    ],
)
def test_classes_that_look_alike_are_named(names, note):
    (said,) = alike_notes(names)
    assert note in said


@pytest.mark.parametrize("names", [["a", "b"], ["C", "C++", "C#"], ["-1", "1"], ["A", "A+"], ["?", "!"], ["é", "e"]])
def test_classes_that_do_not_look_alike_are_not(names):
    assert alike_notes(names) == []


def test_classes_that_look_alike_stay_apart(tmp_path):
    data = records(60, ["yes", "yes\u200b", "no"])
    rows = load(write(tmp_path / "all.csv", data))
    assert labels_by_text(rows) == {row["text"]: row["label"] for row in data}
    assert r"'yes', 'yes\u200b'" in notes_of(rows)


# Decimal commas


@pytest.mark.parametrize("kind", ["auto", "regression"])
@pytest.mark.parametrize("delimiter", [";", ","])
def test_decimal_commas_are_read_where_all_labels_are_numbers_so(tmp_path, delimiter, kind):
    data = records(60, ["0,5", "1,5", "2", "-3,25", "0,125"])
    rows = load(write(tmp_path / "all.csv", data, delimiter), task=read_task("custom", kind=kind))
    assert (rows.task.kind, rows.task.label_range, rows.task.decimal) == ("regression", (-3.25, 2.0), "comma")
    assert "labels have decimal commas: '0,5' is 0.5 (task.kind=classification for classes)" in notes_of(rows)
    every = np.concatenate([getattr(rows, name).labels for name in SPLITS])
    assert set(every.tolist()) == {0.5, 1.5, 2.0, -3.25, 0.125}
    stored = shaped(Task, json.loads(json.dumps(vars(rows.task))))
    again = load(tmp_path / "all.csv", task=stored)
    assert again.train.labels.tolist() == rows.train.labels.tolist()


def test_decimal_commas_may_be_classes(tmp_path):
    file = write(tmp_path / "all.csv", records(60, ["0,5", "1,5"]))
    assert load(file, task=read_task("custom", kind="classification")).task.classes == ("0,5", "1,5")
    assert load(write(tmp_path / "b.csv", records(60, ["1,2", "x"]))).task.classes == ("1,2", "x")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0,5", "1.5"], "all.csv:2: label '0,5' in column 'label' has a decimal comma, and '1.5' ("),
        (
            ["1,000", "2,500", "12"],
            "all.csv:2: label '1,000' in column 'label' may have a decimal comma or a comma between",
        ),
    ],
)
def test_commas_that_may_mean_two_things_are_asked(tmp_path, labels, message):
    file = write(tmp_path / "all.csv", records(60, labels))
    assert message in message_of(load, file)
    assert "task.kind=classification if they are classes" in message_of(load, file)
    assert len(load(file, task=read_task("custom", kind="classification")).task.classes) == len(labels)


def test_a_comma_between_thousands_may_be_said_to_be_decimal(tmp_path):
    file = write(tmp_path / "all.csv", records(60, ["1,000", "2,500"]))
    rows = load(file, task=read_task("custom", kind="regression", decimal="comma"))
    assert rows.task.label_range == (1.0, 2.5)
    message = message_of(load, file, task=read_task("custom", text=["text"], label="label", label_range=[0, 5]))
    assert "say task.decimal=comma if numbers have decimal commas" in message
    assert "task.decimal 'komma' is unknown; allowed: comma, point" in message_of(read_task, "custom", decimal="komma")


# Labels that are missing


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("typed", [-1, "-1", [-1], ["-1"], [-1.0]])
def test_rows_may_be_left_out_by_their_labels(tmp_path, name, typed):
    data = records(60, [0, 1, 2])
    for i in (5, 17, 40):
        data[i]["label"] = -1
    file = write(tmp_path / name, data)
    rows = load(file)
    assert rows.task.classes == ("-1", "0", "1", "2")
    note = (
        "class '-1' (3 of 60 training rows) may mean that there is no label: data.ignore_labels=[-1] leaves such rows"
    )
    assert f"{note} out" in notes_of(rows)
    left = load(file, ignore_labels=typed)
    assert left.task.classes == ("0", "1", "2")
    assert labels_by_text(left) == {row["text"]: str(row["label"]) for row in data if row["label"] != -1}
    assert f"3 rows of {name} are left out for their labels (data.ignore_labels)" in notes_of(left)


def test_options_with_labels_to_be_left_out_survive_json():
    options = DataOptions(ignore_labels=[-1, None, float("nan"), "x", True, 1.0]).normalised()
    assert options.ignore_labels == ("-1", "null", "nan", "x", "true", "1")
    assert shaped(DataOptions, json.loads(json.dumps(vars(options)))) == options
    assert DataOptions(ignore_labels=None).normalised() == DataOptions()
    assert "data.ignore_labels: {'a': 1} is no label" in message_of(lambda: DataOptions(ignore_labels=[{"a": 1}]))
    assert "data.ignore_labels: '' is no label" in message_of(lambda: DataOptions(ignore_labels=""))


@pytest.mark.parametrize(
    ("typed", "labels"),
    [
        ("-1", ("-1",)),
        ("[-1]", ("-1",)),
        ("[null]", ("null",)),
        ("[nan]", ("nan",)),
        ("[01,1.10]", ("01", "1.10")),
        ("[N/A,no label]", ("N/A", "no label")),
        ("[]", ()),
    ],
)
def test_labels_to_be_left_out_are_what_is_typed(typed, labels):
    config = load_config("train", TrainConfig, ["task=custom", "data.dir=x", f"data.ignore_labels={typed}"])
    assert config.data.ignore_labels == labels


@pytest.mark.parametrize(
    ("labels", "noted"),
    [
        (["-1", "1"], False),
        (["-1", "0", "1"], False),
        (["-1", "0", "1", "0", "1", "0", "1", "0", "1"], True),
        (["-1", "0"], True),
        (["-1", "0", "1", "2"], True),
        (["-100", "0", "1"], True),
        (["-2", "-1", "0"], False),
        (["none", "pro", "contra"], True),
        (["N/A", "pro", "contra"], True),
        (["pro", "contra"], False),
    ],
)
def test_classes_that_may_stand_for_no_label_are_named(tmp_path, labels, noted):
    rows = load(write(tmp_path / "all.csv", records(90, labels)))
    note = f"may mean that there is no label: data.ignore_labels=[{labels[0]}] leaves such rows out"
    assert (note in notes_of(rows)) == noted


def test_a_number_of_a_regression_that_may_stand_for_no_label_is_named(tmp_path):
    data = records(60, ["0.5", "1.5", "2.5"])
    data[7]["label"] = data[9]["label"] = "-1"
    file = write(tmp_path / "all.csv", data)
    assert "label '-1' (2 of 60 training rows) may mean that there is no label" in notes_of(load(file))
    assert load(file, ignore_labels=-1).task.label_range == (0.5, 2.5)


@pytest.mark.parametrize("missing", ["NA", "nan", "None"])
def test_numbers_with_fractions_beside_labels_that_are_missing_are_asked(tmp_path, missing):
    data = records(60, ["0.5", "1.5", "2.5"])
    data[7]["label"] = missing
    file = write(tmp_path / "all.csv", data)
    message = message_of(load, file)
    assert f"all.csv:9: label '{missing}' in column 'label' is not a number, but other labels are" in message
    assert f"data.ignore_labels=[{missing}] to leave such rows out, or task.kind=classification" in message
    assert load(file, ignore_labels=[missing]).task.label_range == (0.5, 2.5)


@pytest.mark.parametrize("text", ["nan", "NaN"])
def test_a_class_called_nan_is_asked(tmp_path, text):
    data = records(30, ["bread", text, "rice"])
    file = write(tmp_path / "all.csv", data)
    message = message_of(load, file)
    assert f"all.csv:3: label '{text}' in column 'label' may be a class or a missing label; say" in message
    assert "data.ignore_labels=[nan] to leave such rows out, or name all classes: task.classes=[...," in message
    assert load(file, ignore_labels=float("nan")).task.classes == ("bread", "rice")
    rows = load(file, task=read_task("custom", classes=["bread", text, "rice"]))
    assert labels_by_text(rows) == {row["text"]: row["label"] for row in data}


@pytest.mark.parametrize("name", ALL)
def test_rows_without_a_label_may_be_left_out(tmp_path, name):
    data = records(40)
    data[3]["label"] = data[8]["label"] = None
    file = write(tmp_path / name, data)
    message = message_of(load, file)
    assert "no label in column 'label'; fill it in or remove the row; data.ignore_labels=[null] leaves such" in message
    assert sum(len(getattr(load(file, ignore_labels=[None]), split)) for split in SPLITS) == 38
    file.unlink()
    file = tmp_path / "nan.jsonl"
    file.write_text("".join(json.dumps(row | {"label": row["label"] or float("nan")}) + "\n" for row in data))
    assert sum(len(getattr(load(file, ignore_labels=float("nan")), split)) for split in SPLITS) == 38


def test_a_label_that_no_row_has_cannot_be_left_out(tmp_path):
    file = write(tmp_path / "all.csv", records(40))
    message = message_of(load, file, ignore_labels=["ugly"])
    assert "data.ignore_labels: no row has the label 'ugly'; there are: bad, good" in message
    assert "no rows besides those that data.ignore_labels leaves out (40)" in message_of(
        load, file, ignore_labels=["bad", "good"]
    )


def test_a_known_task_can_leave_rows_out_too(tmp_path):
    data = [{"premise": f"p {i}", "hypothesis": "h", "label": (0, 1, 2, -1)[i % 4]} for i in range(40)]
    for name in ("train", "dev"):
        write(tmp_path / f"{name}.jsonl", data)
    message = message_of(load, tmp_path, task=read_task("mnli"))
    assert "train.jsonl:4: label -1 in column 'label' is not allowed" in message
    assert "data.ignore_labels=[-1] leaves such rows out" in message
    assert len(load(tmp_path, task=read_task("mnli"), ignore_labels=[-1]).test) == 30


@pytest.mark.parametrize(
    ("typed", "written"),
    [("1", {"1", "1.0"}), ("1.0", {"1", "1.0"}), ("null", {None, "null"}), ("x", {"x"}), ("0.50", {"0.50"})],
)
def test_a_label_that_is_named_may_be_written_otherwise_in_a_file(typed, written):
    assert spellings(typed) == written


@pytest.mark.parametrize("label", ["\ud800", "a\udfff"])
def test_half_a_surrogate_pair_is_no_label(tmp_path, label):
    file = write(tmp_path / "all.jsonl", records(20, ["a", label]))
    assert "all.jsonl:2: label '" in message_of(load, file)
    message_of(load, file).encode()


# Texts that are missing or shared


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("missing", [None, ""])
def test_a_second_text_may_be_missing_in_every_format(tmp_path, name, missing):
    data = [{"title": missing if i % 4 == 0 else "t", "body": f"b {i}", "label": i % 2} for i in range(20)]
    rows = load(write(tmp_path / name, data), text=["title", "body"])
    assert sorted(rows.train.columns[0] + rows.validation.columns[0] + rows.test.columns[0]) == [""] * 5 + ["t"] * 15
    data[6] |= {"title": missing, "body": missing}
    message = message_of(load, write(tmp_path / name, data), text=["title", "body"])
    assert "no text in column title, body; remove the row or fill it" in message


def test_texts_that_stand_in_training_and_test_rows_are_counted(tmp_path):
    train, test = records(40), [{"text": f"new {i}", "label": "bad"} for i in range(20)]
    test[:15] = train[:15]
    write(tmp_path / "train.csv", train)
    write(tmp_path / "test.csv", test)
    rows = load(tmp_path)
    assert (
        "15 of 20 test rows have the same text as a training or validation row, so the error looks smaller than it is"
        in notes_of(rows)
    )
    write(tmp_path / "dev.csv", [*train[:3], *test[15:]])
    assert "3 of 8 validation rows have the same text as a training row" in notes_of(load(tmp_path))
    assert "20 of 20 test rows" in notes_of(load(tmp_path))
    write(tmp_path / "dev.csv", [{"text": f"dev {i}", "label": "bad"} for i in range(20)])
    write(tmp_path / "test.csv", [{"text": f"test {i}", "label": "bad"} for i in range(20)])
    assert "same text" not in notes_of(load(tmp_path))


def test_texts_that_a_split_by_chance_puts_on_both_sides_are_counted(tmp_path):
    data = records(40)
    rows = load(write(tmp_path / "all.csv", data + data))
    learnt = set(rows.train.columns[0])
    shared = sum(text in learnt for text in rows.validation.columns[0])
    assert f"{shared} of 12 validation rows have the same text as a training row" in notes_of(rows)


def test_pairs_are_the_same_if_both_texts_are(tmp_path):
    rows = [{"premise": "p", "hypothesis": f"h {i}", "label": 0} for i in range(20)]
    write(tmp_path / "train.jsonl", rows[:10])
    write(tmp_path / "dev.jsonl", rows[9:])
    assert "1 of 11 test rows have the same text as" in notes_of(load(tmp_path, task=read_task("mnli")))


# Columns that number the rows


@pytest.mark.parametrize(
    "name",
    [
        "__index_level_0__",
        "__index_level_1__",
        "Unnamed: 0",
        "Unnamed: 0.1",
        "level_0",
        "index",
        "row_nr",
        "_id",
        "...1",
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_that_numbers_the_rows_is_neither_text_nor_label(tmp_path, name, ending):
    rows = load(write(tmp_path / f"all.{ending}", [{name: i} | row for i, row in enumerate(records(20))]))
    assert (rows.task.text, rows.task.label) == (("text",), "label")
    assert rows.provenance.unused == (f"columns {name}",)


@pytest.mark.slow
@pytest.mark.parametrize("point", [".", ","])
def test_a_hundred_thousand_different_labels_are_not_compared_each_with_each(point):
    names = [f"{i}{point}{i % 10}" for i in range(100_000)]
    found = LabelCounts(names, [2] * len(names), ["f:1"] * len(names))
    assert infer_labels(read_task("custom", text=["t"], label="l"), found, [], ())[0].kind == REGRESSION
