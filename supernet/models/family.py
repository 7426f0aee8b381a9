"""The terms that describe a model family: blocks of heads or units, and where they lie.

Paths in a description are those of transformers' modules and parameters. `families.py` has the descriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from supernet.space.cost import Activations


@dataclass(frozen=True)
class Block:
    """The attention or feed-forward block of a layer: its heads or its units lie side by side in weights.

    Paths are relative to the layer. Paths that a model with its configuration does not have are skipped.

    Attributes:
        rows: Linear modules, or single parameters, whose first dimension is divided among the heads or units.
        columns: Linear modules whose input features are divided among them.
        absent: What stands in for which modules in a layer without this block.
        fused: Number of lists of all heads or units along a dimension of `rows`: 3 if a single weight holds all
            queries, then all keys, then all values; 1 if each head's query, key and value are neighbours.
        widths: Attributes of modules that are proportional to the number of heads or units.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    absent: Mapping[str, type[nn.Module]]
    fused: int = 1
    widths: tuple[str, ...] = ()

    def divided(self, layer: nn.Module) -> Iterator[tuple[nn.Parameter, int, int]]:
        """Each divided parameter of `layer`, its divided dimension, and its number of lists of heads or units."""
        for name, parameter in layer.named_parameters():
            module, _, kind = name.rpartition(".")
            if module in self.rows or name in self.rows:
                yield parameter, 0, self.fused
            elif module in self.columns and kind == "weight":
                yield parameter, 1, 1


@dataclass(frozen=True)
class SharedBias:
    """Attention biases with a column for each head, computed once for all layers.

    Attributes:
        table: Path from the base model to the parameter, (buckets, heads).
        reader: Path from a layer to the module that takes the biases of all heads as an argument.
        argument: Position of that argument, which is (batch, heads, tokens, tokens).
    """

    table: str
    reader: str
    argument: int


@dataclass(frozen=True)
class RelativePositions:
    """Embedded relative positions that attention scores are computed with. Only counting operations needs this.

    Attributes:
        rows: Linear modules that relative positions go through, and tokens do not.
        shared_rows: Linear modules for both relative positions and tokens, in models that have none of `rows`.
        positions: Number of relative positions, as a function of the configuration.
        per_token: Number of these that each token of a sequence adds to those in use; 0 if all are always used.
    """

    rows: tuple[str, ...]
    shared_rows: tuple[str, ...]
    positions: Callable[[PreTrainedConfig], int]
    per_token: int


@dataclass(frozen=True)
class Family:
    """Where an architecture keeps the parts that can be left out.

    Attributes:
        layers: Path from the base model to the list of layers.
        attention: The block made of heads.
        feed_forward: The block made of units.
        units: The configuration's name for the number of units.
        first_position: Index of the first token's position embedding, as a function of the configuration.
        per_layer: Entries of the configuration that are lists with an item for each layer.
        first_stays: Whether the encoder does something after its first layer, or needs a layer. If nothing of the first
            layer is kept, it then stays as an empty layer.
        shared_bias: Attention biases that all layers share, if there are any.
        relative: Relative positions that attention computes with, if there are any.
        activations: What a layer holds at the same time. Only counting memory needs this.
        refused: Switches of the configuration that must be off, because what they add cannot be sliced.
        token_wise: Path from a layer to the module where computing each token separately begins: it gets the result of
            attention as positional arguments.
        reads_first: Whether the classifier reads only the first token, as a function of the configuration.
        stacked_reads_mask: Whether a head for rows of several sequences needs the attention mask to find what it reads.
    """

    layers: str
    attention: Block
    feed_forward: Block
    units: str = "intermediate_size"
    first_position: Callable[[PreTrainedConfig], int] = lambda config: 0
    per_layer: tuple[str, ...] = ()
    first_stays: bool = False
    shared_bias: SharedBias | None = None
    relative: RelativePositions | None = None
    activations: Activations = field(default_factory=Activations)
    refused: tuple[str, ...] = ("add_cross_attention",)
    token_wise: str = "attention.output"
    reads_first: Callable[[PreTrainedConfig], bool] = lambda config: True
    stacked_reads_mask: bool = False

    @property
    def heads_tied(self) -> bool:
        """Whether the heads of all layers must have the same order."""
        return self.shared_bias is not None

    def max_tokens(self, config: PreTrainedConfig) -> int:
        """Tokens that the model has positions for."""
        return config.max_position_embeddings - self.first_position(config)

    def token_types(self, config: PreTrainedConfig) -> bool:
        """Whether the model tells the first text of a pair from the second by `token_type_ids`."""
        return getattr(config, "type_vocab_size", 0) > 1

    def layers_of(self, model: PreTrainedModel) -> nn.ModuleList:
        """The list of layers of a model of this family."""
        layers = model.base_model.get_submodule(self.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers

    def heads_and_units(self, config: PreTrainedConfig) -> tuple[int, int]:
        """Heads and units of each layer of the full model."""
        return config.num_attention_heads, getattr(config, self.units)
