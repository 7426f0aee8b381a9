"""Batches of rows of similar length.

A batch is padded to its longest row. In random batches of GLUE sentences a third to a half of the tokens are padding,
and every forward pass of a training step and every evaluation of a sub-network computes them for nothing. Rows of
similar length need almost no padding. In training, rows are sorted only within windows of some tens of batches of
shuffled rows, so that the batches still differ from epoch to epoch.

Shape letters: B rows of a batch, C sequences of a row, T tokens of its longest sequence, S sequences of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from supernet.data.tokens import TokenizedSplit

WINDOW_BATCHES = 32


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step needs.

    Attributes:
        inputs: Keyword arguments of the model, int64, each (B, T), or (B, C, T) if C > 1: input_ids, attention_mask
            only if some sequence is padded (attention is faster without a mask), token_type_ids if the model has them.
        labels: (B,).
        rows: (B,). The rows' numbers in the split.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def collate(split: TokenizedSplit, rows: np.ndarray, pad_token_id: int, device: torch.device | str = "cpu") -> Batch:
    """The rows as one batch on a device, padded on the right to the longest of their sequences.

    Args:
        rows: (B,). Row numbers, B >= 1.
        pad_token_id: Token id of the padding; padded token types are 0.
    """
    rows = np.asarray(rows)
    several = split.sequences > 1
    shape = (len(rows), split.sequences, -1) if several else (len(rows), -1)
    sequences_S = split.sequences_of(rows)
    starts_S, lengths_S = split.offsets[sequences_S], split.offsets[sequences_S + 1] - split.offsets[sequences_S]
    columns_T = np.arange(lengths_S.max())
    mask_ST = columns_T < lengths_S[:, None]
    # Padded places read some token of the same split, which is then overwritten.
    places_ST = np.minimum(starts_S[:, None] + columns_T, len(split.ids) - 1)
    arrays = {"input_ids": np.where(mask_ST, split.ids[places_ST], pad_token_id).astype(np.int64)}
    if several or not mask_ST.all():  # some models of multiple choice need the mask
        arrays["attention_mask"] = mask_ST.astype(np.int64)
    if split.token_type_ids is not None:
        arrays["token_type_ids"] = np.where(mask_ST, split.token_type_ids[places_ST], 0).astype(np.int64)
    inputs = {name: torch.from_numpy(array.reshape(shape)).to(device) for name, array in arrays.items()}
    return Batch(inputs, torch.from_numpy(split.labels[rows]).to(device), rows)


def training_batches(
    split: TokenizedSplit, batch_size: int, *, seed: int, epoch: int, window: int = WINDOW_BATCHES
) -> list[np.ndarray]:
    """The row numbers of one epoch's batches: every row once, rows of similar length together, in random order.

    The rows are shuffled by (seed, epoch) and cut into windows of `window` batches; each window is sorted by
    length and cut into batches; then all batches are shuffled. At most one batch is smaller than `batch_size`.

    Args:
        batch_size: Rows per batch, at least 1.
        seed: Not negative, as is `epoch`. The same two give the same batches on every machine.
        window: 1 makes batches of plainly shuffled rows.
    """
    rng = np.random.default_rng([seed, epoch])
    order, lengths = rng.permutation(len(split)), split.lengths
    batches: list[np.ndarray] = []
    for start in range(0, len(order), window * batch_size):
        rows = order[start : start + window * batch_size]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_batches(split: TokenizedSplit, max_tokens: int, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """The row numbers of batches for evaluation: every row once, longest first, each batch as large as fits.

    Longest first, so that a batch that does not fit into memory fails at once. Every call gives the same batches.

    Args:
        max_tokens: Upper limit of sequences times longest sequence; a row that exceeds it is a
            batch of its own.
        rows: The rows' numbers; None for all rows.
    """
    lengths = split.lengths * split.sequences
    rows = np.arange(len(split)) if rows is None else rows
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        size = max(1, int(max_tokens // max(1, lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches
