"""Mask tuning against numpy's least squares on explicitly collected rows, and against cases whose answer is known."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

from search.baselines import mask_tuning
from search.baselines.mask_tuning import Walk, best_factors, scale_, tune_masks_
from supernet.data.batches import collate
from supernet.models.families import architecture_of, family_of
from supernet.models.slicing import extract, view
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.models import FAMILY_NAMES, VARIANTS, double_stays_double, families, split_of, tiny_model  # noqa: F401

pytestmark = pytest.mark.usefixtures("double_stays_double")

SUBNET = SubNetwork(
    (
        LayerSlice(0, (1, 2), range(4)),
        LayerSlice(1, (0, 2, 3), (1, 4, 5, 9)),
        LayerSlice(2, range(0), (0, 3)),
        LayerSlice(3, range(2), (2, 3, 5)),
    )
)

AFTER_BLOCKS = {
    "distilbert": ("sa_layer_norm", "output_layer_norm"),
    "modernbert": ("mlp_norm", None),
    "mpnet": ("attention.LayerNorm", "output.LayerNorm"),
}
"""What the residual stream goes into after each block of a layer, elsewhere as in BERT; None: the layer gives it."""


def batches_of(split, size=3):
    return [collate(split, np.arange(i, min(i + size, len(split))), 1) for i in range(0, len(split), size)]


def collected(model, layer, split):
    """Of each row by itself, hence without padding: inputs of both projections, the stream after both blocks."""
    family = family_of(model.config)
    module = family.layers_of(model)[layer]
    after = AFTER_BLOCKS.get(model.config.model_type, ("attention.output.LayerNorm", "output.LayerNorm"))
    paths = {"x": family.attention.columns[0], "y": family.feed_forward.columns[0], "a": after[0], "b": after[1]}
    present, seen, handles = dict(module.named_modules()), {}, []
    for name, path in paths.items():
        if path is None:
            handles.append(module.register_forward_hook(lambda m, args, output, name=name: seen.update({name: output})))
        elif path in present:
            hook = present[path].register_forward_pre_hook
            handles.append(hook(lambda m, args, name=name: seen.update({name: args[0]})))
    rows = []
    for i in range(len(split)):
        with torch.no_grad():
            model(**collate(split, np.array([i]), 1).inputs)
        rows.append({name: value.flatten(0, 1).numpy() for name, value in seen.items()})
    for handle in handles:
        handle.remove()
    return rows


def least_squares(rows, expected_rows, inside, after, weight, count, tokens=slice(None)):
    """The factors by numpy, from one equation for each row, token and hidden feature, and one for each factor."""
    width = weight.shape[1] // count
    equations, targets = [np.eye(count)], [np.zeros(count)]
    for row, expected in zip(rows, expected_rows, strict=True):
        for x, small, full in zip(row[inside][tokens], row[after][tokens], expected[after][tokens], strict=True):
            columns = [weight[:, j * width : (j + 1) * width] @ x[j * width : (j + 1) * width] for j in range(count)]
            equations.append(np.stack(columns, axis=1))
            targets.append(full - small)
    return 1 + np.linalg.lstsq(np.concatenate(equations), np.concatenate(targets), rcond=None)[0]


def assert_least_squares(model, split, layer, tokens=slice(None)):
    """The factors of both blocks of a layer, the layers below as extracted."""
    blocks, small = family_of(model.config), extract(model, SUBNET)
    full, pruned = (Walk(m, batches_of(split)) for m in (view(model, architecture_of(model.config).full), small))
    full.advance(layer)
    pruned.advance(layer)
    rows, expected_rows = collected(small, layer, split), collected(model, layer, split)
    kept = SUBNET.layers[layer]
    for block, inside, after, count in (
        (blocks.attention, "x", "a", len(kept.heads)),
        (blocks.feed_forward, "y", "b", len(kept.units)),
    ):
        weight = blocks.layers_of(small)[layer].get_submodule(block.columns[0]).weight.detach().numpy()
        expected = least_squares(rows, expected_rows, inside, after, weight, count, tokens)
        found = best_factors(full, pruned, block.columns[0], count)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-8)
        assert np.abs(expected - 1).max() > 0.01


@families
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_factors_are_those_of_least_squares(family, layer):
    """The last layer's tokens count where the prediction reads them: the first one, in all families by default."""
    assert_least_squares(tiny_model(family), split_of(), layer, slice(1) if layer == 3 else slice(None))


