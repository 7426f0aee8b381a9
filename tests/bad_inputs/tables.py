"""Latency tables, which a search predicts with."""

from tests.bad_inputs.rows import DROPPED, SOME_BAD_JSON, Bad, change, folder_instead, put, remove

_USE = "objectives=[error,latency_ms] latency_table={table} workload.length=16"
_NAN = float("nan")

_VALUES = (
    # key, value, words
    ("around_ms", -1, "around_ms is -1.0; it must be from 0 to"),
    ("around_ms", "fast", 'around_ms is "fast"; it must be a number'),
    ("around_ms", _NAN, "around_ms is NaN; it must be a finite number"),
    ("around_ms", DROPPED, "around_ms is missing"),
    ("kinds", [], "kinds is []; it must be a list of 4 numbers, one for each layer"),
    ("kinds", [0, 0, 0], "kinds is [0, 0, 0]; it must be a list of 4"),
    ("kinds", [0, 0, 0, 5], "attention has 1 curves, but kinds has the index 5"),
    ("kinds", [0, 0, 0, -1], "kinds[3] is -1; it must be 0 or more"),
    ("kinds", None, "kinds is null; it must be a list"),
    ("attention", [], "attention has 0 curves"),
    ("attention", 3, "attention is 3; it must be a list"),
    ("attention.0", 3, "attention[0] is 3; it must be a table"),
    ("attention.0.ms", [], "attention[0]: there are 4 widths and 0 ms"),
    ("attention.0.ms", [1, 2], "attention[0]: there are 4 widths and 2 ms"),
    ("attention.0.ms", [1, 2, -3, 4], "attention[0].ms[2] is -3.0; it must be from 0 to"),
    ("attention.0.ms", [1, 2, _NAN, 4], "attention[0].ms[2] is NaN"),
    ("attention.0.ms", [1, 2, 1e300, 4], "attention[0].ms[2] is 1e+300"),
    ("attention.0.ms", [1, 2, 10**400, 4], "attention[0].ms[2] is 1000"),
    ("attention.0.ms", ["a", 2, 3, 4], 'attention[0].ms[0] is "a"; it must be a number'),
    ("attention.0.widths", [], "attention[0]: there are 0 widths and 4 ms"),
    ("attention.0.widths", [0, 1, 2, 4], "attention[0].widths[0] is 0; it must be from 1 to"),
    ("attention.0.widths", [4, 3, 2, 1], "attention[0]: widths is [4, 3, 2, 1]; it must be ascending"),
    ("attention.0.widths", [1, 2, 3, 9], "attention.widths is [1, 2, 3, 9]; it must be up to the model's 4"),
    ("feed_forward.0.widths", DROPPED, "feed_forward[0].widths is missing"),
    ("feed_forward", DROPPED, "feed_forward is missing"),
    ("conditions", [1], "conditions is [1]; it must be a table"),
    ("conditions.threads", "all", 'conditions.threads is "all"; it must be a whole number'),
    ("conditions.workload.length", -5, "workload.length is -5; it must be 1 or more"),
    ("conditions.workload", DROPPED, "conditions.workload is missing"),
    ("format", 99, "it was written by another version"),
    ("format", DROPPED, "it was written by another version"),
)

_OTHERS = (
    # key, value, words
    ("conditions.device", "abacus", "device abacus (here"),
    ("conditions.dtype", "float8", "dtype float8 (here float32)"),
    ("conditions.workload.length", 17, "workload 1x17 (here 1x16)"),
    ("conditions.architecture", "00000000", "architecture 00000000 (here"),
)

ROWS = [
    *(
        Bad(f"table: {key} = {value!s:.20}", "search", _USE, ("/table cannot be used", words, "build a table with"),
            (change("table", key, value),))
        for key, value, words in _VALUES
    ),
    *(
        Bad(f"table of another {key}", "search", _USE, ("/table is for", words, "build a table with"),
            (change("table", key, value),))
        for key, value, words in _OTHERS
    ),
    *(
        Bad(f"table: {what}", "search", _USE, ("latency table", "/table cannot be used", "build a table with"),
            (put("table", content),))
        for what, content in SOME_BAD_JSON.items()
    ),
    Bad("table of zeros", "search", _USE, ("latency_ms has no scale: the full model takes no time", "profile"),
        (change("table", "around_ms", 0), change("table", "attention.0.ms", [0] * 4),
         change("table", "feed_forward.0.ms", [0] * 9))),
    Bad("no table", "search", _USE, ("/table: there is no such file",), (remove("table"),)),
    Bad("table is a folder", "search", _USE, ("/table cannot be used (it is a folder)",), (folder_instead("table"),)),
    Bad("table without latency", "search", "latency_table={table}", ("latency_ms is not among the objectives",)),
]  # fmt: skip
