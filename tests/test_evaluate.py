"""Evaluation computes what the plain model computes, and of its depths what the shallower models compute."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForMultipleChoice

from supernet.data.batches import collate
from supernet.data.tokens import TokenizedSplit
from supernet.evaluation.early_exits import first_token_only
from supernet.evaluation.evaluator import Evaluator, error_margin
from supernet.evaluation.latency import random_inputs
from supernet.models.families import architecture_of, family_of
from supernet.models.slicing import extract
from supernet.space.cost import Workload
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.fixtures import read_task
from tests.models import FAMILY_NAMES, VARIANTS, tiny_model

families = pytest.mark.parametrize("family", [*FAMILY_NAMES, *sorted(VARIANTS)])

FULL = SubNetwork.uniform(range(4), 4, 10)
UNEVEN = SubNetwork((LayerSlice(0, range(0), range(3)), LayerSlice(1, range(3), range(7)), LayerSlice(3, (1, 3), ())))
NO_FIRST_LAYER = SubNetwork((LayerSlice(1, range(3), range(7)), LayerSlice(3, range(1), (0, 3, 9))))
NO_LAST_ATTENTION = SubNetwork((LayerSlice(0, range(2), range(3)), LayerSlice(2, range(0), (1, 4))))
ONE_LAYER = SubNetwork.uniform([0], 2, 5)
SUBNETS = (FULL, UNEVEN, NO_FIRST_LAYER, NO_LAST_ATTENTION, ONE_LAYER, SubNetwork(()))


def split_of(config, rows=5, choices=0, labels=None):
    """Random rows (or choices) of 3 to 12 tokens."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 13, rows * max(1, choices))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    types = rng.integers(0, 2, offsets[-1]).astype(np.int8) if family_of(config).token_types(config) else None
    labels = rng.integers(0, choices or config.num_labels, rows) if labels is None else labels
    return TokenizedSplit(rng.integers(5, 50, offsets[-1]).astype(np.int32), offsets, types, labels, max(1, choices))


def plainly(model, split):
    """Logits of each row by itself, without anything of the evaluator's."""
    with torch.no_grad():
        parts = [model(**collate(split, np.array([i]), 1).inputs).logits for i in range(len(split))]
    return torch.cat(parts).numpy()


def evaluator(split, tokenizer, **values):
    return Evaluator(split, read_task("mnli"), tokenizer, max_tokens=30, **values)


def assert_close(found, expected, dtype=torch.float64):
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-5)


@families
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_are_those_of_the_plain_model(family, dtype, tokenizer):
    model = tiny_model(family, dtype=dtype)
    split = split_of(model.config)
    for subnet in SUBNETS:
        small = extract(model, subnet, share=True)
        assert_close(evaluator(split, tokenizer).logits(small), plainly(small, split), dtype)


@families
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_depth_is_the_shallower_model(family, dtype, tokenizer):
    model = tiny_model(family, dtype=dtype)
    split = split_of(model.config)
    for subnet in SUBNETS:
        found = evaluator(split, tokenizer).early_exit_logits(extract(model, subnet, share=True))
        ends_with_first_layer = family_of(model.config).first_stays and subnet.layers and subnet.layers[0].index == 0
        assert len(found) == len(subnet.layers) + (not ends_with_first_layer)
        for logits, shallower in zip(found, (subnet, *subnet.prefixes()), strict=False):
            assert_close(logits, plainly(extract(model, shallower), split), dtype)


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"])
def test_every_depth_of_multiple_choice(family, tokenizer):
    model = tiny_model(family, 1, auto=AutoModelForMultipleChoice)
    split = split_of(model.config, rows=5, choices=3)
    choice = Evaluator(split, read_task("swag"), tokenizer, max_tokens=80)
    found = choice.early_exit_logits(extract(model, NO_FIRST_LAYER, share=True))
    assert found.shape == (3, 5, 3)
    for logits, shallower in zip(found, (NO_FIRST_LAYER, *NO_FIRST_LAYER.prefixes()), strict=True):
        assert_close(logits, plainly(extract(model, shallower), split))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_multiple_choice_of_modernbert_looks_at_the_mask(pooling, tokenizer):
    model = tiny_model("modernbert", 1, auto=AutoModelForMultipleChoice, classifier_pooling=pooling)
    for rows in (1, 5):  # a batch without padding, and one with
        split = split_of(model.config, rows=rows, choices=3)
        choice = Evaluator(split, read_task("swag"), tokenizer, max_tokens=80)
        assert_close(choice.early_exit_logits(model), plainly(model, split)[None])
        assert_close(choice.logits(model), plainly(model, split))
    assert model(**random_inputs(model, Workload(2, 8))).logits.shape == (2, 1)


def test_a_classifier_that_reads_all_tokens_gets_all(tokenizer):
    model = tiny_model("modernbert", classifier_pooling="mean")
    split = split_of(model.config)
    assert_close(evaluator(split, tokenizer).early_exit_logits(model), plainly(model, split)[None])