def test_all_tokens_count_where_the_prediction_reads_their_mean():
    assert_least_squares(tiny_model("modernbert", classifier_pooling="mean"), split_of(), 3)


def test_all_choices_of_a_row_count():
    split = split_of(5, choices=3, longest=4)
    assert_least_squares(tiny_model("bert", auto=AutoModelForMultipleChoice), split, 1)


@pytest.mark.slow
@families
def test_each_block_comes_closer_and_the_next_starts_from_there(family):
    """The whole of tuning, against doing it block by block with numpy, on models put together anew each time."""
    model, split = tiny_model(family), split_of()
    blocks, tuned = family_of(model.config), extract(model, SUBNET)
    tune_masks_(tuned, SUBNET, model, batches_of(split))
    by_hand = extract(model, SUBNET)
    for layer, kept in enumerate(SUBNET.layers):
        tokens = slice(1) if layer == 3 else slice(None)
        for block, inside, after, count in (
            (blocks.attention, "x", "a", len(kept.heads)),
            (blocks.feed_forward, "y", "b", len(kept.units)),
        ):
            if not count:
                continue
            expected_rows, rows = collected(model, layer, split), collected(by_hand, layer, split)
            projection = blocks.layers_of(by_hand)[layer].get_submodule(block.columns[0])
            factors = least_squares(
                rows, expected_rows, inside, after, projection.weight.detach().numpy(), count, tokens
            )
            with torch.no_grad():
                for j, factor in enumerate(factors):
                    width = projection.weight.shape[1] // count
                    projection.weight[:, j * width : (j + 1) * width] *= factor
            then = collected(by_hand, layer, split)
            before, now = (
                sum(((e[after] - r[after])[tokens] ** 2).sum() for e, r in zip(expected_rows, some, strict=True))
                for some in (rows, then)
            )
            assert now < before
    for (name, found), expected in zip(tuned.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7, msg=name)


def input_of(model, module, batch):
    seen = []
    handle = module.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    model(**batch.inputs)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", [*FAMILY_NAMES, *sorted(VARIANTS)])
@pytest.mark.parametrize("subnet", [SUBNET, SubNetwork((LayerSlice(2, range(2), range(3)), LayerSlice(3, (1,), (4,))))])
def test_layer_by_layer_is_the_same_as_at_once(family, subnet):
    """Also where the model does something between layers, and where its first layer is an empty one."""
    model, batches = extract(tiny_model(family), subnet), batches_of(split_of())
    layers = family_of(model.config).layers_of(model)
    expected = [model(**batch.inputs).logits for batch in batches]
    walk = Walk(model, batches)
    for done in range(len(layers)):
        walk.advance(done)
        assert walk.done == done
        path = family_of(model.config).feed_forward.columns[0]
        if path in dict(layers[done].named_modules()):
            for i, batch in enumerate(batches):
                inside, _, logits = walk.observe(i, path)
                torch.testing.assert_close(inside, input_of(model, layers[done].get_submodule(path), batch))
                if done == len(layers) - 1:
                    torch.testing.assert_close(logits, expected[i], rtol=0, atol=1e-12)
    for batch, logits in zip(batches, expected, strict=True):
        assert torch.equal(model(**batch.inputs).logits, logits)
    assert not [layer for layer in layers if "forward" in vars(layer)]


