"""Command lines that say nothing, too much or something else: keys, nulls, several values, places to write."""

from tests.bad_inputs.rows import Bad

_KEYS = (
    # command, argument, words
    ("train", "data=x.csv", "did you mean data.dir=x.csv"),
    ("train", "train=3", "key 'train' stands for several; give one of train.epochs"),
    ("search", "workload=8x128", "give one of workload.batch_size, workload.length"),
    ("train", "model=./bert", "a file or folder: model.name_or_path=./bert"),
    ("train", "train.lr=3e-5", "did you mean train.learning_rate?"),
    ("train", "lr=3e-5", "or train.learning_rate?"),
    ("train", "train.bs=8", "did you mean train.batch_size?"),
    ("train", "train.wd=0", "did you mean train.weight_decay?"),
    ("train", "train.num_train_epochs=3", "did you mean train.epochs?"),
    ("train", "train.warmup_ratio=0.1", "did you mean train.warmup?"),
    ("train", "max_len=64", "did you mean task.max_length?"),
    ("train", "fp16=true", "did you mean train.mixed_precision?"),
    ("train", "dataset=glue", "did you mean data.hub?"),
    ("search", "trials=5", "did you mean max_evaluations?"),
    ("search", "epochs=5", "did you mean evaluator.epochs?"),
    ("train", "größe=3", "key 'größe' is unknown"),
    ("train", "=3", "'=3' is not understood"),
    ("train", "mnli", "'mnli' is not understood; write key=value"),
    ("train", "+train.epochs=3", "write train.epochs=value"),
    ("train", "~task", "'~task' is not understood"),
    ("train", "task=größe", "task 'größe' is unknown; allowed"),
    ("train", "task.classes[0]=x", "key 'task.classes[0]' is unknown"),
    ("report", "--resolve", "can only be used in conjunction with --cfg"),
    ("train", "--cfg=job task=mnil", "Could not find 'task/mnil'"),
    ("train", "--shell-completion", "Expecting one subcommand from ['install', 'uninstall', 'query']"),
    ("select", "--cfg=job -m", "Only one of --run, --multirun, --cfg"),
    ("select", "--config-dir={out}/none", "config directory"),
)

_VALUES = (
    ("train", "train.epochs=3[", "train.epochs '3[' must be a whole number"),
    ("train", "train.epochs=[1]", "train.epochs [1] must be a whole number"),
    ("train", "train.epochs=[", "train.epochs '[' must be a whole number"),
    ("train", "overwrite=[true]", "overwrite [True] must be true or false"),
    ("train", "tracking.to=wandb", "must be a list: tracking.to=[wandb]"),
    ("train", "data.dir={out}/Größe[1],2.csv", "has several values"),
    ("train", "data.dir={out}/Größe[1].csv", "Größe[1].csv is not a folder"),
    ("search", "supernet={out}/~größe", "there is no such folder"),
    ("train", "train.epochs=", "is empty; give it a value"),
    ("train", "data.dir=a,", "is not understood; write key=value"),
    ("train", "data.dir=,", "is not understood; write key=value"),
    ("train", "seed=0,1", "add -m to run with each of them in turn"),
    ("train", "seed=range(0,3)", "seed=range(0,3) has several values; add -m"),
    ("train", "data.text=title,body", "write data.text=[title,body] for a list"),
    ("train", "data.label=a,b", "for one name with a comma"),
    ("select", "max_params=0.5,0.3", "add -m to run with each of them in turn"),
    ("train", "-m train.epochs=1,0", "train.epochs is 0; it must be 1 or more"),
    ("train", "-m task=sst2,sts2", "task 'sts2' is unknown"),
    ("train", "seed=0,-1 -m", "seeds.model is -1"),
    ("train", "-m seed=interval(0,1)", "give them one by one: seed=VALUE,VALUE"),
    ("train", "seed=interval(0,1)", "seed=interval(0,1) names no values"),
    ("train", "-m task=glob(*)", "task=glob(*) names no values; give them one by one: task=VALUE,VALUE"),
    ("train", "data.label=glob(*)", "data.label=glob(*) names no values"),
    ("train", "-m data.label=glob(*)", "data.label=glob(*) names no values"),
    ("train", "seed=???", "seed has no value; give a whole number, for example seed=0"),
    ("train", "data.label=???", "data.label has no value; give it a value"),
    ("train", f"train.learning_rate={'9' * 400}", "int too large to convert to float"),
    ("train", "data.dir=,x", "'data.dir=,x' is not understood; write key=value"),
)

_NULL = {
    "train": ("train.epochs", "train.learning_rate", "overwrite", "output_dir", "tracking.to", "seed", "task.metric"),
    "search": ("max_evaluations", "objectives", "workload.length", "mixed_precision", "baseline.budgets"),
    "profile": ("turns", "check_subnets"),
    "select": ("format", "output_dir"),
    "report": ("runs", "pool_supernets"),
}

_PLACES = (
    ("train", "output_dir={run}/run.json/x", "cannot be written (a part of its path is a file)"),
    ("train", "data.cache_dir={run}/run.json/x", "choose another place with data.cache_dir=FOLDER"),
    ("search", "output_dir={run}/run.json/x", "cannot be written (a part of its path is a file)"),
    ("report", "output_dir={run}/run.json/x", "cannot be written (a part of its path is a file)"),
    ("search", f"name={'x' * 300}", "cannot be written (the name is too long); shorten it, or choose"),
    ("report", f"name={'x' * 300}", "cannot be written (the name is too long); shorten it, or choose"),
)

ROWS = [
    *(Bad(argument[:60], command, argument, (words,)) for command, argument, words in (*_KEYS, *_VALUES)),
    *(
        Bad(f"{key}=null", command, (f"{key}=null",), (f"{key} must not be null; give ",))
        for command, keys in _NULL.items()
        for key in keys
    ),
    *(Bad(argument[:60], command, argument, (words,), talks=True) for command, argument, words in _PLACES),
]
