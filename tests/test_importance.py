"""Scores of heads and units against a slow, obvious reference; the order that follows from them changes no result."""

import numpy as np
import pytest
import torch

from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.data.batches import Batch
from supernet.models.families import architecture_of, family_of
from supernet.models.losses import cross_entropy
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import Sizes
from supernet.training.importance import (
    Importance,
    measure_importance,
    order_by_importance_,
    read_importance,
    write_importance,
)
from supernet.training.train import train
from tests.models import FAMILY_NAMES, tiny_model


def batches(model, count=2):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        ids = torch.randint(5, model.config.vocab_size, (3, 7), generator=generator)
        mask = torch.ones_like(ids)
        ids[2, 5:], mask[2, 5:] = model.config.pad_token_id, 0
        labels = torch.randint(0, 3, (3,), generator=generator)
        yield Batch({"input_ids": ids, "attention_mask": mask}, labels, np.arange(3))


def scaled(model, path, layer, features, factor):
    """The loss of each row when some inputs of a layer's output projection are scaled."""
    module = family_of(model.config).layers_of(model)[layer].get_submodule(path)

    def scale(module, args):
        scale = torch.ones(args[0].shape[-1], dtype=args[0].dtype)
        scale[features] = factor
        return (args[0] * scale,)

    handle = module.register_forward_pre_hook(scale)
    try:
        with torch.no_grad():
            yield from (
                float(
                    cross_entropy(model(**{k: v[i : i + 1] for k, v in b.inputs.items()}).logits, b.labels[i : i + 1])
                )
                for b in batches(model)
                for i in range(3)
            )
    finally:
        handle.remove()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_heads_score_is_the_slope_of_the_loss(family):
    model = tiny_model(family)
    a, blocks = architecture_of(model.config), family_of(model.config)
    found = measure_importance(model, batches(model))
    assert (found.heads.shape, found.units.shape) == ((a.layers, a.heads), (a.layers, a.units))
    step = 1e-3  # some families compute parts in single precision
    for layer, head in ((0, 1), (a.layers - 1, a.heads - 1)):
        features = slice(head * a.head_size, (head + 1) * a.head_size)
        more, less = (
            np.array(list(scaled(model, blocks.attention.columns[0], layer, features, 1 + sign * step)))
            for sign in (1, -1)
        )
        assert found.heads[layer, head] == pytest.approx(np.abs((more - less) / (2 * step)).sum(), rel=2e-3)


def test_a_units_score_adds_up_the_tokens_effects():
    model = tiny_model("bert")
    found = measure_importance(model, batches(model))
    expected = np.zeros_like(found.units)
    for batch in batches(model):
        inputs = []
        hooks = [
            layer.output.dense.register_forward_pre_hook(lambda module, args, seen=inputs: seen.append(args[0]))
            for layer in model.bert.encoder.layer
        ]
        loss = torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels, reduction="sum")
        for hook in hooks:
            hook.remove()
        for i, x in enumerate(inputs):
            (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
            for row, token in np.ndindex(3, 7):
                expected[i] += np.abs((x[row, token] * gradient[row, token]).detach().numpy())
    np.testing.assert_allclose(found.units, expected, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_ordered_full_net_computes_the_same(family, dtype, tolerance):
    model = tiny_model(family, dtype=dtype)
    importance = measure_importance(model, batches(model))
    batch = next(batches(model))
    before = model(**batch.inputs).logits.detach()
    assert model.training is False
    assert all(p.grad is None for p in model.parameters())
    order_by_importance_(model, importance)
    torch.testing.assert_close(model(**batch.inputs).logits, before, rtol=0, atol=tolerance)
    again = measure_importance(model, batches(model))
    heads = again.heads.sum(axis=0, keepdims=True) if family_of(model.config).heads_tied else again.heads
    for scores in (heads, again.units):
        assert (np.diff(scores, axis=1) <= 1e-3 * scores.max()).all()


def test_a_layer_is_worth_what_its_blocks_are():
    importance = Importance(np.array([[1.0, 1.0], [3.0, 3.0]]), np.array([[6.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(importance.layers, [2 / 8 + 6 / 8, 6 / 8 + 2 / 8])


@pytest.mark.pictures
def test_scores_and_their_picture_are_written(tmp_path):
    importance = Importance(np.random.default_rng(0).random((3, 4)), np.zeros((3, 10)))
    write_importance(tmp_path, importance)
    sizes = Sizes(3, 4, 10)
    saved = read_importance(tmp_path, sizes)
    np.testing.assert_array_equal(saved.heads, importance.heads)
    np.testing.assert_array_equal(saved.units, importance.units)
    assert read_importance(tmp_path / "nowhere", sizes) is None
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("heads", "units"),
    [
        (np.ones((3, 4)), np.ones((3, 9))),
        (np.ones((2, 4)), np.ones((3, 10))),
        (np.ones(12), np.ones((3, 10))),
        (np.full((3, 4), np.nan), np.ones((3, 10))),
        (np.ones((3, 4)), np.full((3, 10), np.inf)),
        (-np.ones((3, 4)), np.ones((3, 10))),
        (np.full((3, 4), "much"), np.ones((3, 10))),
        (np.ones((3, 4)), None),
    ],
)
def test_scores_that_cannot_be_those_of_the_model_are_refused(heads, units, tmp_path):
    arrays = {name: values for name, values in (("heads", heads), ("units", units)) if values is not None}
    np.savez(tmp_path / "importance.npz", **arrays)
    with pytest.raises(UserError, match=r"importance.npz cannot be used \(.*\); remove it"):
        read_importance(tmp_path, Sizes(3, 4, 10))


def test_damaged_scores_are_refused(tmp_path):
    write_importance(tmp_path, Importance(np.ones((3, 4)), np.ones((3, 10))))
    path = tmp_path / "importance.npz"
    whole = path.read_bytes()
    for content in (whole[:100], whole[:-30], b"", b"scores", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"importance.npz cannot be used \(.*\); remove it"):
            read_importance(tmp_path, Sizes(3, 4, 10))


@pytest.mark.slow
def test_a_training_by_importance_reads_training_rows_alone(model_folder, data_folder, tmp_path):
    """Other validation and test rows, the same scores; the supernet knows which layers matter."""
    moved = tmp_path / "data" / "sst2"
    moved.mkdir(parents=True)
    for name, keep in (("train", 200), ("validation", 7)):
        lines = (data_folder / "sst2" / f"{name}.jsonl").read_text().splitlines()
        (moved / f"{name}.jsonl").write_text("\n".join(lines[:keep]) + "\n")
    scores = []
    for folder, rows in ((data_folder, "null"), (moved.parent, "5")):
        common = (f"data.cache_dir={tmp_path}/cache", "train.epochs=1", "train.batch_size=8", "order.batches=3")
        values = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={folder}", f"output_dir={tmp_path}"]
        values += [*common, f"task.max_validation_rows={rows}", "order=importance", "space.depth=importance"]
        target = train(load_config("train", TrainConfig, values))
        scores.append(read_importance(target.parent, Sizes(4, 4, 10)))
        supernet = load_supernet(target)
        np.testing.assert_allclose(supernet.info.layer_importance, scores[-1].layers)
        two = supernet.space.decode((2, 1, 1))
        assert {s.index for s in two.layers} == set(np.argsort(-scores[-1].layers)[:2].tolist())
    np.testing.assert_array_equal(scores[0].heads, scores[1].heads)
    np.testing.assert_array_equal(scores[0].units, scores[1].units)
