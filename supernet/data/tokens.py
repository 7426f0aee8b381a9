"""Tokenised splits in flat arrays, their cache on disk, and batches of rows of similar length.

Why grouping by length: a batch is padded to its longest row. In random batches of GLUE sentences a third to a half of
the tokens are padding, computed for nothing in every one of the forward passes that a training step makes and in
every evaluation of a sub-network. Rows of similar length need almost none. Training groups only inside windows of
some tens of batches of shuffled rows, so that the batches still differ from epoch to epoch.

A row of multiple choice is one sequence of tokens for each choice; of any other task it is one sequence.

Shape letters: B rows of a batch, C choices, T tokens of its longest sequence, n rows of the split, s its sequences
(n, or n times C), t its tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path, writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOW_BATCHES = 32
_CHUNK_ROWS = 2048  # rows per call of the tokenizer: enough to use all cores, few enough to bound the memory
_CACHE_FORMAT = "plm-supernet tokens 1"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences of token ids, one after the other.

    Attributes:
        ids: (t,) int32. Token ids of all sequences.
        offsets: (s + 1,) int64. Sequence i is `ids[offsets[i]:offsets[i + 1]]`.
        token_type_ids: (t,) int8, or None if the model has none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    token_type_ids: np.ndarray | None

    @property
    def sequence_lengths(self) -> np.ndarray:
        """(s,) int64. Tokens of each sequence."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class Split(Tokens):
    """A tokenised split.

    Attributes:
        labels: (n,) int64 label ids, or float32 for regression.
        choices: C, sequences of each row in multiple choice: those of row i begin at i * C. 0 for any other task.
    """

    labels: np.ndarray
    choices: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64. Tokens of each row's longest sequence."""
        lengths = self.sequence_lengths
        return lengths.reshape(-1, self.choices).max(axis=1) if self.choices else lengths

    def take(self, rows_m: np.ndarray) -> Split:
        """The rows of the given numbers, in that order."""
        sequences = rows_m
        if self.choices:
            sequences = (rows_m[:, None] * self.choices + np.arange(self.choices)).ravel()
        lengths = np.diff(self.offsets)[sequences]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.repeat(self.offsets[sequences] - offsets[:-1], lengths) + np.arange(offsets[-1])
        types = None if self.token_type_ids is None else self.token_type_ids[tokens]
        return Split(self.ids[tokens], offsets, types, self.labels[rows_m], self.choices)

    def digest(self) -> str:
        """16 hexadecimal digits that stand for the rows, in their order."""
        sha256 = hashlib.sha256()
        for array in (self.ids, self.offsets, self.labels):
            sha256.update(np.ascontiguousarray(array).tobytes())
        return sha256.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step needs.

    Attributes:
        inputs: Keyword arguments of the model, each (B, T) or (B, C, T) int64: input_ids, attention_mask only if some
            sequence is padded (without one attention runs faster), token_type_ids if the model has them.
        labels: (B,).
        rows: (B,). The rows' numbers in the split.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def tokenise(
    columns: Sequence[Sequence[str]],
    labels: np.ndarray,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | None = None,
    choices: int = 0,
) -> Split:
    """Tokenise rows, or take them from the cache.

    In multiple choice a row's sequences are pairs: the first text, and the second text, if there is one, continued by
    each choice in turn.

    The cache file is named after a hash of the very texts, the tokenizer and `max_length`, so it cannot be stale. It
    is written under another name and then renamed: several processes may do so at once. A damaged file is rebuilt.

    Args:
        columns: One or two sequences of n texts, then `choices` more.
        labels: (n,). Kept as they are, not part of the cache.
        choices: C, columns that are the choices of multiple choice; 0 for any other task.
        tokenizer: A fast tokenizer. What is longer than `max_length` tokens is truncated, of pairs the longer text.
        cache_dir: None for `$XDG_CACHE_HOME/plm-supernet` or `~/.cache/plm-supernet`.

    Raises:
        UserError: if the tokenizer is a slow one, or the cache folder cannot be written.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"tokenizer {type(tokenizer).__name__} is a slow one; give a model that has a tokenizer.json")
    file = cache_folder(cache_dir) / f"{_fingerprint(columns, tokenizer, max_length, choices)}.npz"
    tokens = _read_cache(file, len(labels) * max(1, choices))
    if tokens is None:
        tokens = _tokenise(columns, tokenizer, max_length, choices)
        _write_cache(file, tokens)
    return Split(tokens.ids, tokens.offsets, tokens.token_type_ids, labels, choices)


def cache_folder(cache_dir: str | None) -> Path:
    """The folder for cached files: `cache_dir`, or plm-supernet under `$XDG_CACHE_HOME` or `~/.cache`."""
    if cache_dir is not None:
        return user_path(cache_dir)
    home = os.path.expanduser("~")
    if home == "~" and not os.environ.get("XDG_CACHE_HOME"):
        raise UserError("there is no home folder to keep tokenised rows in; give data.cache_dir=FOLDER, or set HOME")
    return Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "plm-supernet"


def _tokenise(
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, choices: int
) -> Tokens:
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    rows = max(1, _CHUNK_ROWS // max(1, choices))
    for start in range(0, len(columns[0]), rows):
        texts = [list(column[start : start + rows]) for column in columns]
        if choices:
            texts = _pairs(texts, choices)
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_attention_mask=False)
        lengths.append(np.array([len(row) for row in encoded["input_ids"]], np.int64))
        ids.append(_flat(encoded["input_ids"], np.int32))
        if "token_type_ids" in encoded:
            types.append(_flat(encoded["token_type_ids"], np.int8))
    all_lengths = _joined(lengths, np.int64)
    offsets = np.zeros(len(all_lengths) + 1, np.int64)
    np.cumsum(all_lengths, out=offsets[1:])
    return Tokens(_joined(ids, np.int32), offsets, _joined(types, np.int8) if types else None)


def _pairs(texts: Sequence[Sequence[str]], choices: int) -> list[list[str]]:
    """First and second texts of each row's sequences, one after the other."""
    context, endings = texts[:-choices], texts[-choices:]
    starts = [f"{start} " if start else "" for start in context[1]] if len(context) > 1 else [""] * len(context[0])
    firsts = [text for text in context[0] for _ in range(choices)]
    return [firsts, [start + end for start, *ends in zip(starts, *endings, strict=True) for end in ends]]


