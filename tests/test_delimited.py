"""CSV and TSV files as they come: what their quotes are, what separates their columns, what is no row."""

import random

import pytest

from supernet.data.delimited import Dialect, dialect_of
from supernet.data.readers import reader_of
from supernet.options.task import Task
from tests.fixtures import read_task
from tests.user_data import all_texts, load, message_of, records, write

ENDINGS = [(".csv", ","), (".csv", ";"), (".csv", "|"), (".csv", "\t"), (".tsv", "\t")]
PLAIN = [[f"word {i}", "ab"[i % 2]] for i in range(30)]


def save(file, rows, delimiter=",", *, header=("text", "label"), end="\n"):
    """Rows without any quotes but those that they have."""
    file.write_bytes("".join(delimiter.join(row) + end for row in [header, *rows]).encode())
    return file


def stray(opening, closing, rows=PLAIN):
    """Rows of which one text begins with a quote and a later one ends with one."""
    changed = [list(row) for row in rows]
    changed[opening][0] = '"' + changed[opening][0]
    changed[closing][0] += '"'
    return changed


def notes_of(rows):
    return " | ".join(rows.provenance.notes)


# Quotes


@pytest.mark.parametrize(("ending", "delimiter"), ENDINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_stray_quotes_swallow_no_row(tmp_path, ending, delimiter, end, order):
    rows = stray(4, 13)
    for i in (20, 25):
        rows[i][0] = f'an "inner" one {i}'
    header, swapped = ("text", "label"), [[row[i] for i in order] for row in rows]
    file = save(tmp_path / f"all{ending}", swapped, delimiter, header=[header[i] for i in order], end=end)
    loaded = load(file)
    assert all_texts(loaded) == sorted(row[0] for row in rows)
    assert loaded.task.classes == ("a", "b")
    assert "quotes are part of the texts (data.quotes=csv if they enclose fields)" in notes_of(loaded)


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_a_quote_that_is_never_closed_is_text_where_every_line_is_a_row(tmp_path, delimiter):
    rows = [[*row] for row in PLAIN]
    rows[11][0] = '"' + rows[11][0]
    assert len(all_texts(load(save(tmp_path / "all.csv", rows, delimiter)))) == 30


@pytest.mark.parametrize("label", ["0.25", "17", "1e-3"])
def test_stray_quotes_are_seen_where_every_label_is_another_number(tmp_path, label):
    rows = stray(4, 9, [[f"word {i}", str(float(label) + i)] for i in range(30)])
    loaded = load(save(tmp_path / "all.csv", rows), task=read_task("custom", kind="regression"))
    assert all_texts(loaded) == sorted(row[0] for row in rows)


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo",
        "one\n\n\nfour",
        "one{d} two\nthree",
        "one{d} two\nthree{d} four",
        "one{d} two\nthree{d} four\nfive",
        'He said: "no"{d}\nand left',
        "begins\n",
        "\nends{d}",
        "{d}\n{d}",
    ],
)
@pytest.mark.parametrize("order", [("text", "label"), ("label", "text"), ("id", "text", "label")])
def test_texts_of_several_lines_stay_whole(tmp_path, delimiter, text, order):
    """Even where each of their lines, by its delimiters, could be a row."""
    rows = records(30)
    for i in (3, 8, 21):
        rows[i]["text"] = f"{text.format(d=delimiter)}{i}"
    rows = [{"id": i} | row for i, row in enumerate(rows)]
    file = write(tmp_path / "all.csv", [{name: row[name] for name in order} for row in rows], delimiter)
    loaded = load(file)
    assert all_texts(loaded) == sorted(row["text"] for row in rows)
    assert "quotes" not in notes_of(loaded)


def test_texts_of_several_lines_stay_whole_in_any_file_that_a_csv_writer_makes(tmp_path):
    draw = random.Random(0)
    pieces = ["word", ",", ", ", "\n", '"', " ", "x", ";", "'"]
    for number in range(40):
        rows = records(40, ("neg", "pos", "neutral"))
        for row in draw.sample(rows, 12):
            row["text"] += "".join(draw.choices(pieces, k=12)) + "."
        file = write(tmp_path / f"{number}.csv", rows)
        assert all_texts(load(file)) == sorted(row["text"] for row in rows)


def test_quotes_that_contradict_one_another_are_asked(tmp_path):
    rows = stray(4, 13)
    rows[20][0] = '"enclosed"'
    file = save(tmp_path / "all.csv", rows)
    message = message_of(load, file)
    assert "all.csv:15: a quote opens in line 6 and closes in line 15, but each line in between" in message
    advice = "data.quotes=literal if quotes are part of the texts, or data.quotes=csv if quotes enclose the texts"
    assert advice in message
    assert '"enclosed"' in all_texts(load(file, quotes="literal"))
    assert len(all_texts(load(file, quotes="literal"))) == 30
    assert len(all_texts(load(file, quotes="csv"))) == 21
    assert "data.quotes 'litteral' is unknown; allowed: auto, csv, literal" in message_of(
        lambda: load(file, quotes="litteral")
    )


@pytest.mark.parametrize(("opening", "closing"), [(0, 1), (28, 29), (0, 20), (3, 29)])
def test_stray_quotes_may_swallow_few_rows_or_many(tmp_path, opening, closing):
    rows = stray(opening, closing)
    assert all_texts(load(save(tmp_path / "all.csv", rows))) == sorted(row[0] for row in rows)


def test_stray_quotes_swallow_no_row_of_a_file_with_empty_lines(tmp_path):
    rows = stray(4, 13)
    assert all_texts(load(save(tmp_path / "all.csv", rows, end="\n\n"))) == sorted(row[0] for row in rows)


