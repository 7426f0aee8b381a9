"""Rows that a training cannot take, in the files of a task."""

from tests.bad_inputs.rows import DROPPED, Bad, change, folder_instead, put, remove

_TRAIN = "data/sst2/train.jsonl"

_ROWS = (
    # key, value, words
    ("label", 7, "label"),
    ("label", None, "label"),
    ("label", [1], "label"),
    ("label", {"a": 1}, "label"),
    ("label", float("nan"), "label"),
    ("label", DROPPED, "label"),
    ("sentence", None, "sentence"),
    ("sentence", ["a"], "sentence"),
    ("sentence", DROPPED, "sentence"),
)

_CONTENT = {
    "empty": "",
    "no JSON": "nice tree\t1\n",
    "cut off": '{"sentence": "nice tree", "la',
    "a list": "[1, 2]\n",
    "a number": "7\n",
    "nested 100000 deep": '{"a": ' * 100_000 + "1" + "}" * 100_000 + "\n",
    "bytes": b"\x00\xff\xfe\x01" * 20,
}

ROWS = [
    *(
        Bad(f"row: {key} = {value!s:.20}", "train", "", ("sst2/train.jsonl", words),
            (change(_TRAIN, key, value, line=5),))
        for key, value, words in _ROWS
    ),
    *(
        Bad(f"train.jsonl: {what}", "train", "", ("sst2/train.jsonl",), (put(_TRAIN, content),))
        for what, content in _CONTENT.items()
    ),
    Bad("no training rows", "train", "", ("no file of task 'sst2' for the split train",), (remove(_TRAIN),)),
    Bad("no rows at all", "train", "", ("no file of task 'sst2'",), (remove("data/sst2"),)),
    Bad("a folder of rows", "train", "", ("train.jsonl cannot be read (Is a directory)",),
        (folder_instead(_TRAIN),)),
    Bad("no such folder", "train", "data.dir={out}/none", ("/out/none",)),
    Bad("no such column", "train", "data.text=[story]", ("story", "sentence")),
    Bad("two data sets", "train", "data.hub=glue", ("are both given; give one of them",)),
]  # fmt: skip
