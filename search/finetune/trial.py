"""One trial of standard NAS, as a process of its own: a sub-network trained alone from the pre-trained weights.

    python -m search.finetune.trial JOB_FOLDER TRIAL_FOLDER PARENT

reads the shared job from the first folder and subnet.json from the second. After each part of an epoch it evaluates on
the validation rows, writes weights.safetensors into the second folder and reports to Syne Tune. `search.
finetune` writes the first folder; process PARENT starts the trials, and they end when it does.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
from syne_tune.report import Reporter
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from supernet.data.tokens import TokenizedSplit
from supernet.evaluation.evaluator import Evaluator
from supernet.models.pretrained import load_tokenizer, quiet_transformers, read_classifier
from supernet.models.single import SingleSpace
from supernet.models.slicing import extract
from supernet.models.weights import write_weights
from supernet.options.task import Task
from supernet.options.training import TrainConfig
from supernet.runtime.files import write_json
from supernet.runtime.processes import accelerate_session
from supernet.runtime.reading import load_json
from supernet.runtime.shapes import shaped
from supernet.space.subnetwork import SubNetwork
from supernet.training.trainer import Trainer

T = TypeVar("T")

SUBNET_FILE, WEIGHTS_FILE = "subnet.json", "weights.safetensors"


@dataclass(frozen=True)
class Job:
    """The inputs that all trials of a run share.

    Attributes:
        config: How to train. The strategy is standard, since the space has a single sub-network.
        reports_per_epoch: Evaluations in each epoch, at most as many as it has steps.
        model: The pre-trained model with the classifier that all trials start from.
        tokenizer: Its tokenizer.
        train, validation: The rows.
    """

    config: TrainConfig
    reports_per_epoch: int
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    train: TokenizedSplit
    validation: TokenizedSplit

    @property
    def task(self) -> Task:
        """The task, completed by the supernet's training."""
        return self.config.task.resolve()

    def write(self, folder: Path) -> None:
        """Writes the job into an empty folder."""
        with quiet_transformers():
            self.model.save_pretrained(folder / "model")
            self.tokenizer.save_pretrained(folder / "model")
        for name in ("train", "validation"):
            arrays = {f.name: getattr(getattr(self, name), f.name) for f in fields(TokenizedSplit)}
            np.savez(folder / f"{name}.npz", **{key: array for key, array in arrays.items() if array is not None})
        write_json(folder / "job.json", {"config": asdict(self.config), "reports_per_epoch": self.reports_per_epoch})

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Inverse of `write`."""
        values = load_json(folder / "job.json")
        config = shaped(TrainConfig, values["config"])
        model = read_classifier(folder / "model", config.task.resolve())
        tokenizer = load_tokenizer(folder / "model", model.config)
        train, validation = (_read_split(folder / f"{name}.npz") for name in ("train", "validation"))
        return cls(config, values["reports_per_epoch"], model, tokenizer, train, validation)


def train_alone(job: Job, subnet: SubNetwork, folder: Path, report: Reporter, *, parent: int) -> None:
    """Trains a sub-network of the pre-trained model, and evaluates, writes and reports it regularly.

    Args:
        job: The inputs that all trials share.
        subnet: What to train.
        folder: For its weights.
        report: Receives error and loss on the validation rows, and the numbers of reports and epochs so far.
        parent: The search's process. The training ends when that process does.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    model = extract(job.model, subnet)
    with accelerate_session(job.config.train.mixed_precision) as accelerator:
        space = SingleSpace.of(model, subnet)
        trainer = Trainer(job.config, accelerator, model, space, job.train, pad_token_id=job.tokenizer.pad_token_id)
        evaluator = Evaluator(
            job.validation,
            job.task,
            job.tokenizer,
            device=accelerator.device,
            mixed_precision=accelerator.mixed_precision,
        )
        reports = step = 0
        for epoch in range(job.config.train.epochs):
            batches = trainer.batches(epoch)
            for part in np.array_split(np.arange(len(batches)), job.reports_per_epoch):
                for i in part:
                    losses = trainer.step(batches[i], step).losses
                    step += 1
                    if os.getppid() != parent:  # it was killed, so nobody would stop this process
                        sys.exit("the search has ended")
                if not all(math.isfinite(loss.item()) for loss in losses.values()):
                    raise FloatingPointError(f"the loss is not finite at step {step}")
                reports += 1
                scores, epochs = evaluator.evaluate(model), reports / job.reports_per_epoch
                seen = {"error": scores.error, "loss": scores.loss, "reports": reports, "epochs": epochs}
                write_weights(folder / WEIGHTS_FILE, model, seen)
                report(**seen)


def _read_split(path: Path) -> TokenizedSplit:
    with np.load(path, allow_pickle=False) as saved:
        arrays = {"token_type_ids": None} | {name: saved[name] for name in saved.files}
    return TokenizedSplit(**arrays | {"sequences": int(arrays["sequences"])})


def main() -> None:
    """Runs the trial that the command line names."""
    job_folder, trial_folder, parent = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    subnet = SubNetwork.from_json(load_json(trial_folder / SUBNET_FILE))
    train_alone(Job.read(job_folder), subnet, trial_folder, Reporter(), parent=parent)


if __name__ == "__main__":
    main()
