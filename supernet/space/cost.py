"""Parameters, floating-point operations, size and memory of sub-networks, by formula: no model and no torch needed.

A layer's cost is linear in what is kept: so much for each head and each unit, and so much once for each block that is
present (output bias, LayerNorm). The coefficients of a model come from its family (`supernet.models.families`).
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.runtime.errors import UserError
from supernet.space.subnetwork import LayerSlice, Sizes, SubNetwork

_INDEX_BYTES = 8
"""Of a whole number that torch indexes with."""


@dataclass(frozen=True)
class Workload:
    """The batch that FLOPs, latency and memory are stated for.

    Attributes:
        batch_size: Number of sequences, for latency and memory. FLOPs are always those of one.
        length: Number of tokens of each sequence.
    """

    batch_size: int = 1
    length: int = 128

    def __post_init__(self) -> None:
        for name in ("batch_size", "length"):
            if getattr(self, name) < 1:
                raise UserError(f"workload.{name} is {getattr(self, name)}; it must be 1 or more")

    def __str__(self) -> str:
        return f"{self.batch_size}x{self.length}"


@dataclass(frozen=True)
class Activations:
    """How much a layer holds at once when it holds most, in a forward pass without gradients.

    Read off transformers' modelling code and checked against what torch allocates; see `activation_bytes`.

    Attributes:
        heads: Tensors with the features of the kept heads: queries, keys, values, their mix.
        hidden: Hidden states besides: of the embeddings and what goes around a block, at least.
        scores: Attention scores, (tokens, tokens) for each kept head; 0 where a kernel computes them piece by piece.
        biases: The same for each head of the full model, whatever is kept, as they are computed once for all layers.
        masks: Tables of (tokens, tokens) whole numbers for each sequence.
        indices: The same for all sequences at once.
    """

    heads: int = 4
    hidden: int = 2
    scores: int = 0
    biases: int = 0
    masks: int = 0
    indices: int = 0


@dataclass(frozen=True)
class Architecture:
    """Sizes of a full model and the coefficients of its costs.

    Attributes:
        layers, heads, units: Number of layers; attention heads and feed-forward units per layer.
        hidden: Hidden features of a token between the layers.
        head_size: Features of one head.
        head_params, unit_params: Parameters of one head (query, key, value, its columns of the output) and one unit.
        attention_params, feed_forward_params: For each layer, parameters that its block has whatever its width: output
            bias, LayerNorm.
        head_macs, unit_macs: Multiply-adds with weights, per token, of one head and one unit.
        embedding_params: Parameters of the base model besides layers and pooler: embeddings, above all. A tensor that
            several modules share counts once.
        embedding_macs: Multiply-adds with weights there, per token.
        classifier_params: Parameters after the last layer: pooler and classifier, without those that the embeddings
            share.
        classifier_macs: Multiply-adds after the last layer, per sequence.
        positions: Relative positions that each layer computes attention scores with (DeBERTa).
        positions_per_token: How many of these each token of a sequence brings into use; 0 if all are always used.
        position_macs: Multiply-adds of one head with weights, per relative position.
        position_scores: Scores that one head computes from each token and relative position.
        activations: What a layer holds at once.
    """

    layers: int
    heads: int
    units: int
    hidden: int
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
    activations: Activations = Activations()

    @property
    def sizes(self) -> Sizes:
        """Layers, and the heads and units in each."""
        return Sizes(self.layers, self.heads, self.units)

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


def size_mb(architecture: Architecture, subnet: SubNetwork, *, bytes_per_value: int = 4) -> float:
    """Size of the stored model in MB (10^6 bytes): its parameters, without the few kB of the file's header."""
    return total_params(architecture, subnet) * bytes_per_value / 1e6


