"""The heart: a sub-network computed by views, by extraction and by masking is the same function, in float64."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from benchmarks.masked import masked
from supernet.cost import encoder_flops, encoder_params, params_share, total_flops, total_params
from supernet.errors import UserError
from supernet.families import FAMILIES, architecture_of, family_of
from supernet.slicing import extract, view
from supernet.space import SPACES, LayerSlice, SubNetwork, search_space
from tests.models import tiny_config, tiny_model

families = pytest.mark.parametrize("family", sorted(FAMILIES))
spaces = pytest.mark.parametrize("space_name", sorted(SPACES))


def inputs(config):
    """Three rows of 9 tokens, the last two of the third row padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, config.vocab_size, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    ids[2, 7:], mask[2, 7:] = config.pad_token_id, 0
    return {"input_ids": ids, "attention_mask": mask}


def space_of(model, name):
    a = architecture_of(model.config)
    return search_space(name, layers=a.layers, heads=a.heads, units=a.units)


def subnets_of(space, count=6):
    rng = np.random.default_rng(7)
    return [space.smallest, space.middle, *(space.sample(rng) for _ in range(count))]


HALVES = SubNetwork((LayerSlice(0, range(0), range(3)), LayerSlice(1, (1, 3), range(0)), LayerSlice(2, (0, 2), (1, 4))))
"""A layer without attention, one without feed-forward, one with scattered heads and units."""


def gradients(model, logits):
    """Gradient of a fixed function of the logits with respect to every parameter of `model`, zero where it has none."""
    model.zero_grad()
    (logits * torch.arange(1, logits.numel() + 1).view_as(logits).sin()).sum().backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


@families
@spaces
def test_largest_slice_is_the_untouched_model(family, space_name):
    model = tiny_model(family)
    expected = model(**inputs(model.config)).logits
    largest = space_of(model, space_name).largest
    assert torch.equal(view(model, largest)(**inputs(model.config)).logits, expected)
    assert torch.equal(extract(model, largest)(**inputs(model.config)).logits, expected)


@families
@spaces
def test_views_and_extract_equal_naive_mask(family, space_name):
    model = tiny_model(family)
    batch = inputs(model.config)
    for subnet in [*subnets_of(space_of(model, space_name)), HALVES]:
        with masked(model, subnet):
            expected = model(**batch).logits
        for small in (view(model, subnet), extract(model, subnet), extract(model, subnet, share=True)):
            torch.testing.assert_close(small(**batch).logits, expected, rtol=0, atol=1e-12)


@families
@spaces
def test_gradients_of_views_equal_naive_mask(family, space_name):
    model = tiny_model(family)
    batch = inputs(model.config)
    for subnet in [*subnets_of(space_of(model, space_name)), HALVES]:
        with masked(model, subnet):
            expected = gradients(model, model(**batch).logits)
        found = gradients(model, view(model, subnet)(**batch).logits)
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-12, msg=name)


@families
def test_gradient_is_zero_outside_the_slice(family):
    model = tiny_model(family)
    subnet = SubNetwork((LayerSlice(1, range(2), range(5)),))
    found = gradients(model, view(model, subnet)(**inputs(model.config)).logits)
    layers = family_of(model.config).layers_of(model)
    size = model.config.hidden_size // model.config.num_attention_heads
    query = layers[1].attention.self.query.weight.grad
    up, down = layers[1].intermediate.dense.weight.grad, layers[1].output.dense.weight.grad
    assert query[: 2 * size].abs().sum() > 0
    assert query[2 * size :].abs().sum() == 0
    assert up[:5].abs().sum() > 0
    assert up[5:].abs().sum() == 0
    assert down[:, :5].abs().sum() > 0
    assert down[:, 5:].abs().sum() == 0
    prefix = f"{model.base_model_prefix}.encoder.layer."
    others = [g for n, g in found.items() if n.startswith((prefix + "0.", prefix + "2."))]
    assert others
    assert all(g.abs().sum() == 0 for g in others)


@families
@spaces
def test_gradients_of_extract_equal_those_of_views(family, space_name):
    model = tiny_model(family)
    batch = inputs(model.config)
    subnet = space_of(model, space_name).sample(np.random.default_rng(3))
    small = extract(model, subnet)
    through_extract = gradients(small, small(**batch).logits)
    through_view = gradients(model, view(model, subnet)(**batch).logits)
    # A slice holds all of a parameter's gradient, so the sums of squares agree parameter by parameter.
    names = {str(i): str(s.index) for i, s in enumerate(subnet.layers)}
    for name, gradient in through_extract.items():
        parts = name.split(".")
        if "layer" in parts:
            at = parts.index("layer") + 1
            parts[at] = names[parts[at]]
        full = through_view[".".join(parts)]
        torch.testing.assert_close(gradient.square().sum(), full.square().sum(), rtol=1e-10, atol=1e-14)


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
@spaces
def test_formulas_equal_counts(family, space_name):
    model = tiny_model(family, attn_implementation="eager")  # the counter does not know the CPU's fused attention
    a = architecture_of(model.config)
    assert total_params(a, a.full) == sum(p.numel() for p in model.parameters())
    for subnet in [*subnets_of(space_of(model, space_name)), HALVES]:
        small = extract(model, subnet)
        layers = family_of(small.config).layers_of(small)
        assert encoder_params(a, subnet) == sum(p.numel() for p in layers.parameters())
        assert total_params(a, subnet) == sum(p.numel() for p in small.parameters())
        assert 0 <= params_share(a, subnet) <= 1
        with FlopCounterMode(display=False) as counter:
            small(input_ids=torch.full((1, 9), 7))
        assert total_flops(a, subnet, tokens=9) == counter.get_total_flops()
        assert encoder_flops(a, subnet, tokens=9) == counter.get_total_flops() - 2 * a.classifier_macs


@families
def test_full_model_reloads_with_stock_transformers(family, tmp_path):
    model = tiny_model(family)
    extract(model, architecture_of(model.config).full).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64).eval()
    assert torch.equal(again(**inputs(model.config)).logits, model(**inputs(model.config)).logits)


def test_unknown_architecture_is_named():
    config = tiny_config("bert")
    config.model_type = "gpt2"
    with pytest.raises(UserError, match=r"^model architecture 'gpt2' is unknown; allowed: bert, roberta$"):
        family_of(config)
