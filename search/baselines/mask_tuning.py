"""Mask tuning: a factor for each kept head and unit, so that each block's output is closer to the full model's.

Goes block by block, from the first layer on. Let x_j be the kept inputs of the block's output projection W, and 1 + d_j
their factors. The residual stream after the block equals the full model's if z_full - z_small = sum over j of
d_j * (x_j W_j). That is linear least squares in d. The factors are folded into W, so the result is a plain smaller
model.

k heads or units kept in a block, P input features of all of them (k for units); D hidden, S sequences, T tokens,
t tokens that count.

Source:
    Kwon et al., "A Fast Post-Training Pruning Framework for Transformers", NeurIPS 2022, section 4.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from supernet.data.batches import Batch
from supernet.models.families import family_of
from supernet.models.slicing import view
from supernet.space.subnetwork import SubNetwork

DAMPING = 1.0
"""Weight of |d|^2 beside the squared distance that is summed over tokens and features.

The paper's code solves the normal equations by LSMR with damping 1. On a MiniLM at a quarter of the encoder, its
factors of the first layer's units were from -8.3 to 12.3, and ours from -8.2 to 12.1.
"""

LARGEST_FACTOR = 10.0
"""Larger factors are not trusted: this block and all later blocks stay as they are (as in the paper)."""


class Walk:
    """Runs a model layer by layer over the same batches, and keeps the last layer's outputs for the next layer.

    Attributes:
        done: Number of layers computed.
    """

    def __init__(self, model: PreTrainedModel, batches: Sequence[Batch]) -> None:
        self.model, self.batches, self.done = model, batches, 0
        self.layers = family_of(model.config).layers_of(model)
        self._outputs: list[Any] = [None] * len(batches)

    def advance(self, done: int) -> None:
        """Computes layers until `done` are computed."""
        if done > self.done:
            for i, batch in enumerate(self.batches):
                with _only(self.layers, range(self.done, done), self._outputs[i]) as output:
                    self.model(**batch.inputs)
                self._outputs[i] = output[0]
            self.done = done

    def observe(self, i: int, projection: str) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the next layer for batch i, without advancing.

        Args:
            projection: Path from the layer to the output projection of a block.

        Returns:
            The projection's input, (S, T, P); its output plus the residual, (S, T, D); the logits of the model if this
            layer were its last.
        """
        with (
            _only(self.layers, range(self.done, self.done + 1), self._outputs[i]),
            _watch(self.model, self.layers[self.done].get_submodule(projection)) as seen,
        ):
            logits = self.model(**self.batches[i].inputs).logits
        inside_STP, after_STD = seen
        return inside_STP, after_STD, logits


@contextmanager
def _only(layers: nn.ModuleList, run: range, before: Any) -> Iterator[list[Any]]:
    """Computes only the layers of `run`. Layers below return `before`, layers above the output of the last of `run`.

    So the model's own code computes everything around the layers, whatever its family passes to them.

    Yields:
        A list of one item, the output of the last computed layer.
    """
    last_output = [before]

    def repeat(*args: Any, **kwargs: Any) -> Any:
        return last_output[0]

    def remember(module: nn.Module, args: Any, output: Any) -> None:
        last_output[0] = output

    idle = [layer for j, layer in enumerate(layers) if j not in run]
    handle = layers[run[-1]].register_forward_hook(remember)
    for layer in idle:
        layer.__dict__["forward"] = repeat
    try:
        yield last_output
    finally:
        handle.remove()
        for layer in idle:
            del layer.__dict__["forward"]


