"""Adds up the gradients of one step's sub-networks in the supernet; all strategies share this code.

B batch, n predictions (B, unless the head predicts more often), C outputs of each, L layers of the teacher, S
sequences, T tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.models.heads import Head, head_of
from supernet.models.losses import hidden_loss
from supernet.models.slicing import view
from supernet.options.training import SAME, Distillation
from supernet.space.strategies import LARGEST, Pass
from supernet.space.subnetwork import SubNetwork

Autocast: TypeAlias = "Callable[[], AbstractContextManager[None]]"


@dataclass(frozen=True)
class _Predictions:
    """Logits with their labels, and the hidden states of each layer; none where distillation does not need them."""

    logits_nC: Tensor
    labels_n: Tensor
    hidden_LSTD: tuple[Tensor, ...]

    def detached(self) -> _Predictions:
        hidden = tuple(hidden.detach() for hidden in self.hidden_LSTD)
        return _Predictions(self.logits_nC.detach(), self.labels_n, hidden)


def accumulate_gradients(
    model: PreTrainedModel,
    inputs: Mapping[str, Tensor],
    labels_B: Tensor,
    passes: Sequence[Pass],
    *,
    distillation: Distillation,
    rows: int,
    teacher: PreTrainedModel | Tensor | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
    autocast: Autocast = nullcontext,
) -> list[Tensor]:
    """One forward and one backward pass for each sub-network; the gradients add up in the supernet's `.grad`.

    All passes share one lookup of the word embeddings, and its gradient is added once, to the words that occur. An
    embedding gradient in every pass, as large as the vocabulary, would cost as much as a small sub-network.

    Args:
        model: The supernet.
        inputs: Arguments of its forward pass, for this process's part of the batch.
        labels_B: (B,) the labels of that part.
        passes: The sub-networks to train. The full model comes first if it is among them.
        distillation: How the passes that distil learn from the teacher.
        rows: Rows of the batch over all processes. Losses are means over these.
        teacher: A fixed model, or its logits for these inputs. None: the full model, even if it has no pass of its own.
        backward: Called with each loss (`accelerator.backward`).
        autocast: Context of the forward passes (`accelerator.autocast`).

    Returns:
        Loss of each pass before its weight, detached: this process's share of the mean over the batch.
    """
    head, with_hidden = head_of(model), distillation.hidden_weight > 0 and any(p.distils for p in passes)
    predict = partial(_predict, head=head, labels_B=labels_B, with_hidden=with_hidden, autocast=autocast)
    others = {name: tensor for name, tensor in inputs.items() if name != "input_ids"}
    embedding = cast(nn.Embedding, model.get_input_embeddings())
    embedded = embedding(inputs["input_ids"]).detach().requires_grad_()
    target = _fixed_target(model, teacher, passes, head, labels_B, partial(predict, inputs=inputs))
    losses = []
    for p in passes:
        output = predict(view(model, p.subnet), len(p.subnet.layers), inputs={"inputs_embeds": embedded, **others})
        loss = p.label_weight * head.label_loss(output.logits_nC, output.labels_n)
        if p.distils and target is not None:
            loss = loss + _distillation_loss(head, p.subnet, output, target, inputs, distillation)
        if p.kind == LARGEST and target is None:
            target = output.detached()
        backward(p.weight * loss / rows)
        losses.append(loss.detach() / rows)
    if embedded.grad is not None:
        _add_word_gradients(embedding, inputs["input_ids"], embedded.grad)
    return losses


def _predict(
    model: PreTrainedModel,
    depth: int,
    *,
    head: Head,
    inputs: Mapping[str, Tensor],
    labels_B: Tensor,
    with_hidden: bool,
    autocast: Autocast,
) -> _Predictions:
    """One forward pass of a model with `depth` layers. Some families have an empty layer in front of these."""
    layers = list(family_of(model.config).layers_of(model))
    observed = layers[len(layers) - depth :] if with_hidden else []
    with autocast(), _outputs(observed) as hidden:
        output = model(**inputs)
    return _Predictions(*head.predictions(output.logits, labels_B), tuple(hidden))


def _fixed_target(
    model: PreTrainedModel,
    teacher: PreTrainedModel | Tensor | None,
    passes: Sequence[Pass],
    head: Head,
    labels_B: Tensor,
    predict: Callable[[PreTrainedModel, int], _Predictions],
) -> _Predictions | None:
    """Predictions of the teacher, or of a full model without a pass; None if no such predictions are needed."""
    if not any(p.distils for p in passes) or (teacher is None and passes[0].kind == LARGEST):
        return None
    if isinstance(teacher, Tensor):
        return _Predictions(*head.predictions(teacher, labels_B), ())
    source = model if teacher is None else teacher
    with torch.no_grad():
        return predict(source, source.config.num_hidden_layers)


@contextmanager
def _outputs(layers: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects the output of each layer while the block runs.

    `output_hidden_states` of transformers would differ in the last layer of models with a final norm, as ModernBERT: it
    returns that state after the norm.
    """
    outputs: list[Tensor] = []

    def keep(layer: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _add_word_gradients(embedding: nn.Embedding, words: Tensor, gradient: Tensor) -> None:
    """Adds the gradient of a lookup to the embeddings' gradient, without another tensor of the vocabulary's size.

    Args:
        embedding: (V, D).
        words: (..., T) ids.
        gradient: (..., T, D) of the loss with respect to the looked-up embeddings.
    """
    weight = embedding.weight
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    ids, rows_tD = words.flatten(), gradient.flatten(0, -2).to(weight.dtype)
    if embedding.padding_idx is not None:  # the padding's embedding is not trained
        rows_tD = rows_tD * (ids != embedding.padding_idx)[:, None]
    weight.grad.index_add_(0, ids, rows_tD)


def _distillation_loss(
    head: Head,
    subnet: SubNetwork,
    student: _Predictions,
    teacher: _Predictions,
    inputs: Mapping[str, Tensor],
    options: Distillation,
) -> Tensor:
    loss = options.weight * head.soft_loss(
        student.logits_nC, teacher.logits_nC, temperature=options.temperature, divergence=options.divergence
    )
    if options.hidden_weight == 0 or not subnet.layers:
        return loss
    depth, states = len(subnet.layers), teacher.hidden_LSTD
    if not states:
        raise ValueError("distillation.hidden_weight > 0 needs the teacher's hidden states; there are only its logits")
    if options.hidden_map == SAME:
        matched = [(i, s.index) for i, s in enumerate(subnet.layers)]
    else:
        matched = [(-i, -i) for i in range(1, min(depth, len(states)) + 1)]
    students, targets = [student.hidden_LSTD[i] for i, _ in matched], [states[i] for _, i in matched]
    mask = inputs.get("attention_mask")
    mask_ST = None if mask is None else mask.flatten(0, -2)
    rows = len(next(iter(inputs.values())))
    hidden = hidden_loss(students, targets, mask_ST, rows=rows)
    return loss + options.hidden_weight * hidden
