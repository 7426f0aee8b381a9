"""Multiple choice: rows of several sequences, a model that scores each, and a supernet of it."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

from supernet.data.batches import collate, evaluation_batches, training_batches
from supernet.data.load import load_rows, load_task
from supernet.data.tokens import tokenise
from supernet.evaluation.evaluator import Evaluator
from supernet.models.pretrained import load_pretrained, load_tokenizer, read_classifier
from supernet.models.slicing import extract, view
from supernet.options.data import DataOptions
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.fixtures import read_task
from tests.models import tiny_config

CONTEXT = ["the tree", "a land of rain and fog", "rain"]
START = ["it", "", "the fog"]
ENDINGS = (["is", "a tree", "stood"], ["ran", "fell and was gone", "in"], ["hid", "h", "on"])
LABELS = np.array([2, 0, 1])


@pytest.fixture
def folder(tmp_path):
    """Files of a task like SWAG with three endings, the right one of which is easy to see."""
    rng = np.random.default_rng(0)
    for name, count in (("train", 60), ("validation", 20)):
        rows = []
        for _ in range(count):
            label, words = int(rng.integers(3)), rng.choice(["tree", "land", "rain"], 3)
            endings = {f"ending{i}": ("fog " * (i == label)) + word for i, word in enumerate(words)}
            rows.append({"sent1": "the land", "sent2": "it", "label": label} | endings)
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def swag(**values):
    return read_task("swag", choices=["ending0", "ending1", "ending2"], max_length=24, **values)


def split_of(tokenizer, tmp_path, columns, **values):
    return tokenise(columns, LABELS, tokenizer, max_length=24, cache_dir=str(tmp_path), sequences=3, **values)


@pytest.mark.parametrize("starts", [True, False])
def test_each_choice_is_a_pair_with_the_context(tokenizer, tmp_path, starts):
    columns = (CONTEXT, START, *ENDINGS) if starts else (CONTEXT, *ENDINGS)
    split = split_of(tokenizer, tmp_path, columns)
    assert (len(split), split.sequences, len(split.offsets)) == (3, 3, 10)
    for i in range(3):
        for j in range(3):
            second = (f"{START[i]} " if starts and START[i] else "") + ENDINGS[j][i]
            expected = tokenizer(CONTEXT[i], second, truncation=True, max_length=24)
            k = 3 * i + j
            assert split.ids[split.offsets[k] : split.offsets[k + 1]].tolist() == expected["input_ids"]
            types = split.token_type_ids[split.offsets[k] : split.offsets[k + 1]]
            assert types.tolist() == expected["token_type_ids"]
    assert split.lengths.tolist() == split.sequence_lengths.reshape(3, 3).max(axis=1).tolist()


def test_the_cache_tells_choices_from_texts(tokenizer, tmp_path):
    columns = (CONTEXT, START, *ENDINGS)
    first = split_of(tokenizer, tmp_path, columns)
    assert split_of(tokenizer, tmp_path, columns).digest() == first.digest()
    tokenise(columns[:2], LABELS, tokenizer, max_length=12, cache_dir=str(tmp_path))
    split_of(tokenizer, tmp_path, columns[1:])
    assert len(list(tmp_path.iterdir())) == 3


def test_batches_have_the_choices_of_a_row_together(tokenizer, tmp_path):
    split = split_of(tokenizer, tmp_path, (CONTEXT, START, *ENDINGS))
    batch = collate(split, np.array([2, 0]), pad_token_id=1)
    longest = split.lengths[[2, 0]].max()
    assert {tuple(tensor.shape) for tensor in batch.inputs.values()} == {(2, 3, longest)}
    assert batch.labels.tolist() == [1, 2]
    for b, i in enumerate((2, 0)):
        for j in range(3):
            own = split.ids[split.offsets[3 * i + j] : split.offsets[3 * i + j + 1]].tolist()
            assert batch.inputs["input_ids"][b, j].tolist() == own + [1] * (longest - len(own))
            assert batch.inputs["attention_mask"][b, j].sum() == len(own)
    assert sorted(np.concatenate(training_batches(split, 2, seed=0, epoch=0)).tolist()) == [0, 1, 2]
    batches = evaluation_batches(split, 2 * 3 * int(split.lengths.max()))
    assert [len(rows) for rows in batches] == [2, 1]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_words_can_be_looked_up_before_and_sub_networks_run(tokenizer, tmp_path, family):
    torch.manual_seed(0)
    model = AutoModelForMultipleChoice.from_config(tiny_config(family, 1)).double().eval()
    split = split_of(tokenizer, tmp_path, (CONTEXT, START, *ENDINGS))
    inputs = dict(collate(split, np.arange(3), pad_token_id=1).inputs)
    if family == "roberta":
        inputs["token_type_ids"] = torch.zeros_like(inputs["token_type_ids"])
    expected = model(**inputs).logits
    assert expected.shape == (3, 3)
    words = model.get_input_embeddings()(inputs.pop("input_ids"))
    torch.testing.assert_close(model(inputs_embeds=words, **inputs).logits, expected)
    subnet = SubNetwork((LayerSlice(0, range(2), range(4)), LayerSlice(2, range(1), range(0))))
    small = view(model, subnet)(inputs_embeds=words, **inputs).logits
    assert small.shape == (3, 3)
    torch.testing.assert_close(extract(model, subnet)(inputs_embeds=words, **inputs).logits, small)


def test_a_model_of_choices_is_made_evaluated_saved_and_read(folder, model_folder, tmp_path):
    options = DataOptions(dir=str(folder), cache_dir=str(tmp_path / "cache"))
    tokenizer = load_tokenizer(model_folder)
    data = load_task(swag(), options, tokenizer)
    model, _ = load_pretrained(model_folder, data.task, seed=0, labels=np.zeros(2))
    assert type(model).__name__ == "BertForMultipleChoice"
    logits = Evaluator(data.test, data.task, tokenizer).logits(model)
    assert logits.shape == (20, 3)
    one = Evaluator(data.test, data.task, tokenizer, max_tokens=1).logits(model)
    np.testing.assert_allclose(one, logits, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    again = read_classifier(tmp_path / "saved", data.task)
    np.testing.assert_allclose(Evaluator(data.test, data.task, tokenizer).logits(again), logits, atol=1e-6)
    same, _ = load_pretrained(model_folder, data.task, seed=0, labels=np.zeros(2))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_choices_from_files_of_the_users_own(folder):
    options = DataOptions(dir=str(folder), text="sent1", choices=["ending0", "ending2", "ending1"])
    rows = load_rows(read_task("custom"), options)
    assert (rows.task.kind, rows.task.metric, rows.task.label) == ("choice", "accuracy", "label")
    assert rows.task.choices == ("ending0", "ending2", "ending1")
    assert len(rows.train.columns) == 4
    assert not rows.task.is_open
    assert rows.task.parse_label("ending2") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": 3},
            "label 3 in column 'label' is not allowed; task 'swag' takes ids or class names: 0 (ending0), 1",
        ),
        ({"ending1": 5}, "train.jsonl:1: column 'ending1' holds 5; it must hold text"),
        ({"sent1": "", "sent2": " "}, "train.jsonl:1: no text in column sent1, sent2"),
    ],
)
def test_bad_rows_of_choices_are_told(folder, change, message):
    lines = (folder / "train.jsonl").read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | change)
    (folder / "train.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        load_rows(swag(), DataOptions(dir=str(folder)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"choices": ["a"]}, "the columns of two or more choices"),
        ({"choices": ["sent1", "b"]}, "columns that are not among the choices (sent1 is)"),
        ({"label": "ending0"}, "a column that is not among the texts"),
        ({"metric": "f1"}, "give accuracy for choice"),
        ({"classes": ["a", "b"]}, "either two or more classes, or label_range=[low, high] for regression, or choices"),
    ],
)
def test_values_that_describe_no_choices_are_refused(values, message):
    with pytest.raises(UserError) as caught:
        read_task("swag", **values)
    assert message in str(caught.value)