def memory_mb(
    architecture: Architecture, subnet: SubNetwork, *, batch_size: int, length: int, bytes_per_value: int = 4
) -> float:
    """MB (10^6 bytes) that the model takes while it computes one batch: its parameters, and the most of activations.

    Args:
        batch_size: Sequences of the batch.
        length: Tokens of each.
        bytes_per_value: Of parameters and activations, 4 for float32.
    """
    activations = activation_bytes(
        architecture, subnet, batch_size=batch_size, length=length, bytes_per_value=bytes_per_value
    )
    return size_mb(architecture, subnet, bytes_per_value=bytes_per_value) + activations / 1e6


def activation_bytes(
    architecture: Architecture, subnet: SubNetwork, *, batch_size: int, length: int, bytes_per_value: int = 4
) -> int:
    """The most bytes that tensors besides the parameters hold at once in a forward pass without gradients or padding.

    A formula of what is alive in the block that holds most; torch frees a tensor as soon as nothing needs it. For the
    BERT-like families it is within 10 % of what torch allocates on a CPU, for ModernBERT, DistilBERT, MPNet and DeBERTa
    within 25 %. It leaves out the workspaces of matrix products and attention kernels, and what an allocator keeps for
    later. Attention scores count only where transformers stores them: in MPNet and DeBERTa.
    """
    a, x, tokens = architecture, architecture.activations, batch_size * length
    # Hidden states that are summed up and normalised in the embeddings; about as many where there are no layers.
    embeddings = 5 * a.hidden * tokens + x.biases * a.heads * length**2
    values = max([embeddings, *(_layer_values(a, s, batch_size, length) for s in subnet.layers)])
    values += x.biases * a.heads * tokens * length
    return values * bytes_per_value + (x.masks * batch_size + x.indices) * length**2 * _INDEX_BYTES


def _layer_values(a: Architecture, s: LayerSlice, batch_size: int, length: int) -> int:
    """Values alive at once, where they are most: in attention, in the feed-forward block, or in the output of either.

    Units are alive before and after their activation function, and where they are gated their gates too. An output is
    alive as it comes, with the residual, and normalised. The result of attention stays until the layer has ended.
    """
    x, tokens, heads, units = a.activations, batch_size * length, len(s.heads), len(s.units)
    features, residual = heads * a.head_size, a.hidden if heads else 0
    around = x.hidden * a.hidden
    attention = tokens * (x.heads * features + around) + heads * _score_values(a, batch_size, length)
    feed_forward = tokens * (2 * (a.unit_macs // a.hidden - 1) * units + around + residual)
    outputs = tokens * (max(features, units + residual) + around + 3 * a.hidden)
    return max(attention, feed_forward, outputs)


def _score_values(a: Architecture, batch_size: int, length: int) -> int:
    """Attention scores of one head that are alive at once; with DeBERTa's projected positions and what they score."""
    positions = _positions(a, length)
    maps = a.activations.scores * max(1, a.position_scores) * length
    projected = a.position_scores * positions * a.head_size * (1 if a.positions_per_token else batch_size)
    return batch_size * length * (maps + positions) + projected


def _positions(a: Architecture, length: int) -> int:
    """Relative positions that are in use for sequences of a given number of tokens."""
    return min(a.positions, a.positions_per_token * length) if a.positions_per_token else a.positions


def _layer_params(a: Architecture, s: LayerSlice) -> int:
    attention = len(s.heads) * a.head_params + a.attention_params[s.index] if s.heads else 0
    feed_forward = len(s.units) * a.unit_params + a.feed_forward_params[s.index] if s.units else 0
    return attention + feed_forward


def _layer_macs(a: Architecture, s: LayerSlice, tokens: int) -> int:
    """Multiply-adds per sequence.

    Besides its weights, a head has scores (tokens * head_size for each token), its mix of values (as much again) and
    scores with relative positions.
    """
    positions = _positions(a, tokens)
    scores = tokens * a.head_size * (2 * tokens + a.position_scores * positions)
    head = tokens * a.head_macs + positions * a.position_macs + scores
    return len(s.heads) * head + len(s.units) * tokens * a.unit_macs
