"""From a sub-network to a model: views for training, a smaller model for everything else.

The same function builds both: a separate module tree whose tensors are slices of the supernet's. Nothing in the
supernet is switched, masked or patched. So there is no state to restore, and the slices stay valid through the backward
pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.models.family import Block, Family
from supernet.models.stand_ins import BiasOfHeads
from supernet.space.subnetwork import Kept, LayerSlice, SubNetwork

M = TypeVar("M", bound=PreTrainedModel)


def view(model: M, subnet: SubNetwork) -> M:
    """A model that computes `subnet` with the supernet's own weights; gradients flow into the supernet.

    Prefixes are views and cost no memory; other subsets, and prefixes of fused projections, are gathered. A view
    takes about a millisecond to build, so make a view for each forward pass and drop it. Training or evaluation mode is
    the supernet's, and so is gradient checkpointing.

    Args:
        model: The supernet, a transformers model of a known family.
        subnet: What to keep.
    """
    return _assemble(model, subnet, _SLICES)


def extract(model: M, subnet: SubNetwork, *, share: bool = False) -> M:
    """A physically smaller model with copies of the weights of `subnet`, independent of the supernet.

    It computes exactly what `view` computes, so the shipped model is the evaluated model.

    Args:
        model: The supernet, a transformers model of a known family.
        subnet: What to keep.
        share: Copy only tensors that must move to be contiguous, and share the rest (above all the embeddings) with
            the supernet. For a model that is evaluated and dropped: this takes milliseconds.
    """
    return _assemble(model, subnet, _CONTIGUOUS if share else _COPIES)


@torch.no_grad()
def permute_(
    model: PreTrainedModel, head_orders: Sequence[Sequence[int]], unit_orders: Sequence[Sequence[int]]
) -> None:
    """Puts heads and units of a supernet into another order, in place; the full model computes the same.

    A prefix then keeps the first heads and units of the order, so the most important belong there.

    Args:
        model: The supernet, a transformers model of a known family.
        head_orders: For each layer, the present indices of its heads in their new order.
        unit_orders: The same for its units.

    Raises:
        ValueError: unless there is a permutation for each layer, or if heads are tied across layers
            (`Family.heads_tied`) and the orders differ. The model is then unchanged.
    """
    family = family_of(model.config)
    layers, (heads, units) = family.layers_of(model), family.heads_and_units(model.config)
    _check_orders("head", head_orders, len(layers), heads)
    _check_orders("unit", unit_orders, len(layers), units)
    if family.heads_tied and len({tuple(order) for order in head_orders}) > 1:
        raise ValueError(
            f"layers of a {model.config.model_type} share biases of heads: give all layers the same order of heads"
        )
    for layer, head_order, unit_order in zip(layers, head_orders, unit_orders, strict=True):
        for block, order in ((family.attention, head_order), (family.feed_forward, unit_order)):
            for parameter, dim, lists in block.divided(layer):
                parameter.copy_(_gather(parameter, order, dim=dim, lists=lists, count=len(order)))
    if family.shared_bias is not None and len(layers):
        table = model.base_model.get_parameter(family.shared_bias.table)
        table.copy_(_gather(table, head_orders[0], dim=1, lists=1, count=heads))


def _check_orders(name: str, orders: Sequence[Sequence[int]], layers: int, count: int) -> None:
    if len(orders) != layers:
        raise ValueError(f"{name}_orders has {len(orders)} orders for {layers} layers")
    for i, order in enumerate(orders):
        if sorted(order) != list(range(count)):
            raise ValueError(f"{name}_orders[{i}] is no permutation of range({count})")


@dataclass(frozen=True)
class _Ownership:
    """How tensors are put into another module tree.

    Parameters and buffers differ: a buffer in an `nn.Parameter` cannot be exported by torch.

    Attributes:
        parameter, buffer: From a tensor, or a slice of it, to the tensor in the new tree.
    """

    parameter: Callable[[Tensor], Tensor]
    buffer: Callable[[Tensor], Tensor]


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format)


_SLICES = _Ownership(lambda tensor: tensor, lambda tensor: tensor)
_COPIES = _Ownership(lambda tensor: nn.Parameter(_copy(tensor)), _copy)
_CONTIGUOUS = _Ownership(
    lambda tensor: nn.Parameter(tensor.detach().contiguous(), requires_grad=False), lambda tensor: tensor.contiguous()
)


def _assemble(model: M, subnet: SubNetwork, own: _Ownership) -> M:
    family = family_of(model.config)
    full, sizes = family.layers_of(model), family.heads_and_units(model.config)
    slices = _slices_to_build(family, subnet)
    sliced: dict[Tensor, Tensor] = {}
    replaced: dict[nn.Module, nn.Module] = {}
    for s in slices:
        for block, kept, total in _parts(family, s, sizes):
            sliced.update(_block_slices(block, full[s.index], kept, total))
            if not kept:
                replaced.update({full[s.index].get_submodule(path): new() for path, new in block.absent.items()})
    clone = _Clone(sliced, replaced, own)
    layers = [clone(full[s.index]) for s in slices]
    for layer, s in zip(layers, slices, strict=True):
        _fit(family, layer, s, sizes)
    replaced[full] = nn.ModuleList(layers)
    small = cast(M, clone(model))
    _give_config(small, model.config, family, slices)
    return small


def _slices_to_build(family: Family, subnet: SubNetwork) -> tuple[LayerSlice, ...]:
    """The layers of `subnet`, with an empty layer in front if the family needs its first layer."""
    if family.first_stays and (not subnet.layers or subnet.layers[0].index > 0):
        return LayerSlice(0, range(0), range(0)), *subnet.layers
    return subnet.layers


def _parts(family: Family, s: LayerSlice, sizes: tuple[int, int]) -> tuple[tuple[Block, Kept, int], ...]:
    """The blocks of a layer: for each the kept heads or units, and their total number."""
    return (family.attention, s.heads, sizes[0]), (family.feed_forward, s.units, sizes[1])


def _give_config(small: PreTrainedModel, full: Any, family: Family, slices: tuple[LayerSlice, ...]) -> None:
    """Gives a sub-network its own configuration, with its layers, and with their units if all layers have equally many.

    If all heads are kept too, stock transformers can load the model with this configuration (space native).
    """
    config = copy.copy(full)
    config.num_hidden_layers = len(slices)
    units = {len(s.units) for s in slices}
    if len(units) == 1:
        setattr(config, family.units, units.pop())
    for name in family.per_layer:
        setattr(config, name, [getattr(full, name)[s.index] for s in slices])
    for module in small.modules():
        if getattr(module, "config", None) is full:
            module.__dict__["config"] = config


class _Clone:
    """Copies a module tree without initialising it, and replaces some modules and tensors.

    A parameter that modules share stays shared in the copy.
    """

    def __init__(self, sliced: dict[Tensor, Tensor], replaced: dict[nn.Module, nn.Module], own: _Ownership) -> None:
        self.sliced, self.replaced, self.own = sliced, replaced, own
        self.parameters: dict[Tensor, Tensor] = {}

    def __call__(self, module: nn.Module) -> nn.Module:
        if module in self.replaced:
            return self.replaced[module]
        clone = object.__new__(type(module))
        # Dictionaries are copied so that hooks and attributes set on the clone do not reach the supernet.
        clone.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items()})
        for name, parameter in module._parameters.items():
            clone._parameters[name] = None if parameter is None else self._parameter(parameter)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            clone._buffers[name] = None if buffer is None else self.own.buffer(buffer)
        for name, child in module._modules.items():
            clone._modules[name] = None if child is None else self(child)
        if isinstance(clone, nn.Linear):
            clone.out_features, clone.in_features = clone.weight.shape
        return clone

    def _parameter(self, parameter: Tensor) -> Tensor:
        if parameter not in self.parameters:
            self.parameters[parameter] = self.own.parameter(self.sliced.get(parameter, parameter))
        return self.parameters[parameter]


def _block_slices(block: Block, layer: nn.Module, kept: Kept, total: int) -> dict[Tensor, Tensor]:
    """For each parameter of the layer that gets smaller, the kept slice."""
    if not kept or len(kept) == total:
        return {}
    return {
        parameter: _keep(parameter, kept, dim=dim, lists=lists, count=total)
        for parameter, dim, lists in block.divided(layer)
    }


def _keep(tensor: Tensor, kept: Kept, *, dim: int, lists: int, count: int) -> Tensor:
    """The kept heads or units along `dim`: a view of a prefix, or a copy of several prefixes or single indices."""
    if not isinstance(kept, range):
        return _gather(tensor, kept, dim=dim, lists=lists, count=count)
    if lists == 1:
        return tensor.narrow(dim, 0, tensor.shape[dim] // count * len(kept))
    return tensor.unflatten(dim, (lists, count, -1)).narrow(dim + 1, 0, len(kept)).flatten(dim, dim + 2)


def _gather(tensor: Tensor, indices: Sequence[int], *, dim: int, lists: int, count: int) -> Tensor:
    """A copy of the heads or units with these indices, in this order, from each of the `lists` lists along `dim`."""
    index = torch.tensor(indices, device=tensor.device)
    return tensor.unflatten(dim, (lists, count, -1)).index_select(dim + 1, index).flatten(dim, dim + 2)


def _fit(family: Family, layer: nn.Module, s: LayerSlice, sizes: tuple[int, int]) -> None:
    """Sets the number of heads or units in the modules of a cloned layer, and the biases of its heads."""
    for block, kept, total in _parts(family, s, sizes):
        for path in block.widths if kept else ():
            module, _, name = path.rpartition(".")
            owner = layer.get_submodule(module)
            setattr(owner, name, getattr(owner, name) * len(kept) // total)
    if family.shared_bias is not None and 0 < len(s.heads) < sizes[0]:
        reader = layer.get_submodule(family.shared_bias.reader)
        reader.register_forward_pre_hook(BiasOfHeads(family.shared_bias.argument, s.heads))
