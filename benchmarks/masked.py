"""Sub-networks by masking, as the paper's code does it: every layer is computed whole, then zeros are multiplied in.

The plain way, against which the tests hold slicing for correctness and the benchmarks for speed. BERT and RoBERTa.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.space import Kept, SubNetwork


@contextmanager
def masked(model: PreTrainedModel, subnet: SubNetwork) -> Iterator[None]:
    """While the block runs, `model` computes `subnet` at the full cost, by hooks on its modules."""
    config, like = model.config, next(model.parameters())
    head_size = config.hidden_size // config.num_attention_heads
    slices = {s.index: s for s in subnet.layers}
    handles = []
    for i, layer in enumerate(model.base_model.encoder.layer):
        heads, units = (slices[i].heads, slices[i].units) if i in slices else (range(0), range(0))
        head_mask = _mask(heads, config.num_attention_heads, like).repeat_interleave(head_size)
        handles.append(_multiply_input(layer.attention.output.dense, head_mask))
        handles.append(_multiply_input(layer.output.dense, _mask(units, config.intermediate_size, like)))
        if not heads:
            handles.append(layer.attention.register_forward_hook(lambda module, args, output: (args[0], None)))
        if not units:
            handles.append(layer.output.register_forward_hook(lambda module, args, output: args[1]))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask(kept: Kept, size: int, like: Tensor) -> Tensor:
    mask = torch.zeros(size, dtype=like.dtype, device=like.device)
    mask[list(kept)] = 1
    return mask


def _multiply_input(module: nn.Module, mask: Tensor):  # type: ignore[no-untyped-def]
    return module.register_forward_pre_hook(lambda module, args: (args[0] * mask,))