@families
def test_the_last_feed_forward_block_sees_first_tokens_alone(family):
    model = tiny_model(family).requires_grad_(False)
    batch, a = collate(split_of(model.config), np.arange(5), 1).inputs, architecture_of(model.config)
    flops = []
    for early_exits in (False, True, None):
        with FlopCounterMode(display=False) as counter:
            if early_exits is None:
                model(**batch)
            else:
                with first_token_only(model, early_exits=early_exits) as depths:
                    model(**batch)
        flops.append(counter.get_total_flops())
    alone, every, plain = flops
    rows, tokens = batch["input_ids"].shape
    assert plain - alone >= 2 * rows * (tokens - 1) * a.units * a.unit_macs
    assert every - alone == (depths - 1) * rows * 2 * a.classifier_macs


def test_the_model_is_left_as_it_was(tokenizer):
    model = tiny_model("bert").train()
    split = split_of(model.config)

    def hooked():
        return sum(bool(module._forward_hooks or module._forward_pre_hooks) for module in model.modules())

    evaluator(split, tokenizer).early_exit_logits(model)
    assert model.training
    with first_token_only(model, early_exits=True):
        assert hooked() == 5
    assert hooked() == 0
    bad = dataclasses.replace(split, ids=split.ids + 50)  # words that the model has not
    with pytest.raises(IndexError):
        evaluator(bad, tokenizer).logits(model)
    assert model.training
    assert hooked() == 0


def test_error_and_loss_of_classes(tokenizer):
    model = tiny_model("bert")
    split = split_of(model.config, rows=20)
    evaluation = evaluator(split, tokenizer)
    logits, scores = plainly(model, split), evaluation.evaluate(model)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores.error == evaluation.error(model) == np.mean(logits.argmax(axis=1) != split.labels)
    np.testing.assert_allclose(scores.loss, -np.log(probabilities[np.arange(20), split.labels]).mean())
    depths = [evaluation.scores(x) for x in evaluation.early_exit_logits(model)]
    assert len(depths) == 5
    np.testing.assert_allclose((depths[0].error, depths[0].loss), (scores.error, scores.loss))
    assert len({scores.loss for scores in depths}) == 5


def test_error_and_loss_of_numbers(tokenizer):
    model = tiny_model("bert", num_labels=1)
    split = split_of(model.config, labels=np.linspace(0, 5, 5, dtype=np.float32))
    scores = Evaluator(split, read_task("stsb"), tokenizer).evaluate(model)
    predicted = plainly(model, split)[:, 0]
    ranks = [np.argsort(np.argsort(x)) for x in (predicted, split.labels)]
    np.testing.assert_allclose(scores.error, 1 - np.corrcoef(*ranks)[0, 1])
    np.testing.assert_allclose(scores.loss, np.mean((predicted - split.labels) ** 2))


def test_stopping_early(tokenizer):
    model = tiny_model("bert")
    split = split_of(model.config, rows=40)
    parts = evaluator(split, tokenizer, parts=4)
    whole = parts.evaluate(model)
    np.testing.assert_array_equal(parts.logits(model).argmax(axis=1), plainly(model, split).argmax(axis=1))
    found = parts.evaluate_unless_worse(model, whole.error)
    assert (found.error, found.rows) == (whole.error, 40)
    np.testing.assert_allclose(found.loss, whole.loss)
    stopped = parts.evaluate_unless_worse(model, whole.error - 0.5, confidence=0.6)
    assert stopped.rows in (10, 20, 30)
    assert parts.evaluate_unless_worse(model, whole.error - 0.5, confidence=0.6) == stopped
    rows = np.concatenate([batch.rows for part in parts.parts for batch in part])[: stopped.rows]
    assert stopped.error == np.mean(plainly(model, split)[rows].argmax(axis=1) != split.labels[rows])
    with pytest.raises(ValueError, match="only stop early for accuracy, not for matthews"):
        Evaluator(split, read_task("cola"), tokenizer).evaluate_unless_worse(model, 0.5)


@pytest.mark.parametrize("risk", [0.01, 0.1])
def test_the_margin_of_an_error_holds(risk):
    rng = np.random.default_rng(0)
    wrong = np.arange(200) < 60
    means = rng.permuted(np.tile(wrong, (5000, 1)), axis=1).cumsum(axis=1) / np.arange(1, 201)
    for seen in (10, 50, 100, 150, 199):
        assert np.mean(means[:, seen - 1] - wrong.mean() > error_margin(seen, 200, risk)) <= risk
        assert error_margin(seen, 200, risk) > error_margin(seen + 1, 200, risk)
    assert error_margin(200, 200, risk) == 0.0


def test_mixed_precision_computes_in_it_and_answers_in_single(tokenizer):
    model = tiny_model("bert", dtype=torch.float32)
    split = split_of(model.config)
    single, half = (evaluator(split, tokenizer, mixed_precision=name).logits(model) for name in ("no", "bf16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(half - single).max() < 0.1 * np.abs(single).max()


def test_prefixes_lack_one_layer_more_each():
    assert ONE_LAYER.prefixes() == (SubNetwork(()),)
    assert SubNetwork(()).prefixes() == ()
    assert FULL.prefixes() == tuple(SubNetwork.uniform(range(n), 4, 10) for n in (3, 2, 1, 0))
    assert UNEVEN.prefixes()[1].layers == UNEVEN.layers[:1]
