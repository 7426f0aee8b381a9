"""Rows of the user's own data as files, for tests that read them."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supernet.data.load import SPLITS, load_rows
from supernet.options.data import DataOptions
from supernet.runtime.errors import UserError
from tests.fixtures import read_task

WORDS = ("tree", "rain", "land", "fog")


def records(n=40, labels=("bad", "good"), **columns):
    """Rows of a text and a label, each label as often as the others."""
    return [{"text": f"{WORDS[i % 4]} {i}", "label": labels[i % len(labels)]} | columns for i in range(n)]


def write(file, rows, delimiter=","):
    """Rows in the format that the file's ending says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if file.suffix == ".tsv" else delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return file


def load(place, *, task=None, **options):
    return load_rows(task or read_task("custom"), DataOptions(dir=str(place), **options))


def message_of(function, *args, **kwargs):
    """The one-line message of the user's mistake."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def texts_of(rows):
    return [sorted(getattr(rows, name).columns[0]) for name in SPLITS]


def all_texts(rows):
    return sorted(text for texts in texts_of(rows) for text in texts)
