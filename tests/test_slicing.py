"""The heart: a sub-network computed by views, by extraction and by masking is the same function, in float64."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForMaskedLM, AutoModelForMultipleChoice, AutoModelForSequenceClassification

from benchmarks.masked import masked
from supernet.models.architecture import count_architecture
from supernet.models.families import architecture_of, family_of
from supernet.models.slicing import extract, permute_, view
from supernet.space.cost import encoder_flops, encoder_params, params_share, total_flops, total_params
from supernet.space.spaces import SPACES, SpaceOptions, search_space
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.models import FAMILY_NAMES, VARIANTS, double_stays_double, tiny_config, tiny_model  # noqa: F401

pytestmark = pytest.mark.usefixtures("double_stays_double")
families = pytest.mark.parametrize("family", [*FAMILY_NAMES, *sorted(VARIANTS)])
spaces = pytest.mark.parametrize("space_name", sorted(SPACES))

UNEVEN = SubNetwork((LayerSlice(0, range(0), range(3)), LayerSlice(1, (1, 3), range(0)), LayerSlice(2, (0, 2), (1, 4))))
"""A layer without attention, one without feed-forward, one with scattered heads and units."""

NO_FIRST_LAYER = SubNetwork((LayerSlice(1, range(3), range(7)), LayerSlice(3, range(1), (0, 3, 9))))


def inputs(config, rows=3):
    """Rows of 9 tokens, the last two of the third row padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, config.vocab_size, (rows, 9), generator=generator)
    mask = torch.ones_like(ids)
    ids[2, 7:], mask[2, 7:] = config.pad_token_id, 0
    types = {"token_type_ids": (torch.arange(9) > 4).long().expand(rows, 9)}
    return {"input_ids": ids, "attention_mask": mask} | (types if family_of(config).token_types(config) else {})


NEED_THEIR_FIRST_LAYER = ("modernbert", "deberta-v2")
"""Stock code makes the first layer in another way than the others."""


def space_of(model, name):
    a = architecture_of(model.config)
    return search_space(SpaceOptions(name), layers=a.layers, heads=a.heads, units=a.units)


def subnets_of(model, space_name, count=2):
    space, rng = space_of(model, space_name), np.random.default_rng(7)
    samples = [space.smallest, space.middle, *(space.sample(rng) for _ in range(count))]
    return [*samples, UNEVEN, NO_FIRST_LAYER]


def gradients(model, logits):
    """Gradient of a fixed function of the logits with respect to every parameter of `model`, zero where it has none."""
    model.zero_grad()
    (logits * torch.arange(1, logits.numel() + 1).view_as(logits).sin()).sum().backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def assert_same(found, expected, atol=1e-12):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=atol, msg=name)


@families
def test_largest_slice_is_the_untouched_model(family):
    model = tiny_model(family)
    expected = model(**inputs(model.config)).logits
    largest = {space_of(model, name).largest for name in SPACES}
    assert largest == {architecture_of(model.config).full}
    largest = largest.pop()
    assert torch.equal(view(model, largest)(**inputs(model.config)).logits, expected)
    assert torch.equal(extract(model, largest)(**inputs(model.config)).logits, expected)


@pytest.mark.parametrize(
    ("family", "space_name"),
    [("bert", name) for name in sorted(SPACES)]
    + [(name, "large") for name in [*FAMILY_NAMES, *VARIANTS] if name != "bert"],
)
def test_views_and_extract_equal_naive_mask(family, space_name):
    model = tiny_model(family)
    batch = inputs(model.config)
    for subnet in subnets_of(model, space_name):
        with masked(model, subnet):
            expected = model(**batch).logits
            expected_gradients = gradients(model, expected)
        found = view(model, subnet)(**batch).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert_same(gradients(model, found), expected_gradients)
        for share in (False, True):
            small = extract(model, subnet, share=share)
            torch.testing.assert_close(small(**batch).logits, expected, rtol=0, atol=1e-12)


@families
def test_words_looked_up_before_give_the_same(family):
    model = tiny_model(family)
    batch = inputs(model.config)
    others = {name: tensor for name, tensor in batch.items() if name != "input_ids"}
    for subnet in (architecture_of(model.config).full, UNEVEN):
        words = model.get_input_embeddings()(batch["input_ids"])
        found = view(model, subnet)(inputs_embeds=words, **others).logits
        expected = view(model, subnet)(**batch).logits
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        assert_same(gradients(model, found), gradients(model, expected))


