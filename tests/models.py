"""Tiny random models, from a configuration: no network, no files."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from supernet.data.tokens import TokenizedSplit
from supernet.models.families import FAMILIES

DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}

FAMILY_VALUES = {
    "deberta": {**DEBERTA, "max_relative_positions": 6},
    "deberta-v2": {  # v3, and the convolution of v2
        **DEBERTA,
        "position_buckets": 3,
        "max_relative_positions": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
    },
    "distilbert": {"hidden_dim": 10},
    "electra": {"embedding_size": 12},
    "modernbert": {"local_attention": 4, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3},
    "mpnet": {"relative_attention_num_buckets": 32},
}

VARIANTS = {
    "deberta, absolute": ("deberta", {"relative_attention": False, "position_biased_input": True}),
    "deberta, far": ("deberta", {"max_relative_positions": -1, "pos_att_type": ["c2p"], "embedding_size": 12}),
    "deberta-v2, keys apart": ("deberta-v2", {"share_att_key": False, "position_buckets": -1, "conv_kernel_size": 0}),
    "modernbert, biases": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
}
"""Other configurations of some families, which have other modules."""

SAME_AS = {"camembert": "roberta", "xlm-roberta": "roberta"}
"""Families whose row of the table, modules and outputs are another one's, as tests/test_families.py shows."""

FAMILY_NAMES = sorted(FAMILIES.keys() - SAME_AS.keys())
"""What tests go through that hold for every family."""

families = pytest.mark.parametrize("family", FAMILY_NAMES)


def tiny_config(family, num_labels=3, **values):
    """4 layers of 4 heads and 10 units, 16 hidden features, 50 words. `family` may be one of `VARIANTS`."""
    family, variant = VARIANTS.get(family, (family, {}))
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 10,
        "max_position_embeddings": 40,
        "type_vocab_size": 2,
        "pad_token_id": 1,
    }
    of_family = FAMILY_VALUES.get(family, {})
    return AutoConfig.for_model(family, num_labels=num_labels, **(sizes | of_family | variant | values))


def tiny_model(family="bert", num_labels=3, dtype=torch.float64, auto=AutoModelForSequenceClassification, **values):
    """A model in evaluation mode whose weights, biases and norms are all far from their initial values."""
    torch.manual_seed(0)
    model = auto.from_config(tiny_config(family, num_labels, **values)).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def double_stays_double(monkeypatch):
    """Some modelling code computes norms and rotations in float32 whatever it is given: here float64 stays float64."""
    to_single = torch.Tensor.float
    monkeypatch.setattr(
        torch.Tensor, "float", lambda t, *a, **k: t if t.dtype == torch.float64 else to_single(t, *a, **k)
    )


def split_of(rows=6, choices=0, regression=False, longest=9):
    """Rows of 4 and more tokens."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, longest + 1, rows * max(1, choices))
    ids = rng.integers(5, 50, lengths.sum()).astype(np.int32)
    labels = rng.normal(size=rows).astype(np.float32) if regression else rng.integers(0, 3, rows)
    return TokenizedSplit(ids, np.concatenate([[0], np.cumsum(lengths)]), None, labels, max(1, choices))
