"""Stage one, from top to bottom: fine-tunes a pre-trained encoder as a supernet, under Accelerate.

preparation.py reads rows and model, run.py trains and validates epoch by epoch, trainer.py makes one optimizer step.
Checkpoints are written every few hundred steps, after each epoch and when a signal asks the training to stop. The same
command resumes from the newest one and ends with the same weights as an uninterrupted training.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from supernet.artifact import INFO_FILE
from supernet.console.progress import plain_console
from supernet.options.training import TrainConfig
from supernet.runtime.files import prepare_folder
from supernet.runtime.processes import accelerate_session, lock_run_folder
from supernet.runtime.shapes import normalised
from supernet.runtime.signals import stop_request
from supernet.training.compiling import compiled_layers
from supernet.training.importance import write_importance
from supernet.training.preparation import prepare
from supernet.training.previous_run import (
    check_not_running,
    check_precision_unchanged,
    finish_killed_run,
    report_unchanged,
    with_precision,
)
from supernet.training.run import TrainingRun
from supernet.training.tracking import check_trackers


def train(config: TrainConfig) -> Path:
    """Trains a supernet and returns its folder. Trains nothing if the folder holds the supernet of this very run.

    Raises:
        UserError: if the output folder, the model or the rows cannot be used, or differ from those of a previous run.
        SystemExit: if a signal asks the training to stop, after a checkpoint is written.
    """
    given, config = config.train.mixed_precision, with_precision(normalised(config))
    folder, target = config.folder, config.folder / "supernet"
    check_trackers(config.tracking)
    with accelerate_session(given, log_with=config.tracking.to, logging_dir=folder / "tensorboard") as accelerator:
        console = plain_console(stderr=True, quiet=not accelerator.is_main_process)
        if os.path.isfile(target / INFO_FILE) and not config.overwrite:
            report_unchanged(config, accelerator, console)
            if accelerator.is_main_process:
                finish_killed_run(folder)
            return target
        check_precision_unchanged(config, given)
        if accelerator.is_main_process:
            prepare_folder(folder.parent)
            check_not_running(folder)
        prepared = prepare(config, accelerator, console)
        compiled = compiled_layers(prepared.trainer.model) if config.train.compile else nullcontext()
        with compiled, lock_run_folder(accelerator, folder), stop_request() as stop:
            if accelerator.is_main_process and prepared.importance is not None:
                write_importance(folder, prepared.importance)
            with TrainingRun.started(prepared, console, stop) as run:
                run.train_to_the_end()
    return target