@families
def test_gradient_is_zero_outside_the_slice(family):
    model = tiny_model(family)
    table = family_of(model.config)
    kept = LayerSlice(1, range(2), range(5))
    gradients(model, view(model, SubNetwork((kept,)))(**inputs(model.config)).logits)
    layers = table.layers_of(model)
    for block, length, of in ((table.attention, 2, 4), (table.feed_forward, 5, 10)):
        divided = list(block.divided(layers[1]))
        assert divided
        for parameter, dim, lists in divided:
            groups = parameter.grad.unflatten(dim, (lists, of, -1)).movedim(dim + 1, 0)
            assert groups[length:].abs().sum() == 0
            assert all((groups[i] != 0).any() for i in range(length))
    for i in (0, 2, 3):
        assert all(p.grad is None for p in layers[i].parameters())


@families
@pytest.mark.parametrize("space_name", ["small", "large"])
def test_gradients_of_extract_equal_those_of_views(family, space_name):
    model = tiny_model(family)
    batch = inputs(model.config)
    subnet = space_of(model, space_name).sample(np.random.default_rng(3))
    small = extract(model, subnet)
    gradients(small, small(**batch).logits)
    gradients(model, view(model, subnet)(**batch).logits)
    table = family_of(model.config)
    small_layers, full_layers = table.layers_of(small), table.layers_of(model)
    empty = len(small_layers) - len(subnet.layers)  # one in front, where the family needs it
    pairs = [(small_layers[empty + i], full_layers[s.index]) for i, s in enumerate(subnet.layers)]
    assert pairs
    for of_extract, of_view in pairs:
        assert_same_square_sums(dict(of_extract.named_parameters()), dict(of_view.named_parameters()))
    layers = f"{model.base_model_prefix}.{table.layers}."
    outside = [{n: p for n, p in m.named_parameters() if not n.startswith(layers)} for m in (small, model)]
    assert outside[0].keys() == outside[1].keys()
    assert_same_square_sums(*outside)


def assert_same_square_sums(small, full):
    """A slice holds all of a parameter's gradient, so the sums of squares agree parameter by parameter."""
    for name, parameter in small.items():
        sums = [0.0 if p.grad is None else float(p.grad.square().sum()) for p in (parameter, full[name])]
        assert sums[0] == pytest.approx(sums[1], rel=1e-9, abs=1e-14), name


