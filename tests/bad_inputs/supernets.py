"""Trained supernets: supernet.json and what lies beside it, read by a search and by `search.profile`."""

from tests.bad_inputs.rows import BAD_JSON, DROPPED, SOME_BAD_JSON, Bad, change, cut, folder_instead, link, put, remove

_INFO = "trained/supernet/supernet.json"

_VALUES = (
    # key, value, words
    ("task", 5, "task is 5; it must be a table"),
    ("task.name", None, "task.name is null; it must be text"),
    ("task.text", "sentence", 'task.text is "sentence"; it must be a list'),
    ("task.metric", "beauty", "task.metric 'beauty' is unknown"),
    ("task.metric", 4, "task.metric is 4; it must be text"),
    ("task.classes", ["only one"], "two or more classes"),
    ("task.classes", ["a", "b", "c"], "needs 3 outputs, the model has 2"),
    ("task.max_length", "long", 'task.max_length is "long"; it must be a whole number'),
    ("task.max_length", 100000, "this model reads at most 160 tokens"),
    ("task.max_length", -1, "at least 4 tokens"),
    ("task.label_ids", "yes", 'task.label_ids is "yes"; it must be true or false'),
    ("task.kind", "poetry", "task.kind 'poetry' is unknown"),
    ("data", [], "data is []; it must be a table"),
    ("data.source", "moon", "data.source 'moon' is unknown"),
    ("data.split_seed", 1.5, "data.split_seed is 1.5; it must be a whole number"),
    ("data.max_train_samples", -2, "leaves too few rows"),
    ("splits", "abc", 'splits is "abc"; it must be a table'),
    ("splits", [1, 2], "splits is [1, 2]; it must be a table"),
    ("splits.train", 7, "splits.train is 7; it must be text"),
    ("space", None, "space is null; it must be a table"),
    ("space.name", "huge", "space 'huge' is unknown"),
    ("space.multiple_of", 0, "space.multiple_of is 0"),
    ("space.min_layers", "two", 'space.min_layers is "two"; it must be a whole number'),
    ("space.depth", "random", "space.depth 'random' is unknown"),
    ("space.depth", "importance", "layer_importance is null; it must be a list of 4"),
    ("layer_importance", "much", 'layer_importance is "much"; it must be a list'),
    ("layer_importance", [1, 2], "layer_importance is [1.0, 2.0]; it must be a list of 4"),
    ("layer_importance", [1, 2, 3, "x"], 'layer_importance[3] is "x"; it must be a number'),
    ("layer_importance", [1, 2, 3, float("nan")], "layer_importance[3] is NaN"),
    ("layer_importance", [1, 2, 3, -4], "layer_importance[3] is -4.0; it must be 0 or more"),
    ("strategy.name", "nap", "strategy 'nap' is unknown"),
    ("strategy.k", 10**400, "strategy.k is 1000"),
    ("sampling.per_rank", 0, "sampling.per_rank is 0; it must be true or false"),
    ("distillation.temperature", float("inf"), "distillation.temperature is Infinity"),
    ("order.batches", 0, "order.batches is 0"),
    ("seed", "s", 'seed is "s"; it must be a whole number'),
    ("seed", -1, "seed is -1; it must be 0 or more"),
    ("validation_error", 0.5, "validation_error is 0.5; it must be a table"),
    ("validation_error.largest", float("nan"), "validation_error.largest is NaN"),
    ("versions", {"torch": 2}, "versions.torch is 2; it must be text"),
    ("model", DROPPED, "model is missing"),
    ("splits", DROPPED, "splits is missing"),
    ("modle", "x", "key modle is unknown, perhaps model was meant"),
    ("format", 1, "it was written by another version"),
    ("format", DROPPED, "it was written by another version"),
)

_TRAINING = (
    # key, value, words
    ("train.epochs", "many", 'train.epochs is "many"; it must be a whole number'),
    ("train.learning_rate", -1, "train.learning_rate is -1.0; it must be a number greater than 0"),
    ("model.name", 7, "model.name is 7; it must be text"),
    ("seeds", None, "seeds is null; it must be a table"),
    ("task", DROPPED, "task is missing"),
)

ROWS = [
    *(
        Bad(f"supernet.json: {key} = {value!s:.20}", ("search", "profile")[i % 2], "",
            ("supernet/supernet.json cannot be used", words, "train the supernet again"), (change(_INFO, key, value),))
        for i, (key, value, words) in enumerate(_VALUES)
    ),
    *(
        Bad(f"supernet.json: {what}", ("search", "profile")[i % 2], "", ("supernet/supernet.json cannot be used",),
            (put(_INFO, content),))
        for i, (what, content) in enumerate(BAD_JSON.items())
    ),
    *(
        Bad(f"no {name}", "search", "", (f"is incomplete: no {name}",), (remove(f"trained/supernet/{name}"),))
        for name in ("supernet.json", "config.json", "model.safetensors", "tokenizer.json")
    ),
    *(
        Bad(f"{name} is a folder", "profile", "", (f"is incomplete: no {name}",),
            (folder_instead(f"trained/supernet/{name}"),))
        for name in ("supernet.json", "config.json", "model.safetensors", "tokenizer.json")
    ),
    Bad("supernet.json links to itself", "search", "", ("is incomplete: no supernet.json",),
        (link(_INFO, "supernet.json"),)),
    Bad("weights are cut off", "search", "", ("the weights in", "cannot be read"),
        (cut("trained/supernet/model.safetensors", 500),)),
    Bad("weights are empty", "profile", "", ("the weights in", "cannot be read"),
        (put("trained/supernet/model.safetensors", b""),)),
    Bad("supernet is a file", "search", "supernet={trained}/config.json", ("there is no such folder",)),
    Bad("an empty folder", "search", "supernet={trained}", ("is incomplete: no supernet.json",),
        (remove("trained/supernet"),)),
    *(
        Bad(f"training's config.json: {key} = {value!s:.20}", "search", "evaluator=finetune",
            ("trained/config.json, which names them, cannot be used", words),
            (change("trained/config.json", key, value),))
        for key, value, words in _TRAINING
    ),
    *(
        Bad(f"training's config.json: {what}", "search", "evaluator=finetune",
            ("trained/config.json, which names them, cannot be used",), (put("trained/config.json", content),))
        for what, content in SOME_BAD_JSON.items()
    ),
    Bad("no scores to order by", "search", "evaluator=finetune", ("no importance.npz with that order",),
        (change(_INFO, "order.name", "importance"),)),
    Bad("scores are damaged", "search", "evaluator=finetune", ("trained/importance.npz cannot be used",),
        (change(_INFO, "order.name", "importance"), put("trained/importance.npz", b"scores"))),
    Bad("no supernet at all", "search", "supernet=null", ("there is no trained supernet in",)),
    Bad("no supernet at all", "profile", "supernet=null", ("there is no trained supernet in",)),
    Bad("other rows", "search", "data.dir={data}", ("are not those that the supernet was trained with",),
        (change("data/sst2/train.jsonl", "sentence", "another", line=3),)),
    Bad("no rows", "search", "data.dir={data}", ("no file of task 'sst2'",), (remove("data/sst2/train.jsonl"),)),
    Bad("a space that the model is too small for", "search", "", ("space.min_layers is 9, but the model has 4",),
        (change(_INFO, "space.min_layers", 9),)),
]  # fmt: skip
