"""Losses as pure functions of logits and hidden states.

All are sums over the batch, so that the parts of a batch that several processes or micro-batches compute simply add up.
Shape letters: B rows, C classes (1 for regression), S sequences (B, or B x C for multiple choice), T tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def label_loss(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Loss against the labels, summed over the batch.

    Args:
        logits_BC: (B, C) predictions; C = 1 means regression.
        labels_B: (B,) class ids, or the values of a regression.

    Returns:
        Cross-entropy, or for a regression the squared error.
    """
    logits_BC = _at_least_float32(logits_BC)
    if logits_BC.shape[1] == 1:
        return F.mse_loss(logits_BC.squeeze(1), labels_B.to(logits_BC.dtype), reduction="sum")
    return F.cross_entropy(logits_BC, labels_B, reduction="sum")


def soft_loss(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float, divergence: str = "forward") -> Tensor:
    """Loss against the predictions of a teacher, summed over the batch.

    With p = softmax(teacher / T) and q = softmax(student / T): T^2 * KL(p | q) forward, T^2 * KL(q | p) in reverse, 0
    where both agree. The factor keeps the gradient's size independent of T. For a regression the squared difference.
    No gradient flows into the teacher.

    Args:
        student_BC: (B, C) predictions of the sub-network.
        teacher_BC: (B, C) predictions of the teacher.
        temperature: T > 0; larger values soften the targets.
        divergence: One of `supernet.options.training.SOFT_LOSSES`.

    Source:
        Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2; reverse: Gu et al.,
        "MiniLLM: Knowledge Distillation of Large Language Models", ICLR 2024.
    """
    student_BC, teacher_BC = _at_least_float32(student_BC), _at_least_float32(teacher_BC.detach())
    if student_BC.shape[1] == 1:
        return F.mse_loss(student_BC, teacher_BC, reduction="sum")
    log_p_BC, log_q_BC = (F.log_softmax(x / temperature, dim=1) for x in (teacher_BC, student_BC))
    if divergence == "reverse":
        log_p_BC, log_q_BC = log_q_BC, log_p_BC
    return temperature**2 * F.kl_div(log_q_BC, log_p_BC, reduction="sum", log_target=True)


def hidden_loss(
    student_lSTD: Sequence[Tensor], teacher_lSTD: Sequence[Tensor], mask_ST: Tensor | None, *, rows: int
) -> Tensor:
    """Mean squared distance of hidden states, summed over the batch's rows. Padding does not count.

    Args:
        student_lSTD: l tensors (S, T, D), the outputs of the student's layers; l is at least 1.
        teacher_lSTD: The l that they learn from.
        mask_ST: (S, T) 1 for tokens, 0 for padding; None if there is none.
        rows: B. With S = B x C sequences, a row counts the mean of its sequences.

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
