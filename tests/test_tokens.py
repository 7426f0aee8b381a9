import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supernet.data import tokens
from supernet.data.batches import collate, evaluation_batches, training_batches
from supernet.data.tokens import TokenizedSplit, cache_folder, tokenise
from supernet.runtime.errors import UserError

TEXTS = ["the cat", "a dog and a bird", "", "hello world hello", "cat"]
PAIRS = (TEXTS, TEXTS[::-1])
LABELS = np.arange(5)


def split_of(lengths, types=False):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(10, 10 + offsets[-1], dtype=np.int32)
    return TokenizedSplit(ids, offsets, (ids % 2).astype(np.int8) if types else None, np.arange(len(lengths)))


def rows_of(split):
    return [split.ids[a:b].tolist() for a, b in zip(split.offsets, split.offsets[1:], strict=False)]


lengths_of_rows = st.lists(st.integers(1, 60), min_size=1, max_size=300)


@pytest.mark.parametrize("columns", [(TEXTS,), PAIRS], ids=["one text", "pairs"])
def test_tokens_are_those_of_the_tokenizer(tokenizer, tmp_path, columns):
    split = tokenise(columns, LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    expected = tokenizer(*columns, truncation=True, max_length=12)
    assert rows_of(split) == expected["input_ids"]
    assert split.token_type_ids.tolist() == [i for row in expected["token_type_ids"] for i in row]
    assert split.lengths.tolist() == [len(row) for row in expected["input_ids"]]
    assert split.lengths.max() == 12
    assert len(split) == 5
    assert (split.ids.dtype, split.offsets.dtype, split.labels.tolist()) == (np.int32, np.int64, LABELS.tolist())


def test_many_chunks_equal_one(tokenizer, tmp_path, monkeypatch):
    whole = tokenise(PAIRS, LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path / "a"))
    monkeypatch.setattr(tokens, "_CHUNK_ROWS", 2)
    chunked = tokenise(PAIRS, LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path / "b"))
    assert rows_of(whole) == rows_of(chunked)


