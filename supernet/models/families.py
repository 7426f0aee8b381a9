"""The table of model families: where each architecture of transformers keeps its layers, heads and units.

Each family has an entry; no code has an `if` on model types. Slicing, permuting, counting and the error for an unknown
architecture all use this table. `family.py` explains its fields, docs/families.md how to add an entry.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig

from supernet.models.architecture import count_architecture
from supernet.models.family import Block, Family, RelativePositions, SharedBias
from supernet.models.stand_ins import AbsentAttention, AbsentOutput, Zero, ZeroAttention
from supernet.runtime.errors import UserError, first_line, unknown
from supernet.space.cost import Activations, Architecture

_BERT = Family(
    layers="encoder.layer",
    attention=Block(
        rows=("attention.self.query", "attention.self.key", "attention.self.value"),
        columns=("attention.output.dense",),
        absent={"attention": AbsentAttention},
        widths=("attention.self.num_attention_heads", "attention.self.all_head_size"),
    ),
    feed_forward=Block(
        rows=("intermediate.dense",),
        columns=("output.dense",),
        absent={"intermediate": nn.Identity, "output": AbsentOutput},
    ),
)

# The same modules and names as BERT; the classifier differs, and positions start after the padding's position.
_ROBERTA = replace(_BERT, first_position=lambda config: config.pad_token_id + 1)

_DISTILBERT = Family(
    layers="transformer.layer",
    attention=Block(
        rows=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        columns=("attention.out_lin",),
        absent={"attention": ZeroAttention, "sa_layer_norm": nn.Identity},
        widths=("attention.n_heads", "attention.dim"),
    ),
    feed_forward=Block(
        rows=("ffn.lin1",),
        columns=("ffn.lin2",),
        absent={"ffn": Zero, "output_layer_norm": nn.Identity},
    ),
    units="hidden_dim",
    token_wise="sa_layer_norm",
)

_MPNET = replace(
    _BERT,
    attention=Block(
        rows=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        columns=("attention.attn.o",),
        absent={"attention": AbsentAttention},
        widths=("attention.attn.num_attention_heads", "attention.attn.all_head_size"),
    ),
    first_position=lambda config: 2,  # whatever the configuration says about padding
    shared_bias=SharedBias("encoder.relative_attention_bias.weight", reader="attention.attn", argument=2),
    activations=Activations(scores=2, biases=1),
    token_wise="attention.LayerNorm",
)


def _relative_span(config: PreTrainedConfig) -> int:
    """Largest distance that DeBERTa distinguishes, in either direction; 0 without relative attention."""
    if not config.relative_attention or not config.pos_att_type:
        return 0
    return config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings


def _buckets(config: PreTrainedConfig) -> int:
    """The same for DeBERTa-v2, which can put distances into buckets."""
    span, buckets = _relative_span(config), getattr(config, "position_buckets", -1)
    return buckets if span and buckets > 0 else span


_DEBERTA = replace(
    _BERT,
    attention=Block(
        rows=tuple(f"attention.self.{name}" for name in ("in_proj", "q_bias", "v_bias", "pos_proj", "pos_q_proj")),
        columns=("attention.output.dense",),
        absent={"attention": AbsentAttention},
        widths=("attention.self.num_attention_heads", "attention.self.all_head_size"),
    ),
    relative=RelativePositions(
        rows=("attention.self.pos_proj", "attention.self.pos_q_proj"),
        shared_rows=(),
        positions=lambda config: 2 * _relative_span(config),
        per_token=2,
    ),
    activations=Activations(heads=6, hidden=4, scores=2, masks=1, indices=1),
    refused=("talking_head",),
)

_DEBERTA_V2 = replace(
    _BERT,
    attention=Block(
        rows=tuple(f"attention.self.{name}_proj" for name in ("query", "key", "value", "pos_key", "pos_query")),
        columns=("attention.output.dense",),
        absent={"attention": AbsentAttention},
        widths=("attention.self.num_attention_heads", "attention.self.all_head_size"),
    ),
    first_stays=True,  # a convolution may follow it, and without any layer there is no result
    relative=RelativePositions(
        rows=("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
        shared_rows=("attention.self.key_proj", "attention.self.query_proj"),
        positions=lambda config: 2 * _buckets(config),
        per_token=0,
    ),
    activations=Activations(heads=3, hidden=4, scores=2, masks=1, indices=1),
)

_MODERNBERT = Family(
    layers="layers",
    attention=Block(
        rows=("attn.Wqkv",),
        columns=("attn.Wo",),
        absent={"attn_norm": nn.Identity, "attn": ZeroAttention},
        fused=3,
    ),
    feed_forward=Block(
        rows=("mlp.Wi",),
        columns=("mlp.Wo",),
        absent={"mlp_norm": nn.Identity, "mlp": Zero},
        fused=2,
    ),
    per_layer=("layer_types",),
    activations=Activations(heads=6, hidden=4),
    token_wise="mlp_norm",
    reads_first=lambda config: config.classifier_pooling == "cls",
    stacked_reads_mask=True,
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "camembert": _ROBERTA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA_V2,  # and v3
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "modernbert": _MODERNBERT,
    "mpnet": _MPNET,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}


def family_of(config: PreTrainedConfig) -> Family:
    """The family of the model that `config` describes.

    Raises:
        UserError: if the architecture is not in the table (names those that are), or if the configuration has a switch
            on that cannot be sliced (names it).
    """
    if config.model_type not in FAMILIES:
        raise unknown("model architecture", config.model_type, FAMILIES)
    family = FAMILIES[config.model_type]
    if on := [switch for switch in family.refused if getattr(config, switch, False)]:
        raise UserError(
            f"{on[0]} is on in this {config.model_type}'s config.json; such a model cannot be sliced; take another"
            " model"
        )
    return family


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """Sizes and cost coefficients of the sequence classifier that `config` describes.

    They come from a model that has shapes but no memory (torch's device "meta"), which takes about 10 ms. A model for
    multiple choice has the same costs as a classifier with a single label.

    Raises:
        UserError: if the architecture is not in the table, or cannot be sliced (`family_of`), or is impossible.
    """
    family = family_of(config)
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    except Exception as error:  # transformers checks little, and raises errors of all classes
        where = f"{config.name_or_path or 'a model'}'s config.json"
        raise UserError(
            f"{where} describes a model that cannot be built ({first_line(error)}); take another model"
        ) from error
    return count_architecture(family, model)
