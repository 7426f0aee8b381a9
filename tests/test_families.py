"""The table's own promises: which models it takes, and what it says of them."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from supernet.models.families import FAMILIES, architecture_of, family_of
from supernet.models.pretrained import load_pretrained
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import SubNetwork
from tests.fixtures import read_task
from tests.models import FAMILY_NAMES, SAME_AS, tiny_config, tiny_model

families = pytest.mark.parametrize("family", FAMILY_NAMES)


@pytest.mark.parametrize("family", sorted(SAME_AS))
def test_a_family_that_is_tested_as_another_one_is_the_same(family):
    """The same row, the same modules of the same sizes, and from the same weights the same predictions."""
    other = SAME_AS[family]
    assert FAMILIES[family] is FAMILIES[other]
    ours, theirs = tiny_model(family), tiny_model(other)
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(1))
    ids[2, 7:] = ours.config.pad_token_id
    mask = (ids != ours.config.pad_token_id).long()
    assert torch.equal(ours(ids, attention_mask=mask).logits, theirs(ids, attention_mask=mask).logits)
    assert ours(ids).logits.std() > 0


def test_unknown_architecture_is_named():
    config = tiny_config("bert")
    config.model_type = "gpt2"
    allowed = ", ".join(sorted(FAMILIES))
    with pytest.raises(UserError, match=rf"^model architecture 'gpt2' is unknown; allowed: {allowed}$"):
        family_of(config)


def test_what_cannot_be_sliced_is_named():
    with pytest.raises(UserError, match=r"^talking_head is on in this deberta's config\.json"):
        family_of(tiny_config("deberta", talking_head=True))


@families
def test_paths_of_the_table_exist(family):
    """Some paths are only there in some configurations, but no block is without any."""
    model = tiny_model(family)
    table = family_of(model.config)
    names = {name for name, _ in table.layers_of(model).named_modules()}
    for block in (table.attention, table.feed_forward):
        assert all(f"1.{path}" in names for path in (*block.columns, *block.absent))
        assert list(block.divided(table.layers_of(model)[1]))


@families
def test_sizes(family):
    a = architecture_of(tiny_config(family))
    assert (a.layers, a.heads, a.units, a.head_size) == (4, 4, 10, 4)


def test_measuring_draws_no_random_numbers_and_leaves_the_configuration():
    config = tiny_config("modernbert")
    before, state = config.to_dict(), torch.get_rng_state()
    architecture_of(config)
    assert torch.equal(torch.get_rng_state(), state)
    assert config.to_dict() == before


@families
def test_as_many_tokens_as_there_are_positions(family):
    model = tiny_model(family)
    longest = family_of(model.config).max_tokens(model.config)
    assert longest == (40 if family not in ("mpnet", "roberta") else 38)
    ids = torch.full((1, longest), 7)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()


@pytest.mark.parametrize(
    ("family", "has"),
    [("bert", True), ("electra", True), ("roberta", False), ("distilbert", False), ("modernbert", False)],
)
def test_token_types(family, has):
    config = AutoConfig.for_model(family, **({"type_vocab_size": 1} if family == "roberta" else {}))
    assert family_of(config).token_types(config) is has


@families
def test_a_pretrained_base_model_gets_a_classifier(family, tokenizer, tmp_path):
    model = tiny_model(family, dtype=torch.float32)
    model.base_model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_pretrained(tmp_path, read_task("sst2"), seed=0, labels=np.zeros(2))
    assert loaded.config.num_labels == 2
    stored = model.base_model.state_dict()
    pooler = {name for name in loaded.base_model.state_dict() if name.startswith("pooler.")}
    assert loaded.base_model.state_dict().keys() - pooler == stored.keys() - pooler
    assert all(torch.equal(loaded.base_model.state_dict()[name], value) for name, value in stored.items())

    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if ".2." in name)
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="1 tensors are missing"):
        load_pretrained(tmp_path, read_task("sst2"), seed=0, labels=np.zeros(2))


def test_the_configuration_of_a_sub_network_lists_its_layers():
    model = tiny_model("modernbert")
    small = extract(model, SubNetwork.uniform([1, 3], 2, 5))
    assert small.config.layer_types == ["sliding_attention", "full_attention"]
    assert [layer.attention_type for layer in small.model.layers] == small.config.layer_types
    assert len(model.config.layer_types) == 4
