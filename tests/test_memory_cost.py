"""Size and memory by formula, against what torch stores and allocates."""

import pytest
import torch
from safetensors.torch import save_file

from supernet.evaluation.latency import random_inputs
from supernet.models.families import FAMILIES, architecture_of
from supernet.models.slicing import extract
from supernet.space.cost import Workload, activation_bytes, memory_mb, size_mb
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.allocations import peak_bytes
from tests.models import FAMILY_NAMES, VARIANTS, tiny_model

SUBNETS = {
    "full": SubNetwork.uniform(range(4), 12, 384),
    "narrow": SubNetwork.uniform(range(3), 6, 128),
    "attention": SubNetwork.uniform(range(4), 12, 0),
    "uneven": SubNetwork((LayerSlice(0, range(3), range(0)), LayerSlice(2, range(9), range(300)))),
}
CLOSE = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
"""Families whose activations the formula meets within a tenth; the others' within a quarter."""


def wide_model(family):
    """A model of the proportions of real ones: four times as many units as hidden features, and small heads."""
    units = "hidden_dim" if VARIANTS.get(family, (family,))[0] == "distilbert" else "intermediate_size"
    sizes = {"hidden_size": 96, "num_attention_heads": 12, units: 384, "max_position_embeddings": 80}
    return tiny_model(family, dtype=torch.float32, **sizes)


def forward_bytes(model, inputs):
    """The most that tensors of one forward pass hold at once."""
    with torch.inference_mode():
        model(**inputs)
        return peak_bytes(lambda: model(**inputs))


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted({*FAMILY_NAMES, *VARIANTS}))
def test_activations_by_formula_are_about_what_torch_allocates(family):
    model = wide_model(family)
    architecture = architecture_of(model.config)
    for (name, subnet), workload in zip(SUBNETS.items(), [Workload(4, 48), Workload(1, 72)] * 2, strict=True):
        small = extract(model, subnet, share=True)
        measured = forward_bytes(small, random_inputs(small, workload))
        found = activation_bytes(architecture, subnet, batch_size=workload.batch_size, length=workload.length)
        assert found == pytest.approx(measured, rel=0.1 if family in CLOSE else 0.25), (name, str(workload))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_size_is_that_of_the_stored_tensors(family, tmp_path):
    model = wide_model(family)
    architecture = architecture_of(model.config)
    for subnet in SUBNETS.values():
        state = {name: tensor.contiguous() for name, tensor in extract(model, subnet).state_dict().items()}
        stored = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        assert size_mb(architecture, subnet) == pytest.approx(stored / 1e6, rel=1e-3)
    save_file(state, tmp_path / "model.safetensors")
    header = (tmp_path / "model.safetensors").stat().st_size - stored
    assert 0 < header < 200 * len(state) + 100


def test_hidden_features_follow_from_the_coefficients():
    for family in FAMILIES:
        assert architecture_of(wide_model(family).config).hidden == 96


def test_memory_is_parameters_and_activations():
    a = architecture_of(wide_model("bert").config)
    one, four = (memory_mb(a, a.full, batch_size=n, length=32) for n in (1, 4))
    activations = activation_bytes(a, a.full, batch_size=1, length=32) / 1e6
    assert one == pytest.approx(size_mb(a, a.full) + activations)
    assert four == pytest.approx(size_mb(a, a.full) + 4 * activations)
    assert memory_mb(a, a.full, batch_size=1, length=32, bytes_per_value=2) == pytest.approx(one / 2)


def test_the_widest_layer_alone_sets_the_activations():
    a = architecture_of(wide_model("bert").config)
    whole, narrow = LayerSlice(0, range(12), range(384)), LayerSlice(1, range(1), range(4))

    def activations(*layers):
        return activation_bytes(a, SubNetwork(layers), batch_size=2, length=16)

    assert activations(whole, narrow) == activations(whole) > activations(narrow)