@contextmanager
def _watch(model: PreTrainedModel, projection: nn.Module) -> Iterator[list[Tensor]]:
    """Fills a list with the input of a block's output projection, and the residual stream after the block.

    The stream goes into a LayerNorm next, in every family: the block's own, or the one before the next block.
    """
    seen: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])

    def after(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if len(seen) == 1:
            seen.append(args[0])

    norms = [module for module in model.modules() if type(module).__name__.endswith("LayerNorm")]
    with ExitStack() as hooks:
        for module, hook in [(projection, enter), *((norm, after) for norm in norms)]:
            hooks.callback(module.register_forward_pre_hook(hook).remove)
        yield seen


@torch.no_grad()
def tune_masks_(small: PreTrainedModel, subnet: SubNetwork, model: PreTrainedModel, batches: Sequence[Batch]) -> None:
    """Scales the output projections of a smaller model, in place, head by head and unit by unit.

    In the last layer, only the tokens that the prediction depends on count. The last outputs of both models are in
    memory, 2 x tokens x D numbers.

    Args:
        small: Extracted from `model` with copies of all weights, in evaluation mode.
        subnet: The sub-network of `small`.
        model: The full model, in evaluation mode.
        batches: Training rows.
    """
    family = family_of(model.config)
    everything = SubNetwork.uniform(range(len(family.layers_of(model))), *family.heads_and_units(model.config))
    full = Walk(view(model, everything).eval(), batches)  # a change to a view does not change the model
    pruned = Walk(small, batches)
    extra = len(pruned.layers) - len(subnet.layers)  # an empty first layer that has to stay
    for position, s in enumerate(subnet.layers, start=extra):
        full.advance(s.index)
        pruned.advance(position)
        for block, kept in ((family.attention, s.heads), (family.feed_forward, s.units)):
            if kept:
                factors_k = best_factors(full, pruned, block.columns[0], len(kept))
                if factors_k.abs().max() > LARGEST_FACTOR:
                    return
                scale_(pruned.layers[position].get_submodule(block.columns[0]), factors_k)


@torch.no_grad()
def best_factors(full: Walk, pruned: Walk, projection: str, count: int) -> Tensor:
    """(k,) float64. The factors with which a block of the next layer is closest to the full model's.

    Minimises |A d - b|^2 + DAMPING |d|^2 and returns 1 + d, with A = x_j W_j for each token and feature, and b the
    difference of the residual streams. A has t * D rows and is never built: A'A is the elementwise product
    (x'x) * (W'W).

    Args:
        full, pruned: Both at the same layer.
        projection: Path from the layer to the output projection of the block.
        count: k.
    """
    weight_DP = pruned.layers[pruned.done].get_submodule(projection).get_parameter("weight").detach()
    features = weight_DP.shape[1]
    inside_PP = weight_DP.new_zeros(features, features, dtype=torch.float64)
    effect_P = weight_DP.new_zeros(features, dtype=torch.float64)
    for i, batch in enumerate(pruned.batches):
        x_tP, b_tD = _difference(full, pruned, i, projection, batch)
        inside_PP += x_tP.T @ x_tP
        effect_P += (x_tP * (b_tD @ weight_DP)).sum(dim=0)
    normal_PP = inside_PP * (weight_DP.double().T @ weight_DP.double())
    normal_kk = normal_PP.unflatten(1, (count, -1)).sum(dim=2).unflatten(0, (count, -1)).sum(dim=1)
    effect_k = effect_P.unflatten(0, (count, -1)).sum(dim=1)
    return 1 + _damped(normal_kk, effect_k)


def _damped(normal_kk: Tensor, effect_k: Tensor) -> Tensor:
    """(k,) the solution of the damped normal equations."""
    damped_kk = normal_kk + DAMPING * torch.eye(len(effect_k), dtype=torch.float64, device=normal_kk.device)
    return torch.linalg.solve(damped_kk, effect_k)


def _difference(full: Walk, pruned: Walk, i: int, projection: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """The pruned block's projection input, (t, P), and the full model's output minus the pruned one's, (t, D)."""
    _, full_STD, _ = full.observe(i, projection)
    if pruned.done + 1 < len(pruned.layers):
        inside_STP, after_STD, _ = pruned.observe(i, projection)
        mask_ST = batch.inputs.get("attention_mask", torch.ones(after_STD.shape[:2], device=after_STD.device))
        counts_ST = mask_ST.reshape(after_STD.shape[:2]).bool()
    else:
        with torch.enable_grad():
            inside_STP, after_STD, logits = pruned.observe(i, projection)
            (slope_STD,) = torch.autograd.grad(logits.sum(), after_STD)
        counts_ST = slope_STD.ne(0).any(dim=2)
    return inside_STP.detach()[counts_ST], (full_STD - after_STD.detach())[counts_ST]


@torch.no_grad()
def scale_(projection: nn.Module, factors_k: Tensor) -> None:
    """Multiplies the k equal groups of input features of a linear module by their factors, in its weight."""
    weight_DP = projection.get_parameter("weight")
    weight_DP.mul_(factors_k.to(weight_DP.dtype).repeat_interleave(weight_DP.shape[1] // len(factors_k)))