@families
def test_extract_is_independent_of_the_supernet(family):
    model = tiny_model(family)
    batch, subnet = inputs(model.config), SubNetwork.uniform([0, 2], 2, 5)
    before = copy.deepcopy(model.state_dict())
    small = extract(model, subnet)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1.0)
    small.register_forward_hook(lambda *args: 1 / 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.config.num_hidden_layers == 4
    assert small.config.num_hidden_layers == 2
    model(**batch)


@families
def test_the_supernet_stays_as_it_was(family):
    model = tiny_model(family)
    expected = model(**inputs(model.config)).logits
    for subnet in (UNEVEN, NO_FIRST_LAYER, SubNetwork(())):
        view(model, subnet)(**inputs(model.config))
        extract(model, subnet)(**inputs(model.config))
    assert torch.equal(model(**inputs(model.config)).logits, expected)


@families
def test_formulas_equal_counts(family):
    # The counter does not know the CPU's fused attention. Eager attention of ModernBERT makes single of double.
    model = tiny_model(family, dtype=torch.float32, attn_implementation="eager")
    a = architecture_of(model.config)
    assert total_params(a, a.full) == sum(p.numel() for p in model.parameters())
    for subnet in [a.full, *subnets_of(model, "large", count=1)]:
        small = extract(model, subnet)
        layers = family_of(small.config).layers_of(small)
        assert encoder_params(a, subnet) == sum(p.numel() for p in layers.parameters())
        assert total_params(a, subnet) == sum(p.numel() for p in small.parameters())
        assert 0 <= params_share(a, subnet) <= 1
        for tokens in (4, 9):
            with FlopCounterMode(display=False) as counter:
                small(input_ids=torch.full((1, tokens), 7), attention_mask=torch.ones(1, tokens))
            assert total_flops(a, subnet, tokens=tokens) == counter.get_total_flops()
            outside = total_flops(a, SubNetwork(()), tokens=tokens)
            assert encoder_flops(a, subnet, tokens=tokens) == counter.get_total_flops() - outside


@families
def test_full_model_reloads_with_stock_transformers(family, tmp_path):
    model = tiny_model(family)
    extract(model, architecture_of(model.config).full).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
    torch.testing.assert_close(again(**inputs(model.config)).logits, model(**inputs(model.config)).logits)


@families
@pytest.mark.parametrize("layers", [(0, 2), (0, 1, 3), (1, 3)])
def test_native_sub_networks_load_with_stock_transformers(family, layers, tmp_path):
    if layers[0] > 0 and family.startswith(NEED_THEIR_FIRST_LAYER):
        pytest.skip(f"the first layer of {family} differs from the others")
    model = tiny_model(family)
    space = space_of(model, "native")
    subnet = SubNetwork.uniform(layers, space.heads, 4)
    assert space.decode(space.encode(subnet)) == subnet
    small = extract(model, subnet)
    small.save_pretrained(tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert sum(p.numel() for p in stock.parameters()) == total_params(architecture_of(model.config), subnet)
    torch.testing.assert_close(stock(**inputs(model.config)).logits, small(**inputs(model.config)).logits)


@families
@pytest.mark.parametrize("subnet", [UNEVEN, NO_FIRST_LAYER])
def test_gradient_checkpointing_changes_nothing(family, subnet):
    dropout = {name: 0.0 for name in vars(tiny_config(family)) if "dropout" in name}
    model = tiny_model(family, **dropout).train()
    if not model.supports_gradient_checkpointing:
        pytest.skip(f"transformers' {family} has no gradient checkpointing")
    batch = inputs(model.config)
    expected = gradients(model, view(model, subnet)(**batch).logits)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    calls = count_calls(model)
    assert_same(gradients(model, view(model, subnet)(**batch).logits), expected)
    assert len(calls) >= len(subnet.layers)


def count_calls(model):
    """A list that grows with every layer that is checkpointed from now on."""
    calls = []
    for layer in family_of(model.config).layers_of(model):
        checkpoint = layer._gradient_checkpointing_func
        layer._gradient_checkpointing_func = lambda *a, f=checkpoint, **k: calls.append(1) or f(*a, **k)
    return calls


def orders(count, groups, seed, tied=False):
    rng = np.random.default_rng(seed)
    one = rng.permutation(groups).tolist()
    return [one if tied else rng.permutation(groups).tolist() for _ in range(count)]


@families
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_a_permuted_supernet_computes_the_same(family, dtype, tolerance):
    model = tiny_model(family, dtype=dtype)
    expected = model(**inputs(model.config)).logits
    head_orders = orders(4, 4, seed=1, tied=family_of(model.config).heads_tied)
    unit_orders = orders(4, 10, seed=2)
    permuted = copy.deepcopy(model)
    permute_(permuted, head_orders, unit_orders)
    torch.testing.assert_close(permuted(**inputs(model.config)).logits, expected, rtol=0, atol=tolerance)
    # Prefixes of the new order are those subsets of the old one.
    prefixes = SubNetwork.uniform(range(4), 2, 3)
    subsets = SubNetwork(tuple(LayerSlice(i, head_orders[i][:2], unit_orders[i][:3]) for i in range(4)))
    found = view(permuted, prefixes)(**inputs(model.config)).logits
    torch.testing.assert_close(found, view(model, subsets)(**inputs(model.config)).logits, rtol=0, atol=tolerance)


@families
def test_permutations_are_checked_before_anything_moves(family):
    model = tiny_model(family)
    before = copy.deepcopy(model.state_dict())
    heads, units = [list(range(4))] * 4, [list(range(10))] * 4
    for wrong_heads, wrong_units in ((heads[:3], units), ([*heads[:3], [0, 0, 1, 2]], units), (heads, heads)):
        with pytest.raises(ValueError, match="orders"):
            permute_(model, wrong_heads, wrong_units)
    if family_of(model.config).heads_tied:
        with pytest.raises(ValueError, match="the same order of heads"):
            permute_(model, orders(4, 4, seed=1), units)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@families
def test_another_head_makes_no_difference(family):
    if tiny_config(family).model_type == "deberta":
        pytest.skip("transformers has no multiple choice for deberta")
    model = tiny_model(family, auto=AutoModelForMultipleChoice)
    batch = {name: tensor[None] for name, tensor in inputs(model.config).items()}
    with masked(model, UNEVEN):
        expected = model(**batch).logits
    small = extract(model, UNEVEN)
    torch.testing.assert_close(small(**batch).logits, expected, rtol=0, atol=1e-12)
    a = architecture_of(tiny_config(family, num_labels=1))
    assert total_params(a, UNEVEN) == sum(p.numel() for p in small.parameters())


def test_a_tensor_that_modules_share_is_one_tensor_in_a_sub_network_and_counts_once():
    model = tiny_model("bert", auto=AutoModelForMaskedLM)
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    a = count_architecture(family_of(model.config), model)
    for subnet in (a.full, UNEVEN):
        small = extract(model, subnet)
        assert small.cls.predictions.decoder.weight is small.get_input_embeddings().weight
        assert small.get_input_embeddings().weight is not model.get_input_embeddings().weight
        assert total_params(a, subnet) == sum(p.numel() for p in small.parameters())


@families
def test_buffers_stay_buffers(family):
    """Exporters of torch refuse a buffer that is an `nn.Parameter`."""
    model = tiny_model(family)
    for share in (False, True):
        buffers = dict(extract(model, UNEVEN, share=share).named_buffers())
        assert buffers.keys() == dict(view(model, UNEVEN).named_buffers()).keys()
        assert not [name for name, buffer in buffers.items() if isinstance(buffer, torch.nn.Parameter)]
