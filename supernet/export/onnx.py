"""ONNX: a model as a graph that onnxruntime runs, in float32 or with weights in int8."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.data.tokens import TokenizedSplit
from supernet.export.engines import FILES, no_telemetry
from supernet.models.families import family_of
from supernet.models.heads import head_of

FLOAT32_FILE, INT8_FILE = FILES["onnx"][0], FILES["int8"][0]

OPSET = 20
"""Version of the operators: old enough for the onnxruntime of 2024, new enough for whole GELUs and LayerNorms."""

LARGEST = 2_000_000_000
"""Bytes of weights that fit into a file of ONNX; more go into a second file beside it, model.onnx.data."""


def write_onnx(folder: Path, model: PreTrainedModel, calibration: TokenizedSplit, pad_token_id: int) -> None:
    """Writes a model as ONNX in float32 into an export folder. Batch and length are free, choices too."""
    _write(model, folder / FLOAT32_FILE)


def write_int8(folder: Path, model: PreTrainedModel, calibration: TokenizedSplit, pad_token_id: int) -> None:
    """Writes a model as ONNX with weights and embeddings in int8, a scale for each channel.

    Weights use 7 of the 8 bits: with all of them, sums of products overflow on processors without VNNI. That costs no
    accuracy, because rounding the activations costs more.

    Activations are rounded while the model runs, with one scale for a whole batch. A row's result thus depends a little
    on the other rows of its batch.
    """
    no_telemetry()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = folder / INT8_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with float32_onnx(folder, model) as source, silence():
        quantize_dynamic(
            source,
            file,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            use_external_data_format=_is_large(model),
        )


@contextlib.contextmanager
def float32_onnx(folder: Path, model: PreTrainedModel) -> Iterator[Path]:
    """The model's ONNX file: that of the export folder, or one in a temporary folder."""
    if (folder / FLOAT32_FILE).exists():
        yield folder / FLOAT32_FILE
        return
    with tempfile.TemporaryDirectory(prefix="plm-supernet-") as name:
        file = Path(name) / FLOAT32_FILE
        _write(model, file)
        yield file


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps what libraries print, log and warn of from the screen."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def input_names(model: PreTrainedModel) -> tuple[str, ...]:
    """What the model reads, in the order of the graph's inputs."""
    types = ("token_type_ids",) if family_of(model.config).token_types(model.config) else ()
    return "input_ids", "attention_mask", *types


class _Logits(nn.Module):
    """Tensors by position in, logits out: the graph has nothing of transformers' keyword arguments and outputs."""

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, tensors, strict=True))).logits


def _write(model: PreTrainedModel, file: Path) -> None:
    names = input_names(model)
    tensors, dims = _example(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    with silence(), _plain_attention(model), torch.no_grad():
        program: Any = torch.onnx.export(
            _Logits(model, names).eval(),
            tuple(tensors[name] for name in names),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=["logits"],
            dynamic_shapes=(tuple(dims for _ in names),),
            verbose=False,
        )
        _forget_origins(program.model.graph)
        _keep_residuals_apart(program.model.graph)
        program.save(str(file), external_data=_is_large(model))


@contextlib.contextmanager
def _plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Attention written out as products and a softmax. Torch's own function becomes a graph that looks for NaN."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def _forget_origins(graph: Any) -> None:
    """Takes out of a graph which line of which file of this machine each node comes from."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()


def _keep_residuals_apart(graph: Any) -> None:
    """Makes each residual addition in front of a LayerNorm a Sum, which is the same.

    Onnxruntime merges Add and LayerNorm into one operator, which takes several times as long on a CPU as the two.
    """
    for node in graph.all_nodes():
        added = node.inputs[0].producer() if node.op_type in _NORMS else None
        if added is not None and added.op_type == "Add":
            added.op_type = "Sum"


_NORMS = ("LayerNormalization", "ReduceMean")
"""How a LayerNorm begins: as one operator, or written out."""


def _example(model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[int, Any]]:
    """Inputs to trace the model with, and their dimensions that are free. No two dimensions have the same size."""
    names = ("batch", "choices", "length") if head_of(model).stacked else ("batch", "length")
    shape = (2, 3, 8) if head_of(model).stacked else (2, 8)
    ids = torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, ..., -2:] = 0
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return tensors, {i: torch.export.Dim(name, min=1) for i, name in enumerate(names)}


def _is_large(model: PreTrainedModel) -> bool:
    return sum(p.numel() * p.element_size() for p in model.parameters()) > LARGEST