def test_a_second_call_reads_the_cache(tokenizer, tmp_path, monkeypatch):
    first = tokenise(PAIRS, LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    monkeypatch.setattr(tokens, "_tokenise", lambda *_: pytest.fail("tokenised again"))
    second = tokenise(PAIRS, LABELS + 1, tokenizer, max_length=12, cache_dir=str(tmp_path))
    assert rows_of(first) == rows_of(second)
    assert first.token_type_ids.tolist() == second.token_type_ids.tolist()
    assert second.labels.tolist() == (LABELS + 1).tolist()


def test_what_the_tokenizer_did_before_does_not_matter(tokenizer, tmp_path):
    tokenizer(["one"], truncation=True, max_length=4, padding=True)
    tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    tokenizer(["two"], truncation=True, max_length=7)
    tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_other_texts_lengths_or_tokenizers_have_another_file(tokenizer, tmp_path):
    other = type(tokenizer)(vocab={**tokenizer.get_vocab(), "cat": 49})
    calls = [
        ((TEXTS,), tokenizer, 12),
        ((TEXTS,), tokenizer, 13),
        ((TEXTS,), other, 12),
        (PAIRS, tokenizer, 12),
        (([*TEXTS[:3], "hello world hell", "ocat"],), tokenizer, 12),
    ]
    for columns, the_tokenizer, max_length in calls:
        tokenise(columns, LABELS, the_tokenizer, max_length=max_length, cache_dir=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == len(calls)


@pytest.mark.parametrize("damage", ["empty", "cut", "changed byte", "other rows"])
def test_a_damaged_cache_file_is_rebuilt(tokenizer, tmp_path, damage):
    expected = tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "other rows":
        np.savez(file, ids=np.zeros(3, np.int32), offsets=np.array([0, 3]))
    elif damage == "changed byte":
        content[content.index(expected.ids.tobytes())] ^= 255
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    again = tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    assert rows_of(again) == rows_of(expected)
    assert rows_of(tokens._read_cache(file, 5)) == rows_of(expected)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_folder_that_cannot_be_written_is_told_in_one_line(tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache folder .* cannot be written .*data\.cache_dir=FOLDER") as e:
        tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path / "file" / "cache"))
    assert "\n" not in str(e.value)


def test_a_failed_write_leaves_nothing_behind(tokenizer, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="the disk is full"):
        tokenise((TEXTS,), LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_slow_tokenizer_is_refused(tmp_path):
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match=r"tokenizer Slow is a slow tokenizer; give a model with a tokenizer\.json"):
        tokenise((TEXTS,), LABELS, Slow(), max_length=12, cache_dir=str(tmp_path))


def test_the_default_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "plm-supernet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / ".cache" / "plm-supernet"
    assert cache_folder("~/mine") == tmp_path / "mine"
    assert os.fspath(cache_folder("here")) == "here"


@given(lengths=lengths_of_rows, data=st.data(), types=st.booleans())
def test_collate_equals_padding_row_by_row(lengths, data, types):
    split = split_of(lengths, types)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20)))
    batch = collate(split, rows, pad_token_id=3)
    longest = max(lengths[i] for i in rows)
    pad = [longest - lengths[i] for i in rows]
    own = [rows_of(split)[i] for i in rows]
    assert batch.inputs["input_ids"].tolist() == [row + [3] * p for row, p in zip(own, pad, strict=True)]
    assert ("attention_mask" in batch.inputs) == any(pad)
    if any(pad):
        mask = [[1] * len(row) + [0] * p for row, p in zip(own, pad, strict=True)]
        assert batch.inputs["attention_mask"].tolist() == mask
    assert ("token_type_ids" in batch.inputs) == types
    if types:
        expected = [[i % 2 for i in row] + [0] * p for row, p in zip(own, pad, strict=True)]
        assert batch.inputs["token_type_ids"].tolist() == expected
    assert all(tensor.dtype == torch.int64 for tensor in batch.inputs.values())
    assert batch.labels.tolist() == rows.tolist() == batch.rows.tolist()
    assert len(batch) == len(rows)


@given(lengths=lengths_of_rows, batch_size=st.integers(1, 20), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_an_epoch_has_every_row_once(lengths, batch_size, seed, epoch):
    split = split_of(lengths)
    batches = training_batches(split, batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sum(len(batch) < batch_size for batch in batches) <= 1
    again = training_batches(split, batch_size, seed=seed, epoch=epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def padding_share(split, batches):
    padded = sum(len(rows) * split.lengths[rows].max() for rows in batches)
    return 1 - split.lengths.sum() / padded


def test_training_batches_differ_between_epochs_and_seeds_and_need_little_padding():
    split = split_of(np.random.default_rng(0).integers(5, 120, 2000))
    epochs = [training_batches(split, 16, seed=s, epoch=e) for s, e in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(sorted(batches[0].tolist())) for batches in epochs}) == 3
    assert all(padding_share(split, batches) < 0.06 for batches in epochs)
    order = np.random.default_rng(0).permutation(2000)
    assert padding_share(split, [order[i : i + 16] for i in range(0, 2000, 16)]) > 0.4


def test_training_batches_do_not_come_in_order_of_length():
    split = split_of(np.arange(1, 513))
    longest = [split.lengths[rows].max() for rows in training_batches(split, 16, seed=0, epoch=0)]
    assert longest != sorted(longest)


@given(lengths=lengths_of_rows, max_tokens=st.integers(1, 500))
def test_evaluation_batches_have_every_row_once_and_fit(lengths, max_tokens):
    split = split_of(lengths)
    batches = evaluation_batches(split, max_tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    in_order = np.concatenate([split.lengths[rows] for rows in batches])
    assert (np.diff(in_order) <= 0).all()
    for rows in batches:
        assert len(rows) == 1 or len(rows) * split.lengths[rows].max() <= max_tokens
