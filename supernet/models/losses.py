"""Losses as pure functions of logits and hidden states.

All are sums over the batch, so the parts of a batch from several processes or micro-batches add up. The losses against
labels are also given for each prediction (`reduction="none"`), for comparisons row by row.
Shape letters: n predictions, C outputs of each, B rows, S sequences (several a row in multiple choice), T tokens, D
hidden features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits_nC: Tensor, labels_n: Tensor, reduction: str = "sum") -> Tensor:
    """Cross-entropy in nats, summed.

    Args:
        logits_nC: (n, C) predictions.
        labels_n: (n,) ids of the right outputs.
        reduction: sum, or none for the (n,) losses of the predictions.
    """
    return F.cross_entropy(_at_least_float32(logits_nC), labels_n, reduction=reduction)


def squared_error(predictions_n1: Tensor, labels_n: Tensor, reduction: str = "sum") -> Tensor:
    """Squared distance of (n, 1) predictions from n numbers, summed; `reduction` as in `cross_entropy`."""
    predictions_n1 = _at_least_float32(predictions_n1)
    return F.mse_loss(predictions_n1.squeeze(1), labels_n.to(predictions_n1.dtype), reduction=reduction)


def kl_divergence(student_nC: Tensor, teacher_nC: Tensor, *, temperature: float, divergence: str = "forward") -> Tensor:
    """Divergence of probabilities from a teacher's, summed.

    With p = softmax(teacher / T) and q = softmax(student / T): T^2 * KL(p | q) forward, T^2 * KL(q | p) in reverse, 0
    where both agree. The factor keeps the gradient's size independent of T. No gradient flows into the teacher.

    Args:
        student_nC: (n, C) predictions of the sub-network.
        teacher_nC: (n, C) predictions of the teacher.
        temperature: T > 0; larger values soften the targets.
        divergence: forward or reverse.

    Source:
        Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2; reverse: Gu et al.,
        "MiniLLM: Knowledge Distillation of Large Language Models", ICLR 2024.
    """
    student_nC, teacher_nC = _at_least_float32(student_nC), _at_least_float32(teacher_nC.detach())
    log_p_nC, log_q_nC = (F.log_softmax(x / temperature, dim=1) for x in (teacher_nC, student_nC))
    if divergence == "reverse":
        log_p_nC, log_q_nC = log_q_nC, log_p_nC
    return temperature**2 * F.kl_div(log_q_nC, log_p_nC, reduction="sum", log_target=True)


def squared_difference(
    student_n1: Tensor, teacher_n1: Tensor, *, temperature: float, divergence: str = "forward"
) -> Tensor:
    """Squared distance of (n, 1) predictions from a teacher's, summed. No gradient flows into the teacher.

    Args:
        student_n1: Predictions of the sub-network.
        teacher_n1: Predictions of the teacher.
        temperature, divergence: Not used for numbers.
    """
    return F.mse_loss(_at_least_float32(student_n1), _at_least_float32(teacher_n1.detach()), reduction="sum")


def hidden_loss(
    student_lSTD: Sequence[Tensor], teacher_lSTD: Sequence[Tensor], mask_ST: Tensor | None, *, rows: int
) -> Tensor:
    """Mean squared distance of hidden states, summed over the batch's rows. Padding does not count.

    Args:
        student_lSTD: l tensors (S, T, D), the outputs of the student's layers; l is at least 1.
        teacher_lSTD: The l outputs of the teacher's layers that they learn from.
        mask_ST: (S, T) 1 for tokens, 0 for padding; None if there is no padding.
        rows: B. A row of several sequences counts as their mean.

    Returns:
        Sum over rows of the mean over layers, tokens and features.

    Source:
        Hidden states as targets: Jiao et al., "TinyBERT: Distilling BERT for Natural Language Understanding", 2020.
    """
    total = student_lSTD[0].new_zeros((), dtype=torch.promote_types(student_lSTD[0].dtype, torch.float32))
    for student_STD, teacher_STD in zip(student_lSTD, teacher_lSTD, strict=True):
        distance_ST = (_at_least_float32(student_STD) - _at_least_float32(teacher_STD.detach())).square().mean(dim=2)
        weight_ST = torch.ones_like(distance_ST) if mask_ST is None else mask_ST.to(distance_ST.dtype)
        total = total + ((distance_ST * weight_ST).sum(dim=1) / weight_ST.sum(dim=1)).sum()
    sequences = student_lSTD[0].shape[0]
    return total * rows / (sequences * len(student_lSTD))


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
