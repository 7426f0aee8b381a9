"""Memory of a training, by formula: weights, gradients, Adam's averages, and what the backward pass needs.

No model and no torch needed. The last part was fitted to what torch allocates in a forward and backward pass on a CPU:
with dropout it is within 15 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from supernet.space.cost import Architecture, total_params
from supernet.space.subnetwork import LayerSlice

_SAVED_SCORES = 3
"""Tensors of (tokens, tokens) that a head keeps: scores, softmax, and softmax after dropout."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a training holds at once when it holds most, besides the libraries and the rows.

    Attributes:
        weights: The supernet, and a fixed teacher.
        gradients: Of the supernet.
        optimizer: Adam's two averages.
        activations: What the largest forward pass keeps for the backward pass.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


def training_memory(
    architecture: Architecture,
    *,
    rows: int,
    length: int,
    stored_scores: bool = True,
    recomputed: bool = False,
    teacher_params: int = 0,
    bytes_per_activation: int = 4,
) -> TrainingMemory:
    """The memory of a training in float32 or mixed precision. The passes of a step follow one another.

    Args:
        architecture: Of the full model, whose pass is the largest.
        rows: Sequences of a forward pass: the micro-batch, times the choices of a row.
        length: Tokens of each.
        stored_scores: Whether attention scores are kept: on a CPU with dropout, or where transformers stores them.
        recomputed: Whether the backward pass computes each layer again (gradient checkpointing).
        teacher_params: Parameters of a fixed teacher.
        bytes_per_activation: 4 for float32, 2 for half precision, where some tensors stay in float32.
    """
    a, tokens, value = architecture, rows * length, bytes_per_activation
    full = a.full
    layers = [_saved_values(a, s, rows, length, stored_scores=stored_scores) for s in full.layers]
    kept = max(layers, default=0) + tokens * a.hidden * len(layers) if recomputed else sum(layers)
    kept += 5 * a.hidden * tokens  # of the embeddings
    parameters = 4 * total_params(a, full)
    return TrainingMemory(parameters + 4 * teacher_params, parameters, 2 * parameters, kept * value)


def _saved_values(a: Architecture, s: LayerSlice, rows: int, length: int, *, stored_scores: bool) -> int:
    """Values of a layer that the backward pass needs.

    Units are kept before and after their activation function, and where they are gated their gates too.
    """
    x, tokens, heads, units = a.activations, rows * length, len(s.heads), len(s.units)
    features = (x.heads + 1) * heads * a.head_size
    gates = 2 * (a.unit_macs // a.hidden - 1)
    scores = _SAVED_SCORES * heads * length if stored_scores or x.scores else 0
    return tokens * (features + (x.hidden + 3) * a.hidden + gates * units + scores)