@families
def test_folded_factors_are_masks(family):
    model, batch = tiny_model(family), batches_of(split_of())[0]
    blocks = family_of(model.config)
    folded, masked = extract(model, SUBNET), extract(model, SUBNET)
    generator = torch.Generator().manual_seed(0)
    for layer, kept in enumerate(SUBNET.layers):
        for block, count in ((blocks.attention, len(kept.heads)), (blocks.feed_forward, len(kept.units))):
            if count:
                factors = torch.randn(count, generator=generator, dtype=torch.float64)
                scale_(blocks.layers_of(folded)[layer].get_submodule(block.columns[0]), factors)
                blocks.layers_of(masked)[layer].get_submodule(block.columns[0]).register_forward_pre_hook(
                    lambda m, args, f=factors: ((args[0].unflatten(-1, (len(f), -1)) * f[:, None]).flatten(-2),)
                )
    found, expected = (m(**batch.inputs).logits for m in (folded, masked))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert not torch.allclose(found, extract(model, SUBNET)(**batch.inputs).logits)


@pytest.mark.slow
@families
def test_twins_are_made_up_for(family, monkeypatch):
    """Where the heads and units left out are copies of others, a factor of 2 gives the full model back."""
    monkeypatch.setattr(mask_tuning, "DAMPING", 0.0)
    model = tiny_model(family)
    blocks, (heads, units) = family_of(model.config), family_of(model.config).heads_and_units(model.config)
    with torch.no_grad():
        for layer in blocks.layers_of(model):
            for block, groups in ((blocks.attention, heads), (blocks.feed_forward, units)):
                for parameter, dim, lists in block.divided(layer):
                    parts = parameter.unflatten(dim, (lists, groups, -1))
                    parts.select(dim + 1, 1).copy_(parts.select(dim + 1, 0))
        if blocks.shared_bias is not None:
            table = model.base_model.get_parameter(blocks.shared_bias.table)
            table[:, 1] = table[:, 0]
    subnet = SubNetwork(
        tuple(
            LayerSlice(i, [0, *range(2, heads)], [0, *range(2, units)])
            for i in range(architecture_of(model.config).layers)
        )
    )
    split = split_of(30)
    small, batches = extract(model, subnet), batches_of(split, size=10)
    tune_masks_(small, subnet, model, batches)
    for batch in batches:
        torch.testing.assert_close(small(**batch.inputs).logits, model(**batch.inputs).logits, rtol=0, atol=1e-5)
        assert not torch.allclose(
            extract(model, subnet)(**batch.inputs).logits, model(**batch.inputs).logits, rtol=0, atol=1e-3
        )


def test_a_solution_out_of_range_ends_the_tuning(monkeypatch):
    model, batches = tiny_model("bert"), batches_of(split_of())
    whole, cut, untouched = (extract(model, SUBNET) for _ in range(3))
    tune_masks_(whole, SUBNET, model, batches)
    monkeypatch.setattr(mask_tuning, "LARGEST_FACTOR", 0.0)
    tune_masks_(untouched, SUBNET, model, batches)
    for found, expected in zip(untouched.parameters(), extract(model, SUBNET).parameters(), strict=True):
        assert torch.equal(found, expected)
    factors = [
        (t.output.dense.weight / u.output.dense.weight).abs().max().item()
        for t, u in zip(whole.bert.encoder.layer, untouched.bert.encoder.layer, strict=True)
    ]
    monkeypatch.setattr(mask_tuning, "LARGEST_FACTOR", (factors[0] + factors[1]) / 2)
    assert factors[0] < factors[1]
    tune_masks_(cut, SUBNET, model, batches)
    assert torch.equal(cut.bert.encoder.layer[0].output.dense.weight, whole.bert.encoder.layer[0].output.dense.weight)
    for position in (1, 2, 3):
        found, expected = (m.bert.encoder.layer[position].output.dense.weight for m in (cut, untouched))
        assert torch.equal(found, expected)
