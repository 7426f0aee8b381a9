"""Tiny random models, from a configuration: no network, no files."""

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification


def tiny_config(family, num_labels=3, **values):
    """4 layers of 4 heads and 10 units, 16 hidden features, 50 words."""
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
    return AutoConfig.for_model(family, num_labels=num_labels, **(sizes | values))


def tiny_model(family="bert", num_labels=3, dtype=torch.float64, **values):
    """A model in evaluation mode whose weights, biases and norms are all far from their initial values."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels, **values)).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model