@pytest.mark.parametrize(("opening", "closing"), [(0, 29), (0, 28), (1, 29)])
def test_quotes_that_leave_no_rows_to_compare_with_are_asked(tmp_path, opening, closing):
    message = message_of(load, save(tmp_path / "all.csv", stray(opening, closing)))
    assert f"all.csv:{closing + 2}: a quote opens in line {opening + 2} and closes in line {closing + 2}" in message


@pytest.mark.parametrize("n", [12, 30])
def test_all_texts_may_be_of_several_lines(tmp_path, n):
    rows = [row | {"text": f"one, two\nthree, {i}"} for i, row in enumerate(records(n))]
    assert all_texts(load(write(tmp_path / "all.csv", rows))) == sorted(row["text"] for row in rows)


def test_a_file_that_encloses_its_fields_says_where_a_quote_is_wrong(tmp_path):
    rows = [[f'"{text}"', f'"{label}"'] for text, label in PLAIN]
    rows[7][0] = '"an "inner" quote"'
    message = message_of(load, save(tmp_path / "all.csv", rows))
    assert "all.csv:9: not valid CSV (',' expected after '\"'); double the quotes inside of quotes, or say" in message
    assert "data.quotes=literal" in message


# What separates the columns


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=;\r", "\ufeffsep=;"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_excels_first_line_names_the_delimiter(tmp_path, first, ending):
    file = tmp_path / f"all{ending}"
    file.write_text(f"{first}\ntext;label\n" + "".join(f"{text};{label}\n" for text, label in PLAIN), "utf-8")
    loaded = load(file)
    assert all_texts(loaded) == sorted(text for text, _ in PLAIN)
    assert "columns are separated by semicolons" in notes_of(loaded)
    file.write_text(file.read_text("utf-8") + "x;y;z\n", "utf-8")
    assert f"all{ending}:33: 3 fields where the header has 2" in message_of(load, file)


@pytest.mark.parametrize("delimiter", ["\t", ":", ","])
def test_excel_may_name_any_delimiter(tmp_path, delimiter):
    file = tmp_path / "all.csv"
    file.write_text(f"sep={delimiter}\n" + "".join(delimiter.join(row) + "\n" for row in [("text", "label"), *PLAIN]))
    assert dialect_of(file) == Dialect(delimiter, sep_line=True)
    assert len(all_texts(load(file))) == 30


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("text;label", "{};{}"),
        ("text;label (of two, three)", "{};{}"),
        ("label (a;b)|text", "{1}|{0}"),
        ('"text\nof a review";label', "{};{}"),
        ("text\tlabel", "{}, and\t{}"),
    ],
)
def test_the_delimiter_is_what_divides_all_rows_alike(tmp_path, header, row):
    file = tmp_path / "all.csv"
    file.write_text("\n".join([header, *(row.format(*values) for values in PLAIN)]))
    columns = reader_of(file).columns()
    assert len(columns) == 2
    text, label = sorted(columns, reverse=True)
    assert len(all_texts(load(file, text=text, label=label))) == 30


# What is no row


@pytest.mark.parametrize(("ending", "delimiter"), ENDINGS)
def test_headers_of_joined_files_are_no_rows(tmp_path, ending, delimiter):
    file = tmp_path / f"all{ending}"
    part = save(tmp_path / "part", PLAIN, delimiter).read_text()
    file.write_text(part + part.replace("text", "TEXT") + "\ufeff" + part)
    loaded = load(file)
    assert len(all_texts(loaded)) == 90
    assert loaded.task.classes == ("a", "b")
    assert f"all{ending}:32: 2 line(s) name the columns again and are left out" in notes_of(loaded)


def test_headers_of_joined_files_are_no_rows_in_json_either(tmp_path):
    rows = [*records(10), {"text": "text", "label": "label"}, *records(10)]
    assert len(all_texts(load(write(tmp_path / "all.jsonl", rows)))) == 20


def test_a_header_in_another_order_is_told(tmp_path):
    file = save(tmp_path / "all.csv", [*PLAIN, ["label", "text"], *(row[::-1] for row in PLAIN)])
    assert "all.csv:32: the columns are named again, in another order; split the file" in message_of(load, file)


@pytest.mark.parametrize("first", ["spam", "answer", "tag", "y"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_first_row_is_not_taken_for_names_of_columns(tmp_path, first, place):
    rows = [[f"some words {i}", first if i % 3 else "ham"] for i in range(1, 31)]
    rows = [row[::-1] if place == 0 else row for row in rows]
    file = tmp_path / "all.csv"
    file.write_text("".join(",".join(row) + "\n" for row in rows))
    message = message_of(load, file)
    assert f"all.csv: the first line seems to be a row: '{first}', which would be the name of the label's" in message
    assert f"or say data.label={first} if that is the column's name" in message
    assert len(all_texts(load(file, label=first))) == 29
    file.write_text(f"text,{first}\n" if place else f"{first},text\n")
    with file.open("a") as stream:
        stream.writelines(",".join(row) + "\n" for row in rows)
    assert len(all_texts(load(file))) == 30  # beside a column called text it is the label's name


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.jsonl"])
def test_a_nul_is_no_text(tmp_path, name):
    file = write(tmp_path / name, records(20))
    content = file.read_bytes().replace(b"tree 4", b"tr\0ee 4")
    file.write_bytes(content)
    assert f"{name}:{content[: content.index(0)].count(10) + 1}: a NUL character is not text" in message_of(load, file)


def test_a_known_task_reads_its_files_alike(tmp_path):
    rows = stray(1, 6, [[f"word {i}", str(i % 2)] for i in range(10)])
    for split in ("train", "dev"):
        save(tmp_path / f"{split}.csv", rows, header=("sentence", "label"))
    task: Task = read_task("sst2")
    assert load(tmp_path, task=task).test.columns[0] == [row[0] for row in rows]
