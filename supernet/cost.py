"""Parameters and floating-point operations of sub-networks, by formula: no model and no torch needed.

A layer's cost is linear in what is kept: so much for each head and each unit, and so much once for each block that is
present (output bias, LayerNorm). The coefficients of a model come from its family (`supernet.families`).
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.space import LayerSlice, SubNetwork


@dataclass(frozen=True)
class Architecture:
    """Sizes of a full model and the coefficients of its costs.

    Attributes:
        layers, heads, units: Number of layers; attention heads and feed-forward units per layer.
        head_size: Features of one head.
        head_params, unit_params: Parameters of one head (query, key, value, its columns of the output) and one unit.
        attention_params, feed_forward_params: Parameters that a block has whatever its width: output bias, LayerNorm.
        head_macs, unit_macs: Multiply-adds with weights, per token, of one head and one unit.
        embedding_params: Parameters of the embeddings.
        classifier_params: Parameters after the last layer: pooler and classifier.
        classifier_macs: Multiply-adds after the last layer, per sequence.
    """

    layers: int
    heads: int
    units: int
    head_size: int
    head_params: int
    unit_params: int
    attention_params: int
    feed_forward_params: int
    head_macs: int
    unit_macs: int
    embedding_params: int
    classifier_params: int
    classifier_macs: int

    @property
    def full(self) -> SubNetwork:
        """The sub-network that keeps everything."""
        return SubNetwork.uniform(range(self.layers), self.heads, self.units)


def encoder_params(architecture: Architecture, subnet: SubNetwork) -> int:
    """Parameters of the layers alone, without embeddings, pooler and classifier."""
    return sum(_layer_params(architecture, s) for s in subnet.layers)


def total_params(architecture: Architecture, subnet: SubNetwork) -> int:
    """Parameters of the whole model: embeddings, layers, pooler, classifier."""
    return architecture.embedding_params + encoder_params(architecture, subnet) + architecture.classifier_params


def params_share(architecture: Architecture, subnet: SubNetwork) -> float:
    """Encoder parameters as a share of the full model's, in [0, 1]."""
    return encoder_params(architecture, subnet) / encoder_params(architecture, architecture.full)


def encoder_flops(architecture: Architecture, subnet: SubNetwork, *, tokens: int) -> int:
    """Floating-point operations of the layers for one sequence of `tokens` tokens.

    Matrix products only, two operations for each multiply-add; biases, LayerNorm, softmax and activations, which are
    of lower order, are not counted (as `torch.utils.flop_counter` does not).
    """
    return sum(2 * tokens * _layer_macs(architecture, s, tokens) for s in subnet.layers)


def total_flops(architecture: Architecture, subnet: SubNetwork, *, tokens: int) -> int:
    """Floating-point operations of the whole model for one sequence: `encoder_flops`, pooler and classifier."""
    return encoder_flops(architecture, subnet, tokens=tokens) + 2 * architecture.classifier_macs


def _layer_params(a: Architecture, s: LayerSlice) -> int:
    attention = len(s.heads) * a.head_params + a.attention_params if s.heads else 0
    feed_forward = len(s.units) * a.unit_params + a.feed_forward_params if s.units else 0
    return attention + feed_forward


def _layer_macs(a: Architecture, s: LayerSlice, tokens: int) -> int:
    """Multiply-adds per token. Each head adds its scores (tokens * head_size) and its mix of values (as much again)."""
    return len(s.heads) * (a.head_macs + 2 * tokens * a.head_size) + len(s.units) * a.unit_macs
