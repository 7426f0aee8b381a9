"""OpenVINO: a model in int8, weights and activations, whose ranges come from training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from supernet.data.batches import collate
from supernet.data.tokens import TokenizedSplit
from supernet.export.engines import FILES, no_telemetry
from supernet.export.onnx import float32_onnx, input_names, silence
from supernet.models.families import family_of

FILE = FILES["openvino"][0]

CALIBRATION_ROWS = 300
"""Rows that the ranges of activations come from."""

BATCH_SIZE = 4
"""Of these rows: several, so that there is padding."""

SEED = 0
"""Of the choice of these rows: the first rows of a file may all be of one class."""


def write_openvino(folder: Path, model: PreTrainedModel, calibration: TokenizedSplit, pad_token_id: int) -> None:
    """Writes a model in int8 for OpenVINO into an export folder, with the ranges of some training rows."""
    no_telemetry()
    with silence():
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
                # Weights use 7 of the 8 bits, as in `onnx.write_int8`.
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )
            _limit_length(rounded, family_of(model.config).max_tokens(model.config))
            (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
            openvino.save_model(rounded, folder / FILE, compress_to_fp16=False)


def _limit_length(graph: Any, most: int) -> None:
    """Makes OpenVINO refuse inputs with more tokens than there are positions: else it computes something."""
    import openvino

    for node in graph.inputs:
        free = [openvino.Dimension(1, -1)] * (len(node.partial_shape) - 1)
        graph.reshape({node.any_name: openvino.PartialShape([*free, openvino.Dimension(1, most)])})


def _rows(model: PreTrainedModel, split: TokenizedSplit, pad_token_id: int) -> list[dict[str, np.ndarray]]:
    """The graph's inputs for some rows, in batches with padding."""
    chosen = np.random.default_rng(SEED).permutation(len(split))[:CALIBRATION_ROWS]
    names, batches = input_names(model), []
    for rows in np.array_split(chosen, -(-len(chosen) // BATCH_SIZE)):
        inputs = {name: tensor.numpy() for name, tensor in collate(split, rows, pad_token_id).inputs.items()}
        zeros = np.zeros_like(inputs["input_ids"])
        inputs = {"attention_mask": zeros + 1, "token_type_ids": zeros} | inputs
        batches.append({name: inputs[name] for name in names})
    return batches
