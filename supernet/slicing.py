"""From a sub-network to a model: views for training, a smaller model for everything else.

Both are built by the same function, as a module tree of their own whose tensors are slices of the supernet's. Nothing
of the supernet is switched, masked or patched, so there is no state to put back, and the slices stay in place through
the backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.families import Family, family_of
from supernet.space import Kept, LayerSlice, SubNetwork

M = TypeVar("M", bound=PreTrainedModel)


def view(model: M, subnet: SubNetwork) -> M:
    """A model that computes `subnet` with the supernet's own weights; gradients flow into the supernet.

    Prefixes are views and cost no memory; other subsets are gathered. It takes about a millisecond to build, so make
    one per forward pass and drop it. Training or evaluation mode is the supernet's.

    Args:
        model: The supernet, a transformers model of a known family.
        subnet: What to keep.
    """
    return _assemble(model, subnet, own=lambda tensor: tensor)


def extract(model: M, subnet: SubNetwork, *, share: bool = False) -> M:
    """A physically smaller model with copies of the weights of `subnet`, independent of the supernet.

    Computes exactly what `view` computes: what is evaluated is what is shipped.

    Args:
        model: The supernet, a transformers model of a known family.
        subnet: What to keep.
        share: Copy only what has to move to be contiguous, and share the rest (the embeddings, above all) with the
            supernet. For a model that is evaluated and dropped: milliseconds instead of copying all the weights.
    """
    return _assemble(model, subnet, own=_contiguous if share else _own_copy)


def _contiguous(tensor: Tensor) -> Tensor:
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False) if tensor.is_floating_point() else tensor


def _own_copy(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(copied, requires_grad=True) if copied.is_floating_point() else copied


def _assemble(model: M, subnet: SubNetwork, *, own: Callable[[Tensor], Tensor]) -> M:
    family = family_of(model.config)
    full = family.layers_of(model)
    head_size = model.config.hidden_size // model.config.num_attention_heads
    sliced: dict[Tensor, Tensor] = {}
    replaced: dict[nn.Module, nn.Module] = {}
    for s in subnet.layers:
        sliced.update(_layer_slices(family, full[s.index], s, head_size=head_size))
        replaced.update(_absent_blocks(family, full[s.index], s))
    clone = _Clone(sliced, replaced, own)
    replaced[full] = nn.ModuleList(clone(full[s.index]) for s in subnet.layers)
    small = cast(M, clone(model))
    config = copy.copy(model.config)
    config.num_hidden_layers = len(subnet.layers)
    for module in small.modules():
        if getattr(module, "config", None) is model.config:
            module.__dict__["config"] = config
    return small


class _Clone:
    """Copies a module tree, without initialising anything: other modules and tensors in place of some."""

    def __init__(
        self, sliced: dict[Tensor, Tensor], replaced: dict[nn.Module, nn.Module], own: Callable[[Tensor], Tensor]
    ) -> None:
        self.sliced, self.replaced, self.own = sliced, replaced, own

    def __call__(self, module: nn.Module) -> nn.Module:
        if module in self.replaced:
            return self.replaced[module]
        clone = object.__new__(type(module))
        # Dictionaries are copied so that hooks and attributes set on the clone do not reach the supernet.
        clone.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items()})
        for name, parameter in module._parameters.items():
            clone._parameters[name] = None if parameter is None else self._tensor(parameter)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            clone._buffers[name] = None if buffer is None else self._tensor(buffer)
        for name, child in module._modules.items():
            clone._modules[name] = None if child is None else self(child)
        if isinstance(clone, nn.Linear):
            clone.out_features, clone.in_features = clone.weight.shape
        return clone

    def _tensor(self, tensor: Tensor) -> Tensor:
        return self.own(self.sliced.get(tensor, tensor))


def _layer_slices(family: Family, layer: nn.Module, s: LayerSlice, *, head_size: int) -> dict[Tensor, Tensor]:
    """For each parameter of the layer that gets smaller, the slice of it that is kept."""
    slices = {}
    for rows, columns, kept, size in (
        (family.head_rows, family.head_columns, s.heads, head_size),
        (family.unit_rows, family.unit_columns, s.units, 1),
    ):
        for path in rows:
            linear = cast(nn.Linear, layer.get_submodule(path))
            slices[linear.weight] = _keep(linear.weight, kept, dim=0, size=size)
            if linear.bias is not None:
                slices[linear.bias] = _keep(linear.bias, kept, dim=0, size=size)
        for path in columns:
            linear = cast(nn.Linear, layer.get_submodule(path))
            slices[linear.weight] = _keep(linear.weight, kept, dim=1, size=size)
    return slices


def _keep(tensor: Tensor, kept: Kept, *, dim: int, size: int) -> Tensor:
    """The kept groups of `size` neighbours along `dim`: the tensor itself, a view, or a gathered copy."""
    if isinstance(kept, range):
        length = len(kept) * size
        return tensor if length == tensor.shape[dim] else tensor.narrow(dim, 0, length)
    groups = torch.tensor(kept, device=tensor.device)
    return tensor.index_select(dim, (groups[:, None] * size + torch.arange(size, device=tensor.device)).flatten())


def _absent_blocks(family: Family, layer: nn.Module, s: LayerSlice) -> dict[nn.Module, nn.Module]:
    absent = ({} if s.heads else dict(family.absent_attention)) | ({} if s.units else dict(family.absent_feed_forward))
    return {layer.get_submodule(path): stand_in() for path, stand_in in absent.items()}
