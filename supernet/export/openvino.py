"""OpenVINO: a model in int8, weights and activations, whose ranges come from training rows."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from supernet.data.batches import collate
from supernet.data.tokens import TokenizedSplit
from supernet.export.onnx import float32_onnx, input_names, silence
from supernet.options.task import Task

FILE = "openvino/openvino_model.xml"

CALIBRATION_ROWS = 300
"""Rows that the ranges of activations come from."""


def write_openvino(
    folder: Path, model: PreTrainedModel, calibration: TokenizedSplit, task: Task, pad_token_id: int
) -> None:
    """Writes a model in int8 for OpenVINO into an export folder, with the ranges of the first training rows."""
    with silence(), _without_telemetry():
        import nncf
        import openvino

        rows = _rows(model, calibration, pad_token_id)
        with float32_onnx(folder, model) as source:
            graph = openvino.Core().read_model(source)
            rounded = nncf.quantize(
                graph,
                nncf.Dataset(rows, lambda row: row),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(rows),
            )
            (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
            openvino.save_model(rounded, folder / FILE, compress_to_fp16=False)


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hides the package that reports the use of nncf and OpenVINO, as if it were not installed."""
    name = "openvino_telemetry"
    before = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # Python then refuses to import it
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


def _rows(model: PreTrainedModel, split: TokenizedSplit, pad_token_id: int) -> list[dict[str, np.ndarray]]:
    """The graph's inputs for each row alone, without padding."""
    names, rows = input_names(model), []
    for row in range(min(len(split), CALIBRATION_ROWS)):
        inputs = {name: tensor.numpy() for name, tensor in collate(split, np.array([row]), pad_token_id).inputs.items()}
        zeros = np.zeros_like(inputs["input_ids"])
        inputs = {"attention_mask": zeros + 1, "token_type_ids": zeros} | inputs
        rows.append({name: inputs[name] for name in names})
    return rows
