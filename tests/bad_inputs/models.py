"""Folders of pre-trained models: config.json, weights, tokenizer. A training reads them."""

import json

from tests.bad_inputs.rows import BAD_JSON, DROPPED, SOME_BAD_JSON, Bad, change, cut, folder_instead, link, put, remove

_NAN = float("nan")

_CONFIG = (
    # key, value, words
    ("hidden_size", "x", "Field 'hidden_size' expected int, got str"),
    ("hidden_size", None, "Field 'hidden_size' expected int, got NoneType"),
    ("hidden_size", 16.5, "Field 'hidden_size' expected int, got float"),
    ("hidden_size", 0, "hidden_size is 0; it must be from 1 to"),
    ("hidden_size", -8, "hidden_size is -8; it must be from 1 to"),
    ("hidden_size", 10**20, "hidden_size is 100000000000000000000; it must be"),
    ("hidden_size", 17, "a hidden size of 17 cannot be divided among 4 attention heads"),
    ("num_attention_heads", 0, "num_attention_heads is 0; it must be from 1 to"),
    ("num_attention_heads", 7, "a hidden size of 16 cannot be divided among 7 attention heads"),
    ("num_attention_heads", -4, "num_attention_heads is -4; it must be from 1 to"),
    ("num_attention_heads", [4], "Field 'num_attention_heads' expected int, got list"),
    ("num_hidden_layers", -1, "num_hidden_layers is -1; it must be from 1 to 1000"),
    ("num_hidden_layers", 0, "num_hidden_layers is 0; it must be from 1 to 1000"),
    ("num_hidden_layers", 10**6, "num_hidden_layers is 1000000; it must be from 1 to 1000"),
    ("num_hidden_layers", "4", "Field 'num_hidden_layers' expected int, got str"),
    ("intermediate_size", 0, "intermediate_size is 0; it must be from 1 to"),
    ("intermediate_size", -3, "intermediate_size is -3; it must be from 1 to"),
    ("intermediate_size", {}, "Field 'intermediate_size' expected int, got dict"),
    ("vocab_size", 0, "vocab_size is 0; it must be from 1 to"),
    ("vocab_size", "a", "Field 'vocab_size' expected int, got str"),
    ("max_position_embeddings", 0, "max_position_embeddings is 0; it must be from 1 to"),
    ("max_position_embeddings", [], "Field 'max_position_embeddings' expected int, got list"),
    ("hidden_act", "sigmund", 'hidden_act is "sigmund"; it must be one of'),
    ("hidden_act", 5, "Field 'hidden_act' expected str, got int"),
    ("layer_norm_eps", "x", "Field 'layer_norm_eps' expected float, got str"),
    ("layer_norm_eps", -1.0, "layer_norm_eps is -1.0; it must be from 0 to 1"),
    ("layer_norm_eps", _NAN, "layer_norm_eps is NaN; it must be a finite number"),
    ("hidden_dropout_prob", 5, "dropout probability has to be between 0 and 1, but got 5"),
    ("hidden_dropout_prob", "x", "hidden_dropout_prob"),
    ("hidden_dropout_prob", _NAN, "hidden_dropout_prob is NaN; it must be a finite number"),
    ("type_vocab_size", -1, "describes a model that cannot be built"),
    ("pad_token_id", 99, "pad_token_id is 99; it must be from 0 to less than vocab_size, 50"),
    ("pad_token_id", -3, "pad_token_id is -3; it must be from 0 to less than vocab_size, 50"),
    ("pad_token_id", "x", "Field 'pad_token_id' with value 'x'"),
    ("initializer_range", -1.0, "initializer_range is -1.0; it must be from 0 to"),
    ("model_type", 5, "has model type `5`"),
    ("model_type", DROPPED, "Should have a `model_type` key"),
    ("id2label", 5, "'int' object has no attribute 'items'"),
    ("dtype", "float99", "no attribute 'float99'"),
    ("attn_implementation", "magic", "describes a model that cannot be built"),
    ("add_cross_attention", True, "add_cross_attention is on in this bert's config.json"),
)

_AFTER_THE_ROWS = (
    # key, value, words
    ("num_hidden_layers", 2, "there are 2 layers, and the weights have 4"),
    ("num_hidden_layers", 9, "do not fit its config.json: 80 tensors"),
    ("intermediate_size", 12, "do not fit its config.json"),
    ("chunk_size_feed_forward", "x", "cannot compute a text"),
    ("return_dict", False, "cannot compute a text"),
)
"""Values that only building the model, or trying it, shows to be wrong."""

_WEIGHTS = {
    "empty": b"",
    "seven bytes": b"1234567",
    "a page of HTML": b"<!DOCTYPE html>" * 20,
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a76\nsize 133\n",
    "an endless header": b"\xff" * 8 + b"{}",
}

_TOKENIZER = (
    # file, key, value, words
    ("tokenizer.json", "model", 5, "'int' object has no attribute 'get'"),
    ("tokenizer.json", "model", {"type": "WordPiece"}, "missing field"),
    ("tokenizer.json", "model.vocab.zz", 70, "has 71 tokens, its model only 50"),
    ("tokenizer.json", "model.vocab.zz", -1, "cannot be read"),
    ("tokenizer.json", "model.vocab.zz", "x", "cannot be read"),
    ("tokenizer.json", "normalizer", {"type": "Magic"}, "NormalizerUntagged"),
    ("tokenizer.json", "pre_tokenizer", 3, "PreTokenizerUntagged"),
    ("tokenizer.json", "added_tokens", "x", "cannot be read"),
    ("tokenizer.json", "version", "9.9", "Unknown tokenizer version '9.9'"),
    ("tokenizer_config.json", "tokenizer_class", 5, "cannot be read"),
    ("tokenizer_config.json", "pad_token", None, "has no padding token (pad_token)"),
    ("tokenizer_config.json", "pad_token", 5, "Special token pad_token has to be"),
    ("tokenizer_config.json", "padding_side", "up", "current value: up"),
    ("tokenizer_config.json", "added_tokens_decoder", 5, "cannot be read"),
    ("tokenizer_config.json", "model_input_names", 5, "cannot be read"),
)

