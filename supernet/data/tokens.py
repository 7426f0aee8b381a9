"""Tokenised splits in flat arrays, and their cache on disk.

A row is a sequence of tokens; in multiple choice, a sequence for each choice.

Shape letters: C sequences of a row, n rows of the split, s its sequences (n times C), t its tokens.
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

from supernet.runtime.errors import UserError
from supernet.runtime.storage import user_path, writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHUNK_ROWS = 2048  # rows per call of the tokenizer: enough to use all cores, few enough to bound the memory
_CACHE_FORMAT = "plm-supernet tokens 1"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences of token ids in one flat array.

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
class TokenizedSplit(Tokens):
    """A tokenised split.

    Attributes:
        labels: The n labels, see `TextSplit`.
        sequences: C, sequences of each row: those of row i begin at i * C.
    """

    labels: np.ndarray
    sequences: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64. Tokens of each row's longest sequence."""
        return self.sequence_lengths.reshape(-1, self.sequences).max(axis=1)

    def take(self, rows_m: np.ndarray) -> TokenizedSplit:
        """The rows of the given numbers, in that order."""
        sequences_s = self.sequences_of(rows_m)
        lengths = self.sequence_lengths[sequences_s]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.repeat(self.offsets[sequences_s] - offsets[:-1], lengths) + np.arange(offsets[-1])
        types = None if self.token_type_ids is None else self.token_type_ids[tokens]
        return TokenizedSplit(self.ids[tokens], offsets, types, self.labels[rows_m], self.sequences)

    def sequences_of(self, rows_m: np.ndarray) -> np.ndarray:
        """(m * C,) the numbers of the rows' sequences."""
        return (rows_m[:, None] * self.sequences + np.arange(self.sequences)).ravel()

    def digest(self) -> str:
        """16 hexadecimal digits that stand for the rows, in their order."""
        sha256 = hashlib.sha256()
        for array in (self.ids, self.offsets, self.labels):
            sha256.update(np.ascontiguousarray(array).tobytes())
        return sha256.hexdigest()[:16]


def tokenise(
    columns: Sequence[Sequence[str]],
    labels: np.ndarray,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    cache_dir: str | None = None,
    sequences: int = 1,
) -> TokenizedSplit:
    """Tokenise rows, or take them from the cache.

    If a row has several sequences, as in multiple choice, each is a pair: the first text; and the second text, if the
    task has a second text, followed by a choice.

    The cache file is named after a hash of the texts, the tokenizer and `max_length`, so it cannot be stale. It
    is written under another name and then renamed, so several processes may write it. A damaged file is rebuilt.

    Args:
        columns: One or two lists of n texts. If a row has several sequences, C more lists with the choices.
        labels: n labels. They are kept as they are and not cached.
        sequences: C, sequences of each row.
        tokenizer: A fast tokenizer. Longer sequences than `max_length` tokens are cut; in pairs, the longer text.
        cache_dir: None for `$XDG_CACHE_HOME/plm-supernet` or `~/.cache/plm-supernet`.

    Raises:
        UserError: if the tokenizer is slow, or the cache folder cannot be written.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"tokenizer {type(tokenizer).__name__} is a slow tokenizer; give a model with a tokenizer.json")
    file = cache_folder(cache_dir) / f"{_fingerprint(columns, tokenizer, max_length, sequences)}.npz"
    tokens = _read_cache(file, len(labels) * sequences)
    if tokens is None:
        tokens = _tokenise(columns, tokenizer, max_length, sequences)
        _write_cache(file, tokens)
    return TokenizedSplit(tokens.ids, tokens.offsets, tokens.token_type_ids, labels, sequences)


def text_rows(columns: Sequence[Sequence[str]], sequences: int = 1) -> list[Any]:
    """Rows as `supernet.export.engines.Engine.logits` takes them, from columns as `tokenise` takes them.

    Returns:
        For each row the list of its one or two texts; if it has several sequences, a list of C such lists.
    """
    if sequences == 1:
        return [list(row) for row in zip(*columns, strict=True)]
    firsts, seconds = _pairs(columns, sequences)
    flat = [[first, second] for first, second in zip(firsts, seconds, strict=True)]
    return [flat[i : i + sequences] for i in range(0, len(flat), sequences)]


def cache_folder(cache_dir: str | None) -> Path:
    """The folder for cached files: `cache_dir`, or plm-supernet under `$XDG_CACHE_HOME` or `~/.cache`."""
    if cache_dir is not None:
        return user_path(cache_dir)
    home = os.path.expanduser("~")
    if home == "~" and not os.environ.get("XDG_CACHE_HOME"):
        raise UserError("there is no home folder to keep tokenised rows in; give data.cache_dir=FOLDER, or set HOME")
    return Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "plm-supernet"


def _tokenise(
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, sequences: int
) -> Tokens:
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    rows = max(1, _CHUNK_ROWS // sequences)
    for start in range(0, len(columns[0]), rows):
        texts = [list(column[start : start + rows]) for column in columns]
        if sequences > 1:
            texts = _pairs(texts, sequences)
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
    """The first texts and the second texts of all sequences, row by row."""
    context, endings = texts[:-choices], texts[-choices:]
    starts = [f"{start} " if start else "" for start in context[1]] if len(context) > 1 else [""] * len(context[0])
    firsts = [text for text in context[0] for _ in range(choices)]
    return [firsts, [start + end for start, *ends in zip(starts, *endings, strict=True) for end in ends]]


def _joined(chunks: list[np.ndarray], dtype: Any) -> np.ndarray:
    """The chunks in one array. Each chunk is freed after it is copied, so that memory never holds all twice."""
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
    columns: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, sequences: int
) -> str:
    """Hash of all that the tokens depend on."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    # The last call's truncation and padding are part of the tokenizer's state; our calls set them each time.
    content = {key: value for key, value in backend.items() if key not in ("truncation", "padding")}
    settings = [_CACHE_FORMAT, max_length, tokenizer.truncation_side, list(tokenizer.model_input_names), content]
    settings += [{"choices": sequences}] if sequences > 1 else []
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
