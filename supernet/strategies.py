"""What one training step does: which sub-networks it trains, and what each of them learns from.

Every strategy is one row of a table over one shared step, so the passes of all of them are the same code. B batch,
T tokens, D hidden, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from supernet.distillation import label_loss, soft_loss
from supernet.errors import UserError, unknown
from supernet.slicing import view
from supernet.space import SearchSpace, SubNetwork


@dataclass(frozen=True)
class Strategy:
    """How a supernet is trained.

    Attributes:
        name: A key of `RULES`.
        k: Random sub-networks per step (those strategies that draw any).
        temperature: Softness of the full net's predictions as targets (those strategies that distil).
    """

    name: str
    k: int = 2
    temperature: float = 10.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise unknown("strategy", self.name, RULES)
        if self.k < 0:
            raise UserError(f"strategy.k is {self.k}; it must be 0 or more: random sub-networks per step")
        if not 0 < self.temperature < math.inf:
            raise UserError(f"strategy.temperature is {self.temperature}; it must be a number greater than 0")

    @property
    def distils(self) -> bool:
        """Whether the smaller sub-networks also learn from the full net's predictions."""
        return RULES[self.name].distils

    def draw(self, space: SearchSpace, rng: np.random.Generator) -> list[SubNetwork]:
        """The sub-networks that one step trains, the full net first."""
        return [space.largest, *RULES[self.name].others(space, rng, self.k)]


@dataclass(frozen=True)
class _Rule:
    others: Callable[[SearchSpace, np.random.Generator, int], list[SubNetwork]]
    distils: bool = False


def _nothing(space: SearchSpace, rng: np.random.Generator, k: int) -> list[SubNetwork]:
    return []


def _sandwich(space: SearchSpace, rng: np.random.Generator, k: int) -> list[SubNetwork]:
    """Source: Yu & Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019."""
    return [space.smallest, *(space.sample(rng) for _ in range(k))]


RULES: dict[str, _Rule] = {
    "standard": _Rule(_nothing),
    "sandwich": _Rule(_sandwich),
    "full": _Rule(_sandwich, distils=True),
}


def accumulate_gradients(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    labels_B: Tensor,
    subnets: Sequence[SubNetwork],
    *,
    temperature: float | None,
    rows: int,
    backward: Callable[[Tensor], None] = Tensor.backward,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Tensor]:
    """One forward and one backward pass for each sub-network; the gradients add up in the supernet's `.grad`.

    Words are looked up once for all passes: the gradient of the embeddings, which is as large as the vocabulary however
    few words a batch has, is then made once and not in every pass.

    Args:
        model: The supernet.
        inputs: What its forward takes; this process's part of the batch.
        labels_B: (B,) the labels of that part.
        subnets: The full net first: its predictions are what the others learn from.
        temperature: T of the soft loss that the others get besides the label loss; None for the label loss alone.
        rows: Rows of the batch over all processes; losses are means over these.
        backward: What to call with each loss (`accelerator.backward`).
        autocast: Context of the forward passes (`accelerator.autocast`).

    Returns:
        Each sub-network's loss, detached: this process's share of the mean over the batch.
    """
    others = {name: tensor for name, tensor in inputs.items() if name != "input_ids"}
    words_BTD = model.get_input_embeddings()(inputs["input_ids"])
    leaf_BTD = words_BTD.detach().requires_grad_()
    teacher_BC: Tensor | None = None
    losses = []
    for subnet in subnets:
        with autocast():
            logits_BC = view(model, subnet)(inputs_embeds=leaf_BTD, **others).logits
        loss = label_loss(logits_BC, labels_B)
        if temperature is not None and teacher_BC is not None:
            loss = loss + soft_loss(logits_BC, teacher_BC, temperature=temperature)
        if teacher_BC is None:
            teacher_BC = logits_BC.detach()
        backward(loss / rows)
        losses.append(loss.detach() / rows)
    words_BTD.backward(leaf_BTD.grad)
    return losses
