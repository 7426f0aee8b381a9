"""Parameters and floating-point operations of sub-networks, by formula: no model and no torch needed.

A layer's cost is linear in what is kept: so much for each head and each unit, and so much once for each block that is
present (output bias, LayerNorm). The coefficients of a model come from its family (`supernet.families`).
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.subnetwork import LayerSlice, SubNetwork


@dataclass(frozen=True)
class Architecture:
    """Sizes of a full model and the coefficients of its costs.

    Attributes:
        layers, heads, units: Number of layers; attention heads and feed-forward units per layer.
        head_size: Features of one head.
        head_params, unit_params: Parameters of one head (query, key, value, its columns of the output) and one unit.
        attention_params, feed_forward_params: For each layer, parameters that its block has whatever its width: output
            bias, LayerNorm.
        head_macs, unit_macs: Multiply-adds with weights, per token, of one head and one unit.
        embedding_params: Parameters of the base model besides layers and pooler: embeddings, above all.
        embedding_macs: Multiply-adds with weights there, per token.
        classifier_params: Parameters after the last layer: pooler and classifier.
        classifier_macs: Multiply-adds after the last layer, per sequence.
        positions: Relative positions that each layer computes attention scores with (DeBERTa).
        positions_per_token: How many of these each token of a sequence brings into use; 0 if all are always used.
        position_macs: Multiply-adds of one head with weights, per relative position.
        position_scores: Scores that one head computes from each token and relative position.
    """

    layers: int
    heads: int
    units: int
    head_size: int
    head_params: int
    unit_params: int
    attention_params: tuple[int, ...]
    feed_forward_params: tuple[int, ...]
    head_macs: int
    unit_macs: int
    embedding_params: int
    embedding_macs: int
    classifier_params: int
    classifier_macs: int
    positions: int = 0
    positions_per_token: int = 0
    position_macs: int = 0
    position_scores: int = 0

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

    Matrix products only, two operations for each multiply-add; biases, LayerNorm, softmax, activations and rotations,
    which are of lower order, are not counted (as `torch.utils.flop_counter` does not). Attention counts as computed
    whole, also where a layer only looks at neighbours. What DeBERTa computes once a batch from relative positions
    counts as computed for each sequence.
    """
    return sum(2 * _layer_macs(architecture, s, tokens) for s in subnet.layers)


def total_flops(architecture: Architecture, subnet: SubNetwork, *, tokens: int) -> int:
    """Floating-point operations of the whole model for one sequence: embeddings, layers, pooler and classifier."""
    outside = tokens * architecture.embedding_macs + architecture.classifier_macs
    return encoder_flops(architecture, subnet, tokens=tokens) + 2 * outside


def _layer_params(a: Architecture, s: LayerSlice) -> int:
    attention = len(s.heads) * a.head_params + a.attention_params[s.index] if s.heads else 0
    feed_forward = len(s.units) * a.unit_params + a.feed_forward_params[s.index] if s.units else 0
    return attention + feed_forward


def _layer_macs(a: Architecture, s: LayerSlice, tokens: int) -> int:
    """Multiply-adds per sequence.

    Besides its weights, a head has scores (tokens * head_size for each token), its mix of values (as much again) and
    scores with relative positions.
    """
    positions = min(a.positions, a.positions_per_token * tokens) if a.positions_per_token else a.positions
    scores = tokens * a.head_size * (2 * tokens + a.position_scores * positions)
    head = tokens * a.head_macs + positions * a.position_macs + scores
    return len(s.heads) * head + len(s.units) * tokens * a.unit_macs
