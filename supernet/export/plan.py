"""What distinguishes a sub-network's model from the stock model of its configuration, as plain values.

The stock model is built on torch's device "meta", which has shapes but no memory, and compared with the sub-network
layer by layer. No table of families is needed for this, and nothing can be forgotten: whatever differs is in the plan.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.models.family import Family
from supernet.models.heads import head_of
from supernet.models.stand_ins import STAND_INS, BiasOfHeads


@dataclass(frozen=True)
class LayerPlan:
    """How a layer differs from the stock model's. Paths are relative to the layer.

    Attributes:
        absent: For each module that is replaced, the name of its stand-in.
        parameters: For each parameter of another shape, that shape.
        widths: For each attribute that is proportional to the number of heads or units, its value.
        norms: For each LayerNorm that the stock model lacks: its features, epsilon, and whether it has a bias.
        biases: The module that reads the biases of all heads, the position of that argument, and the heads to keep.
    """

    absent: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, list[int]] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    norms: dict[str, tuple[int, float, bool]] = field(default_factory=dict)
    biases: tuple[str, int, list[int]] | None = None


@dataclass(frozen=True)
class Plan:
    """How a model differs from the stock model of its configuration.

    Attributes:
        path: From the base model to the list of layers.
        layers: For each layer, how it differs.
    """

    path: str
    layers: tuple[LayerPlan, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the stock classes suffice."""
        return all(layer == LayerPlan() for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """What `modeling_pruned.py` reads."""
        return asdict(self)


def plan_of(model: PreTrainedModel) -> Plan:
    """The plan of an extracted sub-network.

    Raises:
        RuntimeError: if the sub-network lacks a tensor of the stock model, and no stand-in explains it.
    """
    family, stock = family_of(model.config), stock_model(model)
    pairs = zip(family.layers_of(model), family.layers_of(stock), strict=True)
    return Plan(family.layers, tuple(_layer_plan(family, ours, theirs) for ours, theirs in pairs))


def stock_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model that transformers builds from the same configuration, on the device "meta"."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", UserWarning)  # a model without layers has parameters without elements
        stock = head_of(model).auto_class.from_config(copy.deepcopy(model.config))
    assert isinstance(stock, PreTrainedModel)
    return stock


def _layer_plan(family: Family, ours: nn.Module, theirs: nn.Module) -> LayerPlan:
    stock, parameters = dict(theirs.named_modules()), dict(ours.named_parameters())
    absent = {
        path: type(module).__name__
        for path, module in ours.named_modules()
        if type(module) in STAND_INS.values() and type(module) is not type(stock.get(path))
    }
    shapes = {}
    for name, parameter in theirs.named_parameters():
        if name in parameters:
            if parameters[name].shape != parameter.shape:
                shapes[name] = list(parameters[name].shape)
        elif not any(name.startswith(f"{path}.") for path in absent):
            raise RuntimeError(f"the sub-network has no {name}, and no stand-in explains it")
    norms = {
        path: (module.normalized_shape[0], module.eps, module.bias is not None)
        for path, module in ours.named_modules()
        if isinstance(module, nn.LayerNorm) and type(stock[path]) is nn.Identity
    }
    return LayerPlan(absent, shapes, _widths(family, ours, theirs), norms, _biases(family, ours))


def _widths(family: Family, ours: nn.Module, theirs: nn.Module) -> dict[str, int]:
    """The attributes whose value is not the stock model's. Absent blocks have none."""
    widths = {}
    for path in (*family.attention.widths, *family.feed_forward.widths):
        owner, _, name = path.rpartition(".")
        try:
            value = getattr(ours.get_submodule(owner), name)
        except AttributeError:  # the block is absent
            continue
        if value != getattr(theirs.get_submodule(owner), name):
            widths[path] = value
    return widths


def _biases(family: Family, layer: nn.Module) -> tuple[str, int, list[int]] | None:
    if family.shared_bias is None:
        return None
    try:
        reader = layer.get_submodule(family.shared_bias.reader)
    except AttributeError:  # the block is absent
        return None
    for hook in reader._forward_pre_hooks.values():
        if isinstance(hook, BiasOfHeads):
            return family.shared_bias.reader, hook.argument, list(hook.heads)
    return None
