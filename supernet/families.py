"""The table of model families: where each architecture of transformers keeps its layers, heads and units.

One entry a family, no `if` on model types anywhere. Slicing, counting and the error for an unknown architecture all
follow from this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from supernet.cost import Architecture
from supernet.errors import unknown


class AbsentAttention(nn.Module):
    """Stands where an attention block was: passes the hidden states on, with no attention weights."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        return hidden_states, None


class AbsentOutput(nn.Module):
    """Stands where a block's output (dense, residual, LayerNorm) was: passes the residual stream on."""

    def forward(self, hidden_states: Tensor, residual: Tensor) -> Tensor:
        return residual


@dataclass(frozen=True)
class Family:
    """Where one architecture keeps what can be left out. Paths of a layer's modules are relative to the layer.

    Attributes:
        layers: Path from the base model to the list of layers.
        head_rows: Linear modules whose output features are heads (query, key, value).
        head_columns: Linear modules whose input features are heads.
        unit_rows: Linear modules whose output features are feed-forward units.
        unit_columns: Linear modules whose input features are feed-forward units.
        absent_attention: What stands in for which module of a layer without attention block.
        absent_feed_forward: The same for a layer without feed-forward block.
        first_position: Index of the first token's position embedding, as a function of the configuration.
    """

    layers: str
    head_rows: tuple[str, ...]
    head_columns: tuple[str, ...]
    unit_rows: tuple[str, ...]
    unit_columns: tuple[str, ...]
    absent_attention: Mapping[str, type[nn.Module]]
    absent_feed_forward: Mapping[str, type[nn.Module]]
    first_position: Callable[[PreTrainedConfig], int] = lambda config: 0

    def max_tokens(self, config: PreTrainedConfig) -> int:
        """Tokens that the model has positions for."""
        return config.max_position_embeddings - self.first_position(config)

    def layers_of(self, model: PreTrainedModel) -> nn.ModuleList:
        """The list of layers of a model of this family."""
        layers = model.base_model.get_submodule(self.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers

    def architecture(self, config: PreTrainedConfig) -> Architecture:
        """Sizes and cost coefficients of the sequence classifier that `config` describes.

        Post-LayerNorm blocks with biases; embeddings for words, positions and token types with a LayerNorm; a dense
        layer of the hidden size before the classifier.
        """
        hidden, labels = config.hidden_size, config.num_labels
        head_size = hidden // config.num_attention_heads
        positions = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
        bias_and_norm = 3 * hidden
        return Architecture(
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            units=config.intermediate_size,
            head_size=head_size,
            head_params=(len(self.head_rows) + len(self.head_columns)) * hidden * head_size
            + len(self.head_rows) * head_size,
            unit_params=(len(self.unit_rows) + len(self.unit_columns)) * hidden + len(self.unit_rows),
            attention_params=bias_and_norm,
            feed_forward_params=bias_and_norm,
            head_macs=(len(self.head_rows) + len(self.head_columns)) * hidden * head_size,
            unit_macs=(len(self.unit_rows) + len(self.unit_columns)) * hidden,
            embedding_params=positions * hidden + 2 * hidden,
            classifier_params=hidden * hidden + hidden + hidden * labels + labels,
            classifier_macs=hidden * hidden + hidden * labels,
        )


_BERT = Family(
    layers="encoder.layer",
    head_rows=("attention.self.query", "attention.self.key", "attention.self.value"),
    head_columns=("attention.output.dense",),
    unit_rows=("intermediate.dense",),
    unit_columns=("output.dense",),
    absent_attention={"attention": AbsentAttention},
    absent_feed_forward={"intermediate": nn.Identity, "output": AbsentOutput},
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    # The same modules under the same names; the classifier has as many parameters, and positions start after padding.
    "roberta": replace(_BERT, first_position=lambda config: config.pad_token_id + 1),
}


def family_of(config: PreTrainedConfig) -> Family:
    """The family of the model that `config` describes.

    Raises:
        UserError: if the architecture is not in the table; names it and those that are.
    """
    if config.model_type not in FAMILIES:
        raise unknown("model architecture", config.model_type, FAMILIES)
    return FAMILIES[config.model_type]


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """Sizes and cost coefficients of the model that `config` describes (see `Family.architecture`)."""
    return family_of(config).architecture(config)
