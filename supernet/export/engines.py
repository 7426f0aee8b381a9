"""Runs the model files of an export folder on raw texts: torch, onnxruntime, OpenVINO.

This module imports nothing of plm-supernet: verification runs it in a process that cannot import plm-supernet, so what
it loads there, everybody can load. Only the standard library and NumPy are imported at the top. As a script it does
what `fresh.py` does.

Shape letters: n rows, B rows of a batch, C outputs of each row or sequences of a multiple-choice row, T tokens.
"""

from __future__ import annotations

import inspect
import json
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

FILES: dict[str, tuple[str, str]] = {
    "torch": ("model.safetensors", "torch"),
    "onnx": ("onnx/model.onnx", "onnx"),
    "int8": ("onnx/model_int8.onnx", "onnx"),
    "openvino": ("openvino/openvino_model.xml", "openvino"),
}
"""By format: the model file in an export folder, and the engine that runs it."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Sequence_: TypeAlias = "Sequence[str]"
"""One text, or the two texts of a pair."""

Row: TypeAlias = "Sequence[str] | Sequence[Sequence[str]]"
"""A sequence; in multiple choice, C sequences."""

Inputs: TypeAlias = "Mapping[str, np.ndarray]"
Encode: TypeAlias = "Callable[[list[Sequence_]], list[tuple[list[int], list[int]]]]"
"""From sequences to the token ids and the token types of each."""


class EngineError(Exception):
    """A file cannot be run. The message is one line."""


@dataclass(frozen=True)
class Engine:
    """A loaded model file with its tokenizer.

    Attributes:
        encode: The folder's own tokenizer. Cuts sequences to the folder's `model_max_length`.
        forward: From the inputs that the model wants, int64, to (B, C) logits.
        wanted: Names of these inputs.
        pad_token_id: Token id of padding.
    """

    encode: Encode
    forward: Callable[[dict[str, np.ndarray]], np.ndarray]
    wanted: tuple[str, ...]
    pad_token_id: int

    def run(self, inputs: Inputs) -> np.ndarray:
        """(B, C) float32. The logits of one forward pass.

        Args:
            inputs: input_ids (B, T), or (B, C, T) in multiple choice. attention_mask is 1 and token_type_ids is 0 where
                they are not given. What the model does not want is left out.
        """
        ids = inputs["input_ids"]
        known = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids), **inputs}
        return np.asarray(self.forward({name: known[name] for name in self.wanted}), np.float32)

    def logits(
        self, rows: Sequence[Row], *, batch_size: int = 32, done: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """(n, C) float32. The logits of raw texts, in the order of the rows. Rows of similar length share a batch.

        Args:
            rows: Each is a text or a pair, as a sequence of one or two strings; in multiple choice a list of C such
                sequences.
            batch_size: Rows of a batch.
            done: Called with the number of rows after each batch.
        """
        if not rows:
            return np.zeros((0, 0), np.float32)
        several = not isinstance(rows[0][0], str)
        sequences: list[Any] = [sequence for row in rows for sequence in row] if several else list(rows)
        per_row = len(rows[0]) if several else 1
        encoded = self.encode(sequences)
        lengths = np.array([len(ids) for ids, _ in encoded]).reshape(len(rows), per_row).max(axis=1)
        order = np.argsort(-lengths, kind="stable")  # longest first: what does not fit into memory fails at once
        logits = []
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            chosen = [encoded[row * per_row + i] for row in batch.tolist() for i in range(per_row)]
            shape = (len(batch), per_row, -1) if several else (len(batch), -1)
            logits.append(self.run({name: a.reshape(shape) for name, a in self._padded(chosen).items()}))
            if done is not None:
                done(len(batch))
        return np.concatenate(logits)[np.argsort(order)]

    def _padded(self, encoded: Sequence[tuple[list[int], list[int]]]) -> dict[str, np.ndarray]:
        """The sequences as arrays, padded on the right to the longest."""
        shape = len(encoded), max(len(ids) for ids, _ in encoded)
        arrays = {"input_ids": np.full(shape, self.pad_token_id, np.int64)}
        arrays |= {name: np.zeros(shape, np.int64) for name in INPUTS[1:]}
        for i, (ids, types) in enumerate(encoded):
            values: tuple[Any, ...] = (ids, 1, types)
            for array, value in zip(arrays.values(), values, strict=True):
                array[i, : len(ids)] = value
        return arrays


def load(folder: Path | str, format: str, *, threads: int | None = None, trust_remote_code: bool = False) -> Engine:
    """Loads a model file of an export folder.

    Args:
        folder: The export folder, or any other folder of a classifier for format torch.
        format: A key of `FILES`.
        threads: Threads of the engine. None: the processors of this process, or OMP_NUM_THREADS.
        trust_remote_code: Whether torch may run the folder's own code. Only torch needs it.

    Raises:
        EngineError: if a package or the file is missing, or the file cannot be loaded.
    """
    folder = Path(folder).absolute()
    if format not in FILES:
        raise EngineError(f"format '{format}' is unknown; allowed: {', '.join(FILES)}")
    file, engine = FILES[format]
    row = ENGINES[engine]
    if lacking := [name for name in row.packages if find_spec(name) is None]:
        raise EngineError(f"format {format} needs {' and '.join(lacking)}; pip install {' '.join(lacking)}")
    if not (folder / file).is_file():
        raise EngineError(f"{folder} has no {file}")
    try:
        return row.load(folder, folder / file, threads or _processors(), trust_remote_code)
    except EngineError:
        raise
    except Exception as error:  # of several libraries
        raise EngineError(f"{folder / file} cannot be loaded ({first_line(error)})") from error


def _torch(folder: Path, file: Path, threads: int, trust_remote_code: bool) -> Engine:
    import torch
    import transformers

    values = read_json(folder / "config.json")
    if "auto_map" in values and not trust_remote_code:
        raise EngineError(f"{folder} has code of its own; look at it, then allow it with trust_remote_code")
    trust = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(folder, **trust)
    auto_class = getattr(transformers, _auto_class(values))
    model = auto_class.from_pretrained(folder, config=config, use_safetensors=True, **trust).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, config=config, **trust)
    parameters = inspect.signature(model.forward).parameters
    wanted = tuple(name for name in INPUTS if name in {*tokenizer.model_input_names} & {*parameters})

    def encode(sequences: list[Sequence_]) -> list[tuple[list[int], list[int]]]:
        texts = [list(column) for column in zip(*sequences, strict=True)]
        encoded = tokenizer(*texts, truncation=True, return_attention_mask=False)
        ids = encoded["input_ids"]
        return list(zip(ids, encoded.get("token_type_ids") or [[0] * len(row) for row in ids], strict=True))

    def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
        before = torch.get_num_threads()
        if before != threads:
            torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                logits = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
        finally:
            if before != threads:
                torch.set_num_threads(before)
        array: np.ndarray = logits.float().numpy()
        return array

    return Engine(encode, forward, wanted, _pad_token_id(folder))


def no_telemetry() -> None:
    """Keeps onnxruntime, openvino and nncf from reporting to their makers. Call it before they are imported.

    Their files in the user's home directory are not written then either.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime reads it when it is loaded
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))  # the others do without a package that is not there


