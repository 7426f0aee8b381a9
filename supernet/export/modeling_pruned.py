"""A pruned encoder: a model of transformers whose layers differ in size, or lack blocks.

Needs torch and transformers alone. "pruning" in config.json says how each layer differs from the stock model's, and
has the values of the configuration that only this file may use.

plm-supernet has written this file: https://arxiv.org/abs/2405.02267 describes the method.
"""

import copy
from typing import Any

from torch import nn
from transformers import BertConfig as StockConfig
from transformers import BertForSequenceClassification as StockModel

from supernet.models.stand_ins import STAND_INS, BiasOfHeads


class PrunedConfig(StockConfig):
    """The stock configuration with "pruning". Its own type, so that stock classes never load the weights."""

    model_type = "pruned-bert"


class PrunedModel(StockModel):
    """The stock model, changed as "pruning" in its configuration says."""

    config_class = PrunedConfig

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        stock = copy.deepcopy(config)
        for name, value in config.pruning["config"].items():
            setattr(stock, name, value)
        super().__init__(stock, *args, **kwargs)
        self.config = config  # what save_pretrained writes
        layers: Any = self.base_model.get_submodule(config.pruning["path"])
        for layer, plan in zip(layers, config.pruning["layers"], strict=True):
            prune(layer, plan)


def prune(layer: nn.Module, plan: dict[str, Any]) -> None:
    """Changes a stock layer. Paths in the plan are relative to the layer."""
    for path, name in plan["absent"].items():
        layer.set_submodule(path, STAND_INS[name]())
    for path, shape in plan["parameters"].items():
        owner, _, name = path.rpartition(".")
        module, old = layer.get_submodule(owner), layer.get_parameter(path)
        setattr(module, name, nn.Parameter(old.new_empty(shape)))
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
    for path, (features, eps, bias) in plan["norms"].items():
        layer.set_submodule(path, nn.LayerNorm(features, eps=eps, bias=bias))
    for path, value in plan["widths"].items():
        owner, _, name = path.rpartition(".")
        setattr(layer.get_submodule(owner), name, value)
    if plan["biases"] is not None:
        reader, argument, heads = plan["biases"]
        layer.get_submodule(reader).register_forward_pre_hook(BiasOfHeads(argument, heads))