_INDEX = (
    # content, words
    ({}, "weight_map is missing"),
    ({"weight_map": {"a": "b"}}, "metadata is missing"),
    ({"metadata": {}, "weight_map": 5}, "weight_map is 5; it must be a table"),
    ({"metadata": {}, "weight_map": {}}, "weight_map is empty"),
    ({"metadata": 7, "weight_map": {"a": "b"}}, "metadata is 7; it must be a table"),
    ({"metadata": {}, "weight_map": {"a": 5}}, "weight_map.a is 5; it must be text"),
    (
        {"metadata": {}, "weight_map": {"a": "other.safetensors"}},
        "other.safetensors, which weight_map names, is not there",
    ),
    (
        {"metadata": {}, "weight_map": {"a": "../../x.safetensors"}},
        '"../../x.safetensors"; it must be a .safetensors file',
    ),
    ({"metadata": {}, "weight_map": {"a": "/etc/passwd"}}, '"/etc/passwd"; it must be a .safetensors file beside it'),
    ({"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}}, '"pytorch_model.bin"; it must be a .safetensors file'),
)

_FILE = "model/model.safetensors"
_INDEX_FILE = "model/model.safetensors.index.json"

ROWS = [
    *(
        Bad(f"config.json: {key} = {value!s:.20}", "train", "", ("config.json", words),
            (change("model/config.json", key, value),))
        for key, value, words in _CONFIG
    ),
    *(
        Bad(f"config.json: {key} = {value!s:.20}", "train", "", ("/model", words),
            (change("model/config.json", key, value),), talks=True)
        for key, value, words in _AFTER_THE_ROWS
    ),
    *(
        Bad(f"config.json: {what}", "train", "", ("model/config.json cannot be used",),
            (put("model/config.json", content),))
        for what, content in SOME_BAD_JSON.items()
    ),
    *(
        Bad(f"weights: {what}", "train", "", ("the weights in", "/model cannot be read"),
            (put(_FILE, content),), talks=True)
        for what, content in _WEIGHTS.items()
    ),
    *(
        Bad(f"{file}: {key} = {value!s:.20}", "train", "", ("the tokenizer in", words),
            (change(f"model/{file}", key, value),))
        for file, key, value, words in _TOKENIZER
    ),
    *(
        Bad(f"{file}: {what}", "train", "", ("the tokenizer in", "/model cannot be read"),
            (put(f"model/{file}", content),))
        for file in ("tokenizer.json", "tokenizer_config.json")
        for what, content in BAD_JSON.items()
        if what != "an integer of 5000 digits"
    ),
    *(
        Bad(f"index: {content!s:.60}", "train", "", (_INDEX_FILE, words),
            (remove(_FILE), put(_INDEX_FILE, json.dumps(content))))
        for content, words in _INDEX
    ),
    *(
        Bad(f"index: {what}", "train", "", (f"{_INDEX_FILE} cannot be used",),
            (remove(_FILE), put(_INDEX_FILE, content)))
        for what, content in SOME_BAD_JSON.items()
    ),
    Bad("weights are cut off", "train", "", ("the weights in", "cannot be read"), (cut(_FILE, 900),), talks=True),
    Bad("no weights", "train", "", ("/model has no weights: no model.safetensors",), (remove(_FILE),)),
    Bad("weights are a folder", "train", "", ("/model has no weights",), (folder_instead(_FILE),)),
    Bad("weights link to themselves", "train", "", ("/model has no weights",), (link(_FILE, "model.safetensors"),)),
    Bad("weights are pickled", "train", "", ("pytorch_model.bin is a pickle, which is not read",),
        (remove(_FILE), put("model/pytorch_model.bin", b"cos\nsystem\n(S'true'\ntR."))),
    Bad("another architecture", "train", "", ("model architecture 'gpt2' is unknown; allowed: bert",),
        (change("model/config.json", "model_type", "gpt2"),)),
    Bad("no config.json", "train", "", ("/model has no config.json",), (remove("model/config.json"),)),
    Bad("config.json links to itself", "train", "", ("/model has no config.json",),
        (link("model/config.json", "config.json"),)),
    Bad("config.json is a folder", "train", "", ("/model has no config.json",),
        (folder_instead("model/config.json"),)),
    Bad("no tokenizer", "train", "", ("/model has no tokenizer: none of tokenizer.json",),
        (remove("model/tokenizer.json"),)),
    Bad("the folder links to itself", "train", "model.name_or_path={loop}", ("loop: there is no such folder",),
        (link("loop", "loop"),)),
    Bad("another checksum", "train", "model.sha256=abc model.size_bytes=null", ("has sha256", "expected abc"),),
    Bad("no teacher", "train", "distillation.teacher={out}/none", ("no such folder, or no config.json in it",),
        talks=True),
    Bad("a teacher of three classes", "train", "distillation.teacher={model}", ("/model has 3 outputs", "needs 2"),
        talks=True),
]  # fmt: skip
