"""The commands, by name, and how the user typed the one that runs: messages name the next command in the same form."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = "plm-supernet"


@dataclass(frozen=True)
class CommandRow:
    """A command.

    Attributes:
        main: The function that runs it, as MODULE:FUNCTION. A name, since it is imported only when the command runs.
        options: The dataclass of its options, as MODULE:CLASS. Its docstring says more about the command.
        description: One line, for people.
        examples: What a user may type after the command's name, and what that does.
        script: File in the root of the repository that runs it, if there is such a file.
        also: Commands whose options it takes too.
        without: Keys of these commands that it does not take.
    """

    main: str
    options: str
    description: str
    examples: Mapping[str, str]
    script: str | None = None
    also: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


COMMANDS: Mapping[str, CommandRow] = {
    "compress": CommandRow(
        "search.compress:main",
        "search.options.compress:CompressConfig",
        "All stages: from rows to a small model within a budget, measured",
        {
            "task=custom data.dir=reviews.csv max_error_increase=0.01": "the smallest model that loses at most a point",
            "task=custom data.dir=reviews.csv max_latency_ms=50%": "the most accurate in half of the time",
            "task=stdlib max_params=0.5 train.epochs=2": "half of the encoder, at most",
            "task=sst2 max_params=0.25 formats=[openvino] finetune.epochs=0": "options of the stages",
        },
        also=("train", "search", "export"),
        without=("supernet", "baseline", "evaluator", "run", "subnet", "trial"),
    ),
    "train": CommandRow(
        "supernet.cli:main",
        "supernet.options.training:TrainConfig",
        "Stage one: fine-tune a pre-trained model as a supernet",
        {
            "task=stdlib experiment=best": "needs no download of rows",
            "task=sst2 data.dir=GLUE experiment=best": "a task of GLUE, from files",
            "task=custom data.dir=reviews.csv experiment=best": "your own rows",
            "task=mnli model=bert-base-cased experiment=best": "another model",
        },
        script="train_supernet.py",
    ),
    "search": CommandRow(
        "search.cli:main",
        "search.options.search:SearchConfig",
        "Stage two: search a supernet for its best sub-networks",
        {
            "searcher=ehvi": "the supernet that was trained last",
            "searcher=random max_evaluations=200 supernet=runs/train/NAME": "another searcher and supernet",
            "searcher=nsga2 objectives=[error,latency_ms] workload.batch_size=8": "latency instead of parameters",
            "evaluator=finetune searcher=moasha": "train each sub-network alone",
        },
        script="search.py",
    ),
    "select": CommandRow(
        "search.choice.select:main",
        "search.options.select:SelectConfig",
        "Choose the sub-network of a search that fits a budget",
        {
            "max_params=0.5": "the most accurate sub-network with at most half of the encoder",
            "max_latency_ms=10": "the most accurate sub-network that takes at most 10 ms",
            "max_error_increase=0.01": "the cheapest sub-network that loses at most a point",
            "max_params=0.5 max_latency_ms=50% format=json": "two limits, for programs",
        },
    ),
    "export": CommandRow(
        "search.cli:export_main",
        "search.options.export:ExportConfig",
        "Write the sub-network that fits a budget as a folder for other tools",
        {
            "max_params=0.5": "the sub-network that select max_params=0.5 chooses",
            "max_latency_ms=50% formats=[onnx,int8]": "with files for ONNX Runtime, in float32 and int8",
            "max_params=0.5 finetune.epochs=1": "trained alone for an epoch first",
            "subnet=chosen.json push=OWNER/NAME": "what select format=json printed, and upload it",
        },
    ),
    "predict": CommandRow(
        "supernet.predict:main",
        "supernet.options.predict:PredictConfig",
        "Predict the labels of texts with an exported model",
        {
            "input=texts.csv": "the model that was exported last, a table with the column of the texts",
            "model=FOLDER input=texts.csv text=review output=labels.csv": "another model, column and output",
            "input=texts.jsonl engine=onnx probabilities=true output=labels.jsonl": "with all probabilities",
            "input=- < texts.txt": "a text in each line",
        },
    ),
    "profile": CommandRow(
        "search.cli:profile_main",
        "search.options.profile:ProfileConfig",
        "Measure a latency table, so that a search can compute latencies",
        {
            "supernet=runs/train/NAME": "one text of 128 tokens",
            "workload.batch_size=8 workload.length=64": "eight texts of 64 tokens",
        },
    ),
    "doctor": CommandRow(
        "search.doctor.command:main",
        "search.options.doctor:DoctorConfig",
        "Check the machine and a planned training before hours are spent",
        {
            "": "the machine alone",
            "task=sst2 data.dir=GLUE experiment=best": "a training too: sizes, memory, disk, time",
            "task=stdlib experiment=best max_params=0.25 max_latency_ms=50%": "whether a budget can be reached",
            "-m task=rte,mrpc seed=0,1,2": "what a sweep would start, and how long it takes",
        },
        also=("train",),
    ),
    "report": CommandRow(
        "search.report.overlay:main",
        "search.report.overlay:ReportConfig",
        "Compare many searches in one report",
        {
            "": "all runs in runs/search",
            "runs=[runs/search/NAME,runs/search/sst2-*]": "these runs",
            "title='Searchers on sst2' name=searchers": "with this title, in runs/report/searchers",
            "format=[csv,latex,pdf]": "with tables and a picture for a paper",
        },
    ),
}


def schema_of(name: str) -> type[Any]:
    """The dataclass of a command's options.

    Args:
        name: A key of `COMMANDS`.
    """
    return pkgutil.resolve_name(COMMANDS[name].options)


def typed_command(name: str) -> str:
    """What to type for a command, in the form that the user typed for the command that runs.

    A script (`python search.py`) names scripts, and `python -m supernet` where a command has no script. Everything
    else names the installed program (`plm-supernet search`).

    Args:
        name: A key of `COMMANDS`.
    """
    started = Path(sys.argv[0])
    if started.name in (row.script for row in COMMANDS.values()):
        script = COMMANDS[name].script
        return f"python -m supernet {name}" if script is None else f"python {started.with_name(script)}"
    if (started.parent.name, started.name) == ("supernet", "__main__.py"):
        return f"python -m supernet {name}"
    return f"{PROGRAM} {name}"


def typed_launch(name: str) -> str:
    """What to type to run a command in several processes, in the form that the user typed."""
    command = typed_command(name).removeprefix("python ")
    return f"accelerate launch --num_processes 4 {command.replace(PROGRAM, '-m supernet')}"
