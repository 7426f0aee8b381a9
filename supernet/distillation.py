"""Losses as pure functions of logits. B batch, C classes (1 for regression).

All are sums over the batch, so that the parts of a batch that several processes compute simply add up.
"""

from __future__ import annotations

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


def soft_loss(student_BC: Tensor, teacher_BC: Tensor, *, temperature: float) -> Tensor:
    """Loss against the predictions of a teacher, summed over the batch.

    T^2 * CE(student / T, softmax(teacher / T)); the factor keeps the gradient's size independent of T. For a
    regression the squared difference. No gradient flows into the teacher.

    Args:
        student_BC: (B, C) predictions of the sub-network.
        teacher_BC: (B, C) predictions of the full network.
        temperature: T > 0; larger values soften the targets.

    Source:
        Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    student_BC, teacher_BC = _at_least_float32(student_BC), _at_least_float32(teacher_BC.detach())
    if student_BC.shape[1] == 1:
        return F.mse_loss(student_BC, teacher_BC, reduction="sum")
    target_BC = F.softmax(teacher_BC / temperature, dim=1)
    return temperature**2 * F.cross_entropy(student_BC / temperature, target_BC, reduction="sum")


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