def _joined(chunks: list[np.ndarray], dtype: Any) -> np.ndarray:
    """The chunks in one array. Each is let go when it is copied, so that they are not in memory twice."""
    whole = np.empty(sum(map(len, chunks)), dtype)
    end = len(whole)
    while chunks:
        chunk = chunks.pop()
        whole[end - len(chunk) : end] = chunk
        end -= len(chunk)
    return whole


def _flat(rows: list[list[int]], dtype: Any) -> np.ndarray:
    return np.fromiter((value for row in rows for value in row), dtype, sum(map(len, rows)))


def _fingerprint(
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, choices: int
) -> str:
    """Hash of all that the tokens depend on."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # The last call's truncation and padding are part of the tokenizer's state; ours are set anew on each call.
    content = {key: value for key, value in backend.items() if key not in ("truncation", "padding")}
    settings = [_CACHE_FORMAT, max_length, tokenizer.truncation_side, list(tokenizer.model_input_names), content]
    settings += [{"choices": choices}] if choices else []
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for column in columns:
        digest.update(f"\0{len(column)}\0".encode())
        for text in column:
            encoded = text.encode()
            digest.update(b"%d:" % len(encoded))
            digest.update(encoded)
    return digest.hexdigest()[:40]


def _read_cache(file: Path, sequences: int) -> Tokens | None:
    """The cached tokens, None if there are none or the file is damaged (a zip file carries check sums)."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            ids, offsets = arrays["ids"], arrays["offsets"]
            types = arrays.get("token_type_ids")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        return None
    consistent = len(offsets) == sequences + 1 and offsets[-1] == len(ids) and (types is None or len(types) == len(ids))
    return Tokens(ids, offsets, types) if consistent else None


def _write_cache(file: Path, tokens: Tokens) -> None:
    arrays = {f.name: getattr(tokens, f.name) for f in fields(tokens)}
    temporary: str | None = None
    with writing(f"the cache folder {file.parent}", "data.cache_dir=FOLDER"):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".tokens-", dir=file.parent)
            with os.fdopen(descriptor, "wb") as stream:
                np.savez(stream, **{name: array for name, array in arrays.items() if array is not None})
            os.replace(temporary, file)
        except OSError:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            raise


def collate(split: Split, rows: np.ndarray, pad_token_id: int, device: torch.device | str = "cpu") -> Batch:
    """The rows as one batch on a device, padded on the right to the longest of their sequences.

    Args:
        rows: (B,). Row numbers, B >= 1.
        pad_token_id: Token id of the padding; padded token types are 0.
    """
    rows = np.asarray(rows)
    shape = (len(rows), split.choices, -1) if split.choices else (len(rows), -1)
    sequences_S = (rows[:, None] * split.choices + np.arange(split.choices)).ravel() if split.choices else rows
    starts_S, lengths_S = split.offsets[sequences_S], split.offsets[sequences_S + 1] - split.offsets[sequences_S]
    columns_T = np.arange(lengths_S.max())
    mask_ST = columns_T < lengths_S[:, None]
    # Padded places read some token of the same split, which is then overwritten.
    places_ST = np.minimum(starts_S[:, None] + columns_T, len(split.ids) - 1)
    arrays = {"input_ids": np.where(mask_ST, split.ids[places_ST], pad_token_id).astype(np.int64)}
    if split.choices or not mask_ST.all():  # some models of multiple choice cannot do without
        arrays["attention_mask"] = mask_ST.astype(np.int64)
    if split.token_type_ids is not None:
        arrays["token_type_ids"] = np.where(mask_ST, split.token_type_ids[places_ST], 0).astype(np.int64)
    inputs = {name: torch.from_numpy(array.reshape(shape)).to(device) for name, array in arrays.items()}
    return Batch(inputs, torch.from_numpy(split.labels[rows]).to(device), rows)


def training_batches(
    split: Split, batch_size: int, *, seed: int, epoch: int, window: int = WINDOW_BATCHES
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


def evaluation_batches(split: Split, max_tokens: int, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """The row numbers of batches for evaluation: every row once, longest first, as many as fit.

    Longest first, so that a batch that does not fit into memory fails at once. The same for every call.

    Args:
        max_tokens: Upper limit of sequences times longest sequence; a row that has more by itself is a batch of its
            own.
        rows: The rows' numbers, if they are not all.
    """
    lengths = split.lengths * max(1, split.choices)
    rows = np.arange(len(split)) if rows is None else rows
    order = rows[np.argsort(-lengths[rows], kind="stable")]
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        size = max(1, int(max_tokens // max(1, lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches
