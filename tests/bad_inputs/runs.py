"""Folders of searches: run.json, trials.jsonl, front.json; read by `report`, `select` and a search that goes on."""

import io

import numpy as np

from tests.bad_inputs.rows import BAD_JSON, DROPPED, SOME_BAD_JSON, Bad, change, cut, folder_instead, link, put, remove

_SELECT = "max_params=1"


def _npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


_HUGE = _npy(np.zeros(1)).replace(b"(1,), }" + b" " * 12, b"(9" + b"0" * 12 + b",), }")

_OF_ROWS = (
    # file, what, content, words
    ("labels.npy", "empty", b"", "EOFError"),
    ("labels.npy", "a pickle", _npy(np.array([{}])), "allow_pickle"),
    ("labels.npy", "a table", _npy(np.zeros((2, 60))), "no list of labels"),
    ("labels.npy", "an archive", _npz(answers=np.zeros(60)), "no list of labels"),
    ("labels.npy", "too long for any memory", _HUGE, ""),
    ("3.npz", "empty", b"", "EOFError"),
    ("3.npz", "no archive", b"text", "allow_pickle"),
    ("3.npz", "an array", _npy(np.zeros((1, 60))), "it is damaged"),
    ("3.npz", "no losses", _npz(answers=np.zeros((1, 60))), "it is damaged"),
    ("3.npz", "a pickle", _npz(answers=np.array([{}]), losses=np.zeros((1, 60))), "allow_pickle"),
    ("3.npz", "other rows", _npz(answers=np.zeros((1, 59)), losses=np.zeros((1, 60))), "numbers of the shape [1, 60]"),
    ("3.npz", "other models", _npz(answers=np.zeros((2, 60)), losses=np.zeros((2, 60))), "of the shape [1, 60]"),
    ("3.npz", "words", _npz(answers=np.full((1, 60), "a"), losses=np.zeros((1, 60))), "numbers of the shape [1, 60]"),
    ("3.npz", "NaN", _npz(answers=np.zeros((1, 60)), losses=np.full((1, 60), np.nan)), "losses has values that are"),
)

_INFO = (
    # key, value, words
    ("reference", {}, "reference.error is missing"),
    ("reference", "1", 'reference is "1"; it must be a table'),
    ("reference", [1, 2, 3], "reference is [1, 2, 3]; it must be a table"),
    ("reference", {"error": 1.0}, "reference.params is missing"),
    ("reference.error", "x", 'reference.error is "x"; it must be a number'),
    ("reference.error", None, "reference.error is null; it must be a number"),
    ("reference.error", float("nan"), "reference.error is NaN; it must be a finite number"),
    ("reference.params", 0, "reference.params is 0.0; it must be 1e-09 or more"),
    ("reference.params", -5, "reference.params is -5.0; it must be 1e-09 or more"),
    ("reference.latency_ms", float("inf"), "reference.latency_ms is Infinity; it must be a finite number"),
    ("reference.params", 10**400, "reference.params is 1000"),
    ("objectives", [], "objectives is []; it must be two or more different ones"),
    ("objectives", ["error", "error"], "it must be two or more different ones"),
    ("objectives", "error", 'objectives is "error"; it must be a list'),
    ("objectives", ["error", "beauty"], 'objectives[1] is "beauty"; it must be one of error, loss, params'),
    ("objectives", ["error", 5], "objectives[1] is 5; it must be text"),
    ("kind", "guess", 'kind is "guess"; it must be one of search, finetune, baseline'),
    ("kind", 3, "kind is 3; it must be text"),
    ("seed", -1, "seed is -1; it must be 0 or more"),
    ("seed", "zero", 'seed is "zero"; it must be a whole number'),
    ("seed", True, "seed is true; it must be a whole number"),
    ("majority_error", 7, "majority_error is 7.0; it must be from"),
    ("task", None, "task is null; it must be text"),
    ("model", ["a"], 'model is ["a"]; it must be text'),
    ("settings", 5, "settings is 5; it must be a table"),
    ("settings.workload", "1x128", 'settings.workload is "1x128"; it must be a table'),
    ("settings.workload.length", 0, "workload.length is 0; it must be 1 or more"),
    ("settings.threshold", float("nan"), "settings.threshold is NaN"),
    ("sizes.layers", 0, "sizes.layers is 0; it must be from 1 to"),
    ("sizes", [6, 12], "sizes is [6, 12]; it must be a table"),
    ("weights", DROPPED, "weights is missing"),
    ("supernet", DROPPED, "supernet is missing"),
    ("wieghts", "a", "key wieghts is unknown, perhaps weights was meant"),
)

_TRIALS = (
    # line, key, value, words
    (1, "metrics.error", float("nan"), "metrics.error is NaN; it must be a finite number"),
    (1, "metrics.error", float("inf"), "metrics.error is Infinity; it must be a finite number"),
    (2, "metrics.error", -0.25, "metrics.error is -0.25; it must be from"),
    (2, "metrics.error", 2.5, "metrics.error is 2.5; it must be from"),
    (2, "metrics.error", "0.1", 'metrics.error is "0.1"; it must be a number'),
    (2, "metrics.error", None, "metrics.error is null; it must be a number"),
    (2, "metrics.error", True, "metrics.error is true; it must be a number"),
    (2, "metrics.error", 10**400, "metrics.error is 1000"),
    (2, "metrics.error", [0.1], "metrics.error is [0.1]; it must be a number"),
    (2, "metrics.error", DROPPED, "metrics.error is missing"),
    (3, "metrics.params", DROPPED, "metrics.params is missing"),
    (3, "metrics.latency_ms", DROPPED, "metrics.latency_ms is missing"),
    (3, "metrics.params_share", DROPPED, "metrics.params_share is missing"),
    (3, "metrics.latency_ms", -1.5, "metrics.latency_ms is -1.5; it must be 0 or more"),
    (3, "metrics.latency_ms", 1e300, "metrics.latency_ms is 1e+300; it must be a finite number, and no larger"),
    (3, "metrics.params_share", 1.5, "metrics.params_share is 1.5; it must be from 0 to 1"),
    (3, "metrics.params_share", -0.5, "metrics.params_share is -0.5; it must be from 0 to 1"),
    (3, "metrics", "good", 'metrics is "good"; it must be a table'),
    (3, "metrics", None, "metrics is null, and there is no failure that says why"),
    (3, "metrics", DROPPED, "metrics is missing"),
    (4, "elapsed", "long", 'elapsed is "long"; it must be a number'),
    (4, "elapsed", -3, "elapsed is -3.0; it must be 0 or more"),
    (4, "elapsed", 0.001, "elapsed is 0.001; it must be 2.7"),
    (4, "elapsed", float("inf"), "elapsed is Infinity"),
    (4, "seconds", None, "seconds is null; it must be a number"),
    (4, "seconds", -1, "seconds is -1.0; it must be 0 or more"),
    (4, "trial", 17, "trial is 17; it must be 3"),
    (4, "trial", "3", 'trial is "3"; it must be a whole number'),
    (4, "trial", 3.0, "trial is 3.0; it must be a whole number"),
    (5, "subnet", "all", 'subnet: layers is "all"; it must be a list'),
    (5, "subnet", [[0, 12]], "subnet: layers[0] is [0, 12]; it must be a list of 3"),
    (5, "subnet", [0, 12, 1536], "subnet: layers[0] is 0; it must be a list of 3"),
    (5, "subnet", [[-1, 12, 1536]], "subnet: layers[0][0] is -1; it must be from 0 to"),
    (5, "subnet", [[0, -2, 1536]], "subnet: layers[0][1] is -2; it must be from 0 to"),
    (5, "subnet", [[0, 12, 10**20]], "subnet: layers[0][2] is 100000000000000000000; it must be"),
    (5, "subnet", [[0, 12, 2.5]], "subnet: layers[0][2] is 2.5; it must be a whole number"),
    (5, "subnet", [[0, [3, 1], 1536]], "subnet: layers[0][1] is [3, 1]; it must be whole numbers from 0, ascending"),
    (5, "subnet", [[0, [1, 1], 1536]], "subnet: layers[0][1] is [1, 1]; it must be whole numbers from 0, ascending"),
    (5, "subnet", [[0, ["a"], 1536]], 'subnet: layers[0][1] is ["a"]; it must be whole numbers from 0'),
    (5, "subnet", [[1, 12, 9], [0, 12, 9]], "the order of layers is [1, 0]; it must be ascending"),
    (5, "subnet", [[0, 12, 9], [0, 12, 9]], "the order of layers is [0, 0]; it must be ascending"),
    (5, "subnet", [[6, 12, 9]], "it has layers up to number 7, the supernet only 6"),
    (5, "subnet", [[0, 13, 9]], "it has heads up to number 13, the supernet only 12"),
    (5, "subnet", [[0, [0, 40], 9]], "it has heads up to number 41, the supernet only 12"),
    (5, "subnet", [[0, 12, 1537]], "it has units up to number 1537, the supernet only 1536"),
    (5, "subnet", DROPPED, "subnet is missing"),
    (6, "free", 5, "free is 5; it must be a list"),
    (6, "free", [{}], "free[0]: subnet is missing"),
    (6, "free", [{"subnet": [], "metrics": {}}], "free[0]: metrics.error is missing"),
    (6, "failure", 5, "failure is 5; it must be text"),
    (6, "note", "mine", "key note is unknown"),
)

