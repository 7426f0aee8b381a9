"""Loads and times the files of export folders in a process that cannot import plm-supernet: `python -I fresh.py FILE`.

The script prints nothing. It writes the logits and the seconds of each model to an .npz file. On an error it writes one
line to standard error and exits with status 1. Its argument is a JSON file, the request:

    folders            {label: folder}, absolute paths
    formats            [[label, format], ...]
    rows               the rows, see `Engine.logits`
    workload           {"batch_size": B, "length": T}
    threads            threads of each engine; null: the processors of this process
    turns              how often each model is timed in its turn; 0: never
    output             the file to write: logits/LABEL/FORMAT (n, C) and seconds/LABEL/FORMAT
    trust_remote_code  whether code in the folders may run; optional, false

It runs `engines.py` beside it, which it loads by its path.

Shape letters: n rows, B rows of a batch, C outputs of each row or sequences of a multiple-choice row, T tokens.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

OUR_PACKAGES = ("supernet", "search", "conf", "plm_supernet")
RUNS_PER_TURN = 3
"""Timed runs of a model in its turn, after one run that is not timed."""


def _beside(name: str) -> Any:
    """The module of a file beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


engines = _beside("engines")


class _Refused(importlib.abc.MetaPathFinder):
    """Refuses to import plm-supernet, wherever it is installed."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raises an ImportError for a package of plm-supernet."""
        if fullname.partition(".")[0] in OUR_PACKAGES:
            raise ImportError(f"{fullname} may not be imported here")


def main(request_file: str) -> None:
    """Does what the request says, see the top of the module."""
    sys.meta_path.insert(0, _Refused())
    request = engines.read_json(Path(request_file))
    trust = bool(request.get("trust_remote_code", False))
    arrays: dict[str, np.ndarray] = {}
    loaded = {}
    for label, format in request["formats"]:
        name = f"{label}/{format}"
        loaded[name] = engines.load(
            request["folders"][label], format, threads=request["threads"], trust_remote_code=trust
        )
        arrays[f"logits/{name}"] = loaded[name].logits(request["rows"])
    inputs = {
        f"{label}/{format}": _random_inputs(Path(request["folders"][label]), request)
        for label, format in request["formats"]
    }
    for name, seconds in _time_in_turns(loaded, inputs, request["turns"]).items():
        arrays[f"seconds/{name}"] = np.array(seconds)
    with open(request["output"], "wb") as file:
        np.savez(file, **cast(Any, arrays))


def _random_inputs(folder: Path, request: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A batch of random words without padding. A row of multiple choice has as many sequences as the request's rows."""
    config, workload, rows = engines.read_json(folder / "config.json"), request["workload"], request["rows"]
    several = bool(rows) and not isinstance(rows[0][0], str)
    shape = (workload["batch_size"], *([len(rows[0])] if several else []), workload["length"])
    ids = np.random.default_rng(0).integers(0, config["vocab_size"] - 1, shape)
    return {"input_ids": ids + (ids >= (config.get("pad_token_id") or 0))}  # no padding


def _time_in_turns(models: Mapping[str, Any], inputs: Mapping[str, Any], turns: int) -> dict[str, list[float]]:
    """The seconds of each run. The models take turns in random order, so that a busy machine slows all down alike."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    rng = np.random.default_rng(0)
    for _ in range(turns):
        for name in rng.permutation(list(models)).tolist():
            model = models[name]
            model.run(inputs[name])
            for _ in range(RUNS_PER_TURN):
                start = time.perf_counter()
                model.run(inputs[name])
                seconds[name].append(time.perf_counter() - start)
    return seconds


@contextmanager
def _silent() -> Iterator[int]:
    """Sends all output, that of libraries in C++ too, to nowhere; gives a descriptor of the real standard error."""
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    yield stderr


def run(request_file: str) -> int:
    """Does what the request says, silently but for one line on an error; returns the exit status."""
    with _silent() as stderr:
        try:
            main(request_file)
        except Exception as error:
            kind = "" if isinstance(error, engines.EngineError) else f"{type(error).__name__}: "
            os.write(stderr, f"{kind}{engines.first_line(error)}\n".encode())
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