def _onnx(folder: Path, file: Path, threads: int, trust_remote_code: bool) -> Engine:
    no_telemetry()
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")  # else its threads disturb what runs next
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    wanted = tuple(node.name for node in session.get_inputs())
    return Engine(_tokenizer(folder), lambda inputs: session.run(None, inputs)[0], wanted, _pad_token_id(folder))


def _openvino(folder: Path, file: Path, threads: int, trust_remote_code: bool) -> Engine:
    no_telemetry()
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the processor has it, which changes the logits
    }
    model = openvino.Core().compile_model(str(file), "CPU", settings)
    request = model.create_infer_request()
    wanted = tuple(next(name for name in INPUTS if name in node.get_names()) for node in model.inputs)

    def forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
        array: np.ndarray = request.infer(inputs)[0]
        return array.copy()

    return Engine(_tokenizer(folder), forward, wanted, _pad_token_id(folder))


@dataclass(frozen=True)
class EngineRow:
    """An engine.

    Attributes:
        packages: What it needs besides NumPy.
        load: Makes the `Engine` of a folder, file and number of threads; the last argument trusts the folder's code.
    """

    packages: tuple[str, ...]
    load: Callable[[Path, Path, int, bool], Engine]


ENGINES: dict[str, EngineRow] = {
    "torch": EngineRow(("torch", "transformers"), _torch),
    "onnx": EngineRow(("onnxruntime", "tokenizers"), _onnx),
    "openvino": EngineRow(("openvino", "tokenizers"), _openvino),
}


def _tokenizer(folder: Path) -> Encode:
    """The tokenizer of tokenizer.json, without transformers; it gives the ids that transformers gives."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = read_json(folder / "tokenizer_config.json")
    tokenizer.no_padding()
    longest = settings.get("model_max_length", 10**9)
    tokenizer.no_truncation()
    if longest < 10**9:  # transformers writes 10**30 where there is no limit
        tokenizer.enable_truncation(longest, direction=settings.get("truncation_side", "right"))

    has_types = "token_type_ids" in settings.get("model_input_names", INPUTS)

    def encode(sequences: list[Sequence_]) -> list[tuple[list[int], list[int]]]:
        texts = [sequence[0] if len(sequence) == 1 else tuple(sequence) for sequence in sequences]
        encoded = tokenizer.encode_batch_fast(texts)
        return [(row.ids, row.type_ids if has_types else [0] * len(row.ids)) for row in encoded]

    return encode


def _auto_class(config: Mapping[str, Any]) -> str:
    """Name of the class of transformers that loads the model: AutoModelForSequenceClassification, for example."""
    own = [name for name in config.get("auto_map", {}) if name.startswith("AutoModelFor")]
    return own[0] if own else f"AutoModelFor{config['architectures'][0].partition('For')[2]}"


def _pad_token_id(folder: Path) -> int:
    """As config.json says. 0 if it says nothing: the model ignores padding by the attention mask."""
    return int(read_json(folder / "config.json").get("pad_token_id") or 0)


def read_json(file: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object."""
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return values


def _processors() -> int:
    if (chosen := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(chosen):
        return int(chosen)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first_line(error: BaseException) -> str:
    """The first line of an error of any library."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("fresh.py")), run_name="__main__")