_FRONT = (
    # key, value, words
    ("front", 5, "front is 5; it must be a list"),
    ("front", [5], "front[0] is 5; it must be a table"),
    ("front.0.subnet", DROPPED, "front[0].subnet: layers is null"),
    ("front.1.subnet", [[0, 9, 1]], "is not among the run's trials"),
    ("front.0.test_accuracy", DROPPED, "front[0].test_accuracy is null; it must be a number"),
    ("front.0.test_accuracy", float("nan"), "front[0].test_accuracy is NaN"),
    ("front.0.test_accuracy", 17, "front[0].test_accuracy is 17.0; it must be from -1 to 1"),
    ("front.0.test_accuracy", "high", 'front[0].test_accuracy is "high"; it must be a number'),
    ("front.0.error", -1, "front[0].error is -1.0; it must be from"),
    ("front.0.params", DROPPED, "front[0].params is missing"),
    ("front.0.latency_ms", DROPPED, "front[0].latency_ms is missing"),
    ("front.0.params", "few", 'front[0].params is "few"; it must be a number'),
    ("majority", 3, "majority is 3; it must be a table"),
    ("validation_rows", -3, "validation_rows is -3; it must be 0 or more"),
)

_SEARCH_GOES_ON = (
    # file, key, line, value, words
    ("run.json", "objectives", None, ["error"], 'objectives is ["error"]; it must be two or more'),
    ("run.json", "seed", None, 8, "holds results of another run: seed is 0, was 8"),
    ("run.json", "weights", None, "0" * 16, "holds results of another run: weights is"),
    ("trials.jsonl", "subnet", 2, [[0, 3, 10], [2, 3, 10]], "it is not in space small"),
    ("trials.jsonl", "subnet", 2, [[4, 3, 10]], "it has layers up to number 5, the supernet only 4"),
    ("trials.jsonl", "metrics.error", 2, float("nan"), "metrics.error is NaN"),
    ("trials.jsonl", "metrics.params", 2, DROPPED, "metrics.params is missing"),
    ("trials.jsonl", "trial", 2, 5, "trial is 5; it must be 1"),
    ("trials.jsonl", "elapsed", 1, "x", 'elapsed is "x"; it must be a number'),
)

_GOING_ON = "output_dir={searched} name=mine"

