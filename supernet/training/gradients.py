"""The gradients of one step's sub-networks, added up in the supernet: what every strategy's step consists of.

B batch, L layers of the teacher, S sequences, T tokens, D hidden, C classes, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.models.slicing import view
from supernet.options.training import SAME, Distillation
from supernet.space.strategies import LARGEST, Pass
from supernet.space.subnetwork import SubNetwork
from supernet.training.losses import hidden_loss, label_loss, soft_loss


@dataclass(frozen=True)
class _Predictions:
    logits_BC: Tensor
    hidden_LSTD: tuple[Tensor, ...]


def accumulate_gradients(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    labels_B: Tensor,
    passes: Sequence[Pass],
    *,
    distillation: Distillation,
    rows: int,
    teacher: PreTrainedModel | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
    autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Tensor]:
    """One forward and one backward pass for each sub-network; the gradients add up in the supernet's `.grad`.

    Words are looked up once for all passes, and only the rows of the words that occur are added to: the embeddings'
    gradient is as large as the vocabulary, and making it anew in every pass would cost as much as a small sub-network.

    Args:
        model: The supernet.
        inputs: What its forward takes; this process's part of the batch.
        labels_B: (B,) the labels of that part.
        passes: What to train. If the full net is among them it comes first, and the others that distil learn from
            what it has just predicted; otherwise it predicts without being trained.
        distillation: How those that distil learn from the teacher.
        rows: Rows of the batch over all processes; losses are means over these.
        teacher: A fixed model to learn from instead of the full net.
        backward: What to call with each loss (`accelerator.backward`).
        autocast: Context of the forward passes (`accelerator.autocast`).

    Returns:
        Each pass's loss before its weight, detached: this process's share of the mean over the batch.
    """
    others = {name: tensor for name, tensor in inputs.items() if name != "input_ids"}
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    leaf = embedding(inputs["input_ids"]).detach().requires_grad_()
    with_hidden = distillation.hidden_weight > 0 and any(p.distils for p in passes)

    def predict(net: PreTrainedModel, depth: int, **words: Tensor) -> _Predictions:
        layers = list(family_of(net.config).layers_of(net))
        layers = layers[len(layers) - depth :]  # some families need an empty layer in front
        with autocast(), _outputs(layers if with_hidden else ()) as hidden:
            output = net(**words, **others)
        return _Predictions(output.logits, tuple(hidden))

    target: _Predictions | None = None
    if any(p.distils for p in passes) and (teacher is not None or passes[0].kind != LARGEST):
        with torch.no_grad():
            net = model if teacher is None else teacher
            target = predict(net, net.config.num_hidden_layers, input_ids=inputs["input_ids"])
    losses = []
    for p in passes:
        found = predict(view(model, p.subnet), len(p.subnet.layers), inputs_embeds=leaf)
        loss = label_loss(found.logits_BC, labels_B)
        if p.distils and target is not None:
            loss = loss + _distillation_loss(p.subnet, found, target, inputs.get("attention_mask"), distillation)
        if p.kind == LARGEST and target is None:
            target = _Predictions(found.logits_BC.detach(), tuple(h.detach() for h in found.hidden_LSTD))
        backward(p.weight * loss / rows)
        losses.append(loss.detach() / rows)
    if leaf.grad is not None:
        _add_word_gradients(embedding, inputs["input_ids"], leaf.grad)
    return losses


@contextmanager
def _outputs(layers: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects what each layer puts out while the block runs.

    The hidden states that transformers returns are not quite that: where there is a final norm, as in ModernBERT, the
    last one is what this norm makes of it.
    """
    found: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _add_word_gradients(embedding: nn.Embedding, words: Tensor, gradient: Tensor) -> None:
    """What the backward pass of a lookup adds to the embeddings' gradient, without a tensor of the vocabulary's size.

    Args:
        embedding: (V, D).
        words: (..., T) ids.
        gradient: (..., T, D) of the loss with respect to what was looked up.
    """
    weight = embedding.weight
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    ids, rows_tD = words.flatten(), gradient.flatten(0, -2).to(weight.dtype)
    if embedding.padding_idx is not None:  # has no gradient
        rows_tD = rows_tD * (ids != embedding.padding_idx)[:, None]
    weight.grad.index_add_(0, ids, rows_tD)


def _distillation_loss(
    subnet: SubNetwork, student: _Predictions, teacher: _Predictions, mask: Tensor | None, options: Distillation
) -> Tensor:
    loss = options.weight * soft_loss(
        student.logits_BC, teacher.logits_BC, temperature=options.temperature, divergence=options.divergence
    )
    if options.hidden_weight == 0 or not subnet.layers:
        return loss
    depth, states = len(subnet.layers), teacher.hidden_LSTD
    if options.hidden_map == SAME:
        matched = [(i, s.index) for i, s in enumerate(subnet.layers)]
    else:
        matched = [(-i, -i) for i in range(1, min(depth, len(states)) + 1)]
    ours, theirs = [student.hidden_LSTD[i] for i, _ in matched], [states[i] for _, i in matched]
    mask_ST = None if mask is None else mask.flatten(0, -2)
    hidden = hidden_loss(ours, theirs, mask_ST, rows=len(student.logits_BC))
    return loss + options.hidden_weight * hidden
