"""A sub-network as a stock model of transformers: missing heads and units are zeros.

The padded model computes the same as the sub-network, but it has the speed of its padded size: only missing layers, and
units that all layers lack, make it smaller. It is for programs that cannot load a modelling file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.export.plan import Plan, plan_of, stock_model
from supernet.models.families import family_of
from supernet.models.family import Block
from supernet.models.heads import head_of
from supernet.runtime.errors import UserError


def padded(model: PreTrainedModel) -> PreTrainedModel:
    """A model that computes the same as `model`, and that the stock classes can load.

    Heads are padded to the number in the configuration, units to those of the largest layer.

    Args:
        model: An extracted sub-network. It stays as it is.

    Raises:
        UserError: if zeros cannot express it: it lacks a whole block, and with it a LayerNorm or biases.
    """
    plan = plan_of(model)
    if plan.is_empty:
        return model
    _refuse_absent(plan)
    family, stock, config = family_of(model.config), stock_model(model), copy.deepcopy(model.config)
    heads, units = family.heads_and_units(config)
    layers = list(zip(family.layers_of(model), family.layers_of(stock), plan.layers, strict=True))
    most = max(_count(family.feed_forward, ours, theirs, units) for ours, theirs, _ in layers)
    setattr(config, family.units, most)
    state = model.state_dict()
    for i, (ours, theirs, layer_plan) in enumerate(layers):
        prefix = f"{model.base_model_prefix}.{family.layers}.{i}."
        places = None if layer_plan.biases is None else layer_plan.biases[2]
        for block, full, total, where in (
            (family.attention, heads, heads, places),
            (family.feed_forward, units, most, None),
        ):
            for name, dim, lists in _divided(block, theirs):
                size = theirs.get_parameter(name).shape[dim] // (lists * full)
                state[prefix + name] = _pad(ours.get_parameter(name).detach(), dim, lists, total, size, where)
    with torch.random.fork_rng(devices=[]):  # the initial weights are replaced
        small: PreTrainedModel = head_of(model).auto_class.from_config(config, dtype=model.dtype)
    small.load_state_dict(state)
    return small.eval()


def _refuse_absent(plan: Plan) -> None:
    for i, layer in enumerate(plan.layers):
        if layer.absent or layer.norms:
            what = ", ".join(layer.absent or layer.norms)
            raise UserError(
                f"layout=native cannot express this sub-network: its layer {i} differs from the stock layer in {what}, "
                "which zeros cannot make up for; use layout=code"
            )


def _divided(block: Block, layer: nn.Module) -> Iterator[tuple[str, int, int]]:
    """The name of each divided parameter of a layer, its divided dimension, and its number of lists."""
    names = {parameter: name for name, parameter in layer.named_parameters()}
    for parameter, dim, lists in block.divided(layer):
        yield names[parameter], dim, lists


def _count(block: Block, ours: nn.Module, theirs: nn.Module, full: int) -> int:
    """The number of heads or units of our layer, where the stock layer has `full`."""
    name, dim, _ = next(_divided(block, theirs))
    return ours.get_parameter(name).shape[dim] * full // theirs.get_parameter(name).shape[dim]


def _pad(tensor: Tensor, dim: int, lists: int, total: int, size: int, places: Sequence[int] | None) -> Tensor:
    """`tensor` with zeros for the missing heads or units along `dim`.

    Args:
        tensor: With `lists` lists of heads or units along `dim`, each of `size` features.
        dim, lists: As in `Block.divided`.
        total: Number of heads or units of the padded tensor.
        size: Features of each.
        places: Where those of `tensor` stand among all. None: they are the first.
    """
    parts = tensor.unflatten(dim, (lists, -1, size))
    count = parts.shape[dim + 1]
    shape = [*parts.shape[: dim + 1], total, *parts.shape[dim + 2 :]]
    index = torch.tensor(range(count) if places is None else places)
    return parts.new_zeros(shape).index_copy(dim + 1, index, parts).flatten(dim, dim + 2)