ROWS = [
    *(
        Bad(f"run.json: {what}", ("select", "report")[i % 2], "max_params=1" if i % 2 == 0 else "",
            ("run/run.json cannot be used",), (put("run/run.json", content),))
        for i, (what, content) in enumerate(BAD_JSON.items())
    ),
    *(
        Bad(f"run.json: {key} = {value!s:.20}", ("select", "report")[i % 2], "max_params=1" if i % 2 == 0 else "",
            ("run/run.json cannot be used", words, "start again with"), (change("run/run.json", key, value),))
        for i, (key, value, words) in enumerate(_INFO)
    ),
    *(
        Bad(f"trials.jsonl: {key} = {value!s:.20}", ("select", "report")[i % 2], "max_params=1" if i % 2 == 0 else "",
            (f"run/trials.jsonl:{line} cannot be used", words), (change("run/trials.jsonl", key, value, line=line),))
        for i, (line, key, value, words) in enumerate(_TRIALS)
    ),
    *(
        Bad(f"a line of trials.jsonl: {what}", "select", _SELECT, ("run/trials.jsonl:1 cannot be used",),
            (put("run/trials.jsonl", content.replace(b"\n", b" ") + b"\n"),))
        for what, content in BAD_JSON.items()
    ),
    *(
        Bad(f"front.json: {key} = {value!s:.20}", ("select", "report")[i % 2], "max_params=1" if i % 2 == 0 else "",
            ("run/front.json cannot be used", words), (change("run/front.json", key, value),))
        for i, (key, value, words) in enumerate(_FRONT)
    ),
    *(
        Bad(f"front.json: {what}", "select", _SELECT, ("run/front.json cannot be used",),
            (put("run/front.json", content),))
        for what, content in SOME_BAD_JSON.items()
    ),
    *(
        Bad(f"going on, {file}: {key} = {value!s:.20}", "search", _GOING_ON, (words,),
            (change(f"searched/search/mine/{file}", key, value, line=line),), leaves=("run.json",))
        for file, key, line, value, words in _SEARCH_GOES_ON
    ),
    Bad("no trials", "select", _SELECT, ("/run holds no result yet",),
        (remove("run/trials.jsonl"), remove("run/front.json"))),
    Bad("trials.jsonl is empty", "select", _SELECT, ("run/front.json", "is not among the run's trials"),
        (put("run/trials.jsonl", ""),)),
    Bad("trials.jsonl is empty", "report", "", ("no run has a result yet",), (put("run/trials.jsonl", ""),)),
    Bad("trials.jsonl is a folder", "report", "", ("run/trials.jsonl cannot be used (it is a folder)",),
        (folder_instead("run/trials.jsonl"),)),
    Bad("run.json is a folder", "select", _SELECT, ("run/run.json cannot be used (it is a folder)",),
        (folder_instead("run/run.json"),)),
    Bad("front.json is a folder", "select", _SELECT, ("run/front.json cannot be used (it is a folder)",),
        (folder_instead("run/front.json"),)),
    Bad("run.json is a device", "report", "", ("run/run.json cannot be used (it is no file)",),
        (link("run/run.json", "/dev/zero"),)),
    Bad("run.json links to itself", "report", "", ("/run is not a search's run folder",),
        (link("run/run.json", "run.json"),)),
    Bad("no run.json", "report", "", ("/run is not a search's run folder", "has no run.json"),
        (remove("run/run.json"),)),
    Bad("a key twice in run.json", "select", _SELECT, ('key "seed" occurs twice',),
        (put("run/run.json", '{"seed": 1, "seed": 2}'),)),
    Bad("front.json is cut off at 90", "select", _SELECT, ("run/front.json cannot be used", "no JSON"),
        (cut("run/front.json", 90),)),
    *(
        Bad(f"{file}: {what}", "select", _SELECT, (f"predictions/{file} cannot be used", words, "remove the folder"),
            (put(f"run/predictions/{file}", content),))
        for file, what, content, words in _OF_ROWS
    ),
    Bad("predictions/3.npz is cut off at 400", "select", _SELECT, ("run/predictions/3.npz cannot be used",),
        (cut("run/predictions/3.npz", 400),)),
    Bad("predictions/3.npz is a folder", "select", _SELECT, ("run/predictions/3.npz cannot be used",),
        (folder_instead("run/predictions/3.npz"),)),
    Bad("trials without run.json", "search", _GOING_ON, ("has trials.jsonl, but no run.json",),
        (remove("searched/search/mine/run.json"),)),
]  # fmt: skip
