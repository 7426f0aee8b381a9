"""Run by test_distributed.py in each of several processes: trains one configuration after the other.

`sys.argv` names CALLS_FILE and CONFIGURATIONS_FILE. The main process appends to CALLS_FILE a JSON line for each
configuration: how many all-reduces each step made, and the sub-networks that each process trained in the first step.
"interrupted" among a configuration's overrides makes it train in two parts.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object

from supernet.console.config import load_config
from supernet.options.training import TrainConfig
from supernet.runtime.distributed import end_group
from supernet.training.train import train
from supernet.training.trainer import Trainer


def main():
    calls_file, configurations = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    all_reduce, step = torch.distributed.all_reduce, Trainer.step
    calls, per_step, drawn, stop_at = [], [], [], -1

    def counted_all_reduce(*arguments, **options):
        calls.append(1)
        return all_reduce(*arguments, **options)

    def counted_step(self, rows_B, number, **options):
        if number == stop_at:
            raise InterruptedError
        calls.clear()
        result = step(self, rows_B, number, **options)
        per_step.append(len(calls))
        if number == 0:
            mine = [str(p.subnet.to_json()) for p in self._passes(0) if p.kind == "random"]
            drawn.append(gather_object([mine]))
        return result

    torch.distributed.all_reduce, Trainer.step = counted_all_reduce, counted_step
    for overrides in configurations:
        if "interrupted" in overrides:
            overrides.remove("interrupted")
            stop_at = 7
            with contextlib.suppress(InterruptedError):
                train(load_config("train", TrainConfig, overrides))
        stop_at = -1
        per_step.clear()
        drawn.clear()
        train(load_config("train", TrainConfig, overrides))
        if os.environ["RANK"] == "0":
            with calls_file.open("a") as file:
                file.write(json.dumps({"all_reduces": per_step, "drawn": drawn}) + "\n")
    end_group()
