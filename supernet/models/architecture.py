"""Sizes and cost coefficients of a model, read off the shapes of its parameters.

The description of the family that slicing uses also says what a head or a unit costs. The formulas are in
`supernet.space.cost`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from supernet.models.family import Block, Family
from supernet.space.cost import Architecture


def count_architecture(family: Family, model: PreTrainedModel) -> Architecture:
    """Sizes and cost coefficients of a full model of this family; its tensors may be on the device "meta".

    Modules of the base model outside the layers are assumed to compute every token. The exception is the pooler: like
    the classifier, it computes once per sequence.
    """
    layers, (heads, units) = family.layers_of(model), family.heads_and_units(model.config)
    first = layers[0]
    around, after = _outside(model, layers)
    embeddings = _own_params(around)
    output = first.get_parameter(f"{family.attention.columns[0]}.weight")
    return Architecture(
        layers=len(layers),
        heads=heads,
        units=units,
        hidden=output.shape[0],
        head_size=output.shape[1] // heads,
        head_params=_divided_params(family.attention, first) // heads,
        unit_params=_divided_params(family.feed_forward, first) // units,
        attention_params=tuple(_fixed_params(family.attention, layer) for layer in layers),
        feed_forward_params=tuple(_fixed_params(family.feed_forward, layer) for layer in layers),
        head_macs=_divided_params(_for_tokens(family), first, weights_only=True) // heads,
        unit_macs=_divided_params(family.feed_forward, first, weights_only=True) // units,
        embedding_params=_count(embeddings),
        embedding_macs=sum(_macs(module) for module in around),
        classifier_params=_count(_own_params(after) - embeddings),
        classifier_macs=sum(_macs(module) for module in after),
        activations=family.activations,
        **_position_costs(family, model, heads),
    )


def _outside(model: PreTrainedModel, layers: nn.ModuleList) -> tuple[list[nn.Module], list[nn.Module]]:
    """The modules besides the layers: those around them in the base model, and those after them."""
    inside, base = set(layers.modules()), set(model.base_model.modules())
    pooler = getattr(model.base_model, "pooler", None)
    pooling = set(pooler.modules()) if pooler is not None else set()
    after = [module for module in model.modules() if module not in base or module in pooling]
    return [module for module in base if module not in inside | pooling], after


def _own_params(modules: Iterable[nn.Module]) -> set[nn.Parameter]:
    """The parameters of modules, without those of their submodules. A shared tensor is counted once."""
    return {parameter for module in modules for parameter in module.parameters(recurse=False)}


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _macs(module: nn.Module) -> int:
    return module.weight.numel() if isinstance(module, nn.Linear | nn.Conv1d) else 0


def _divided_params(block: Block, layer: nn.Module, *, weights_only: bool = False) -> int:
    return sum(p.numel() for p, _, _ in block.divided(layer) if p.ndim == 2 or not weights_only)


def _fixed_params(block: Block, layer: nn.Module) -> int:
    """Parameters that are removed with the whole block, but not with single heads or units."""
    whole = sum(p.numel() for path in block.absent for p in layer.get_submodule(path).parameters())
    return whole - _divided_params(block, layer)


def _for_tokens(family: Family) -> Block:
    """The attention block without the modules that only relative positions go through."""
    positions = family.relative.rows if family.relative is not None else ()
    return replace(family.attention, rows=tuple(path for path in family.attention.rows if path not in positions))


def _position_costs(family: Family, model: PreTrainedModel, heads: int) -> dict[str, Any]:
    relative = family.relative
    positions = relative.positions(model.config) if relative is not None else 0
    if relative is None or not positions:
        return {}
    modules = dict(family.layers_of(model)[0].named_modules())
    rows = [path for path in relative.rows if path in modules] or relative.shared_rows
    return {
        "positions": positions,
        "positions_per_token": relative.per_token,
        "position_macs": sum(_macs(modules[path]) for path in rows) // heads,
        "position_scores": len({"c2p", "p2c"} & set(model.config.pos_att_type)),
    }
