"""How important each head and unit is for the task, measured on training rows.

Most sub-networks keep a prefix of heads or units. With the best first, a prefix keeps the best. The order does not
change what the full model computes. L layers, N heads, F units, S sequences, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from supernet.data.batches import Batch
from supernet.models.families import architecture_of, family_of
from supernet.models.files import refusing
from supernet.models.heads import head_of
from supernet.models.slicing import extract, permute_
from supernet.runtime.errors import UserError
from supernet.runtime.files import atomic_path
from supernet.runtime.pictures import new_figure, save_figure
from supernet.space.subnetwork import LayerSlice, Sizes, SubNetwork

if TYPE_CHECKING:  # only drawing needs matplotlib
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

SCORES_FILE = "importance.npz"

LEAST_SHOWN = 0.01
"""Smaller shares have the same colour in the picture."""


@dataclass(frozen=True, eq=False)
class Importance:
    """Scores; larger is more important.

    Attributes:
        heads: (L, N) float64.
        units: (L, F) float64.
    """

    heads: np.ndarray
    units: np.ndarray

    @property
    def layers(self) -> np.ndarray:
        """(L,) score of each layer: its heads' share of all heads' scores plus its units' share of all units'."""
        heads, units = self.heads.sum(axis=1), self.units.sum(axis=1)
        return heads / heads.sum() + units / units.sum()


@dataclass(frozen=True, eq=False)
class BlockEffects:
    """x * d loss / dx of a layer, where x is the input of a block's output projection and the loss a sum over rows.

    Attributes:
        heads_STNH: Of its attention, with the H features of each kept head; None without attention.
        units_STF: Of its feed-forward block; None without one.
    """

    heads_STNH: Tensor | None
    units_STF: Tensor | None


def measure_importance(model: PreTrainedModel, batches: Iterable[Batch]) -> Importance:
    """Scores heads and units by the first-order change of the loss if each were left out.

    Let x be the input of a block's output projection. A unit's score is the sum over rows and tokens of
    |x * d loss / dx|, a head's is the sum over rows of |sum of x * d loss / dx over its features and the tokens|.
    Dropout is off. Weights are not changed.

    Args:
        model: A transformers model of a known family, with a classifier.
        batches: Training rows; never validation or test rows.

    Source:
        Michel, Levy & Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019; for units as in Hou et al.,
        "DynaBERT: Dynamic BERT with Adaptive Width and Depth", NeurIPS 2020.
    """
    a = architecture_of(model.config)
    heads, units = np.zeros((a.layers, a.heads)), np.zeros((a.layers, a.units))
    for _, effects in block_effects(model, batches):
        for i, of_layer in enumerate(effects):
            assert of_layer.heads_STNH is not None
            assert of_layer.units_STF is not None
            heads[i] += of_layer.heads_STNH.double().sum(dim=(1, 3)).abs().sum(dim=0).cpu().numpy()
            units[i] += of_layer.units_STF.double().abs().sum(dim=(0, 1)).cpu().numpy()
    return Importance(heads, units)


def block_effects(
    model: PreTrainedModel, batches: Iterable[Batch], subnet: SubNetwork | None = None
) -> Iterator[tuple[Batch, list[BlockEffects]]]:
    """The first-order change of the loss without each input feature of the blocks' output projections.

    The sum over tokens (and a head's features) is the derivative of a row's loss with respect to a factor of the unit
    or head. Dropout is off until the last batch is done.

    Args:
        model: The full model.
        batches: Rows.
        subnet: The sub-network to look at; None is the full model.

    Yields:
        Each batch, and the effects in each layer of the sub-network.
    """
    a = architecture_of(model.config)
    slices = (a.full if subnet is None else subnet).layers
    small = model if subnet is None else extract(model, subnet)
    was_training = small.training
    small.eval()
    try:
        for batch in batches:
            with _projection_inputs(small, slices) as inputs:
                loss = head_of(small).loss_of(small(**batch.inputs).logits, batch.labels)
            found = (x.detach() * g for x, g in zip(inputs, torch.autograd.grad(loss, inputs), strict=True))
            effects = [
                BlockEffects(
                    next(found).unflatten(-1, (len(s.heads), a.head_size)) if s.heads else None,
                    next(found) if s.units else None,
                )
                for s in slices
            ]
            yield batch, effects
    finally:
        small.train(was_training)


@contextmanager
def _projection_inputs(model: PreTrainedModel, slices: Sequence[LayerSlice]) -> Iterator[list[Tensor]]:
    """Collects the inputs of the output projections of each layer's blocks, in order, while the block runs."""
    family = family_of(model.config)
    inputs: list[Tensor] = []
    layers = list(family.layers_of(model))
    handles = [
        layer.get_submodule(block.columns[0]).register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        for layer, s in zip(
            layers[len(layers) - len(slices) :], slices, strict=True
        )  # a family may need an empty first
        for block, kept in ((family.attention, s.heads), (family.feed_forward, s.units))
        if kept
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def order_by_importance_(model: PreTrainedModel, importance: Importance) -> None:
    """Reorders heads and units inside each layer in place, best first. The full model computes the same as before."""
    heads = importance.heads
    if family_of(model.config).heads_tied:  # the same order for all layers
        heads = np.broadcast_to(heads.sum(axis=0), heads.shape)
    permute_(model, _best_first(heads), _best_first(importance.units))


def _best_first(scores: np.ndarray) -> list[list[int]]:
    return [np.argsort(-row, kind="stable").tolist() for row in scores]


def read_importance(folder: Path, sizes: Sizes) -> Importance | None:
    """Reads what `write_importance` wrote; None if there is no such file.

    Args:
        folder: Where the file is.
        sizes: Of the scored model.

    Raises:
        UserError: if the file is damaged, or belongs to another model.
    """
    path, advice = folder / SCORES_FILE, "remove it, and the training measures again when it resumes"
    if not path.exists():
        return None
    problem = f"{path} cannot be used"
    with refusing(problem, advice), path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
        scores = Importance(saved["heads"], saved["units"])
    for name, values, width in (("heads", scores.heads, sizes.heads), ("units", scores.units, sizes.units)):
        fits = values.shape == (sizes.layers, width) and values.dtype == np.float64
        if not fits or not ((values >= 0) & (values < np.inf)).all():
            raise UserError(f"{problem} ({name} are no {sizes.layers} x {width} scores of 0 or more); {advice}")
    return scores


def write_importance(folder: Path, importance: Importance) -> None:
    """Writes importance.npz, the scores in the model's own order, and importance.png, a heat map."""
    with atomic_path(folder / SCORES_FILE) as partial, partial.open("wb") as file:
        np.savez(file, heads=importance.heads, units=importance.units)
    layers, heads = importance.heads.shape
    figure = new_figure(9, 0.4 * layers + 2.2)
    axes = figure.subplots(1, 2, width_ratios=(1, 2))
    _heat_map(axes[0], importance.heads, "head")
    axes[0].set_xticks(range(heads), [str(i + 1) if heads <= 16 or i % 4 == 3 else "" for i in range(heads)])
    axes[0].set_ylabel("layer")
    image = _heat_map(axes[1], -np.sort(-importance.units, axis=1), "feed-forward unit, the most important first")
    figure.colorbar(image, ax=axes, extend="min")
    figure.suptitle("Worth on training rows, as a share of the layer's best", fontsize=11)
    save_figure(figure, folder / "importance.png", dpi=120)


def _heat_map(axes: Axes, scores: np.ndarray, label: str) -> AxesImage:
    from matplotlib.colors import LogNorm

    best = scores.max(axis=1, keepdims=True)
    shares = np.divide(scores, best, out=np.zeros_like(scores), where=best > 0)
    scale = LogNorm(vmin=LEAST_SHOWN, vmax=1, clip=True)  # few units are worth much more than all others
    image = axes.imshow(shares, aspect="auto", interpolation="nearest", norm=scale)
    axes.set_yticks(range(len(scores)), [str(i + 1) for i in range(len(scores))])
    axes.set_xlabel(label)
    return image
