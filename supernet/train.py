"""Stage one, from top to bottom: fine-tune a pre-trained encoder as a supernet, under Accelerate.

The model is not wrapped: each step runs several forward and backward passes of sub-networks, adds their gradients up
locally, and all-reduces them once.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env, set_seed
from rich.console import Console
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from supernet.checkpoint import INFO_FILE, Supernet, SupernetInfo, save_supernet
from supernet.data import load_task
from supernet.errors import UserError
from supernet.evaluate import Evaluator
from supernet.families import architecture_of
from supernet.models import check_length, load_pretrained, locate
from supernet.options import PRECISIONS, TrainConfig, TrainOptions
from supernet.progress import training_progress
from supernet.runs import append_json_line, prepare_folder, write_json
from supernet.sampling import SAMPLERS
from supernet.slicing import extract
from supernet.space import SearchSpace, search_space
from supernet.strategies import KINDS, LARGEST, SMALLEST, Pass, accumulate_gradients
from supernet.tokens import Split, collate, training_batches

LOG_EVERY = 10
"""Steps between two looks at the loss: each waits for the device."""


def train(config: TrainConfig) -> Path:
    """Trains a supernet and returns the folder it was saved in; skips the work if this very run is there already.

    Raises:
        UserError: if the output folder, the model or the data cannot be used.
    """
    folder = config.folder
    target = folder / "supernet"
    accelerator = _accelerator(config.train)
    console = Console(stderr=True, quiet=not accelerator.is_main_process, soft_wrap=True, highlight=False)
    if os.path.isfile(target / INFO_FILE) and not config.overwrite:
        console.print(f"already trained: {target} (overwrite=true trains it again)")
        return target
    if accelerator.is_main_process:
        prepare_folder(folder.parent)
    model, tokenizer = load_pretrained(locate(config.model), config.task, seed=config.seeds.model)
    check_length(config.task, model.config)
    with accelerator.main_process_first():  # so that one process tokenises and the others find the cache
        data = load_task(config.task, config.data, tokenizer)
    if accelerator.is_main_process:
        prepare_folder(folder)
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        write_json(folder / "config.json", asdict(config))
    a = architecture_of(model.config)
    space = search_space(config.space, layers=a.layers, heads=a.heads, units=a.units)
    console.print(
        f"task {config.task.name}: {len(data.train)} training, {len(data.validation)} validation and "
        f"{len(data.test)} test rows; model {config.model.label}: {space.largest}; space {space.name}, strategy "
        f"{config.strategy.name}, {accelerator.num_processes} process(es) on {accelerator.device}"
    )
    trainer = Trainer(config, accelerator, model, tokenizer, space, data.train)
    evaluator = Evaluator(data.validation, config.task, tokenizer, device=accelerator.device)
    errors: dict[str, float] = {}
    for epoch in range(config.train.epochs):
        trainer.run_epoch(epoch, log=folder / "metrics.jsonl", console=console)
        if accelerator.is_main_process:
            errors = _validate(model, space, evaluator)
            append_json_line(folder / "metrics.jsonl", {"epoch": epoch + 1, "validation_error": errors})
            said = ", ".join(f"{kind} net {error:.4f}" for kind, error in errors.items())
            console.print(f"epoch {epoch + 1}/{config.train.epochs}: validation error {said}")
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        info = SupernetInfo(
            task=config.task,
            data=config.data.absolute(),
            splits=data.digests(),
            model=config.model.label,
            space=config.space,
            strategy=config.strategy,
            sampling=config.sampling,
            distillation=config.distillation,
            order=config.order,
            seed=config.seed,
            validation_error=errors,
        )
        save_supernet(target, Supernet(model, tokenizer, info))
        console.print(f"supernet saved in {target}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return target


class Trainer:
    """The optimizer, its schedule, and the steps of an epoch."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        space: SearchSpace,
        split: Split,
    ) -> None:
        self.config, self.accelerator, self.space, self.split = config, accelerator, space, split
        self.pad_token_id = tokenizer.pad_token_id
        self.model = model.to(accelerator.device).train()
        self.sample = partial(SAMPLERS[config.sampling.name], space, architecture_of(model.config))
        self.steps_per_epoch = math.ceil(len(split) / config.train.batch_size)
        steps = self.steps = config.train.epochs * self.steps_per_epoch
        options = config.train
        # Fused is several times faster on a CPU, but does not tell Accelerate which steps fp16's scaler has skipped.
        optimizer = torch.optim.AdamW(
            _parameter_groups(model, options.weight_decay), lr=options.learning_rate, fused=accelerator.scaler is None
        )
        self.optimizer = accelerator.prepare(optimizer)
        self.schedule = get_linear_schedule_with_warmup(optimizer, round(options.warmup * steps), steps)
        # Dropout differs between processes; everything else that is random has a generator of its own.
        set_seed(config.seeds.model, device_specific=True)

    def run_epoch(self, epoch: int, *, log: Path, console: Console) -> None:
        """Trains on every row once, and appends the losses to `log` every few steps."""
        batches = training_batches(self.split, self.config.train.batch_size, seed=self.config.seeds.data, epoch=epoch)
        with training_progress(console, f"epoch {epoch + 1}/{self.config.train.epochs}", len(batches)) as progress:
            start, rows_done = time.perf_counter(), 0
            for i, rows in enumerate(batches):
                step = epoch * self.steps_per_epoch + i
                learning_rate = self.schedule.get_last_lr()[0]
                losses = self.step(rows, step)
                rows_done += len(rows)
                if i % LOG_EVERY and i != len(batches) - 1:
                    progress.advance()
                    continue
                seen = {
                    "step": step,
                    **self._checked({f"loss_{kind}": loss.item() for kind, loss in losses.items()}, step),
                    "learning_rate": learning_rate,
                    "samples_per_second": rows_done / (time.perf_counter() - start),
                }
                progress.advance(seen)
                if self.accelerator.is_main_process:
                    append_json_line(log, seen)

    def _checked(self, losses: dict[str, float], step: int) -> dict[str, float]:
        if not all(math.isfinite(loss) for loss in losses.values()):
            raise UserError(
                f"the loss is not finite at step {step}: training has diverged; lower train.learning_rate "
                f"({self.config.train.learning_rate:g}) or use train.mixed_precision=fp32"
            )
        return losses

    def step(self, rows: np.ndarray, step: int) -> dict[str, Tensor]:
        """One optimizer step on a batch that is divided among the processes; the sub-networks are the same in all.

        Args:
            rows: (B,) row numbers of the whole batch.
            step: Number of the step, from which the random sub-networks are drawn.

        Returns:
            Mean loss over the whole batch of each kind of sub-network that was trained.
        """
        accelerator, config = self.accelerator, self.config
        passes = self._passes(step)
        losses = torch.zeros(len(passes), device=accelerator.device)
        mine = np.array_split(rows, accelerator.num_processes)[accelerator.process_index]
        if len(mine):
            batch = collate(self.split, mine, self.pad_token_id, accelerator.device)
            losses += torch.stack(
                accumulate_gradients(
                    self.model,
                    batch.inputs,
                    batch.labels,
                    passes,
                    distillation=config.distillation,
                    rows=len(rows),
                    backward=accelerator.backward,
                    autocast=accelerator.autocast,
                )
            )
        elif accelerator.scaler is not None:
            accelerator.scaler.scale(losses)  # without rows of its own, too, a process has to know the scale
        _sum_over_processes(accelerator, list(self.model.parameters()), losses)
        accelerator.clip_grad_norm_(self.model.parameters(), self.config.train.max_grad_norm)
        self.optimizer.step()
        if not accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        self.optimizer.zero_grad()
        return {
            kind: losses[[i for i, p in enumerate(passes) if p.kind == kind]].mean()
            for kind in KINDS
            if any(p.kind == kind for p in passes)
        }

    def _passes(self, step: int) -> list[Pass]:
        """What a step trains, from the step's number alone (and the process's, if each draws its own)."""
        config = self.config
        seed = [config.seeds.sampling, step]
        own = [1 + self.accelerator.process_index] if config.sampling.per_rank else []
        rng = np.random.default_rng(seed + own)
        ramp = np.random.default_rng([*seed, 0]).random() < step / self.steps  # the same in all processes
        return config.strategy.passes(self.space, lambda: self.sample(rng), ramp=ramp)


def _accelerator(options: TrainOptions) -> Accelerator:
    # Several processes on CPUs work only if Accelerate is told so; it would otherwise leave each on its own.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    precision = PRECISIONS.get(options.mixed_precision)
    if precision is None and os.environ.get("ACCELERATE_MIXED_PRECISION", "no") == "no":
        # Where bf16 is emulated it may be hundreds of times slower than fp32, so there it has to be asked for.
        native = not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
    if accelerator.device.type == "cpu":
        _share_cores(accelerator)
    return accelerator


def _share_cores(accelerator: Accelerator) -> None:
    """Gives each process its share of the cores, where the launcher has left it with a single thread.

    `accelerate launch` sets OMP_NUM_THREADS=1 unless it is told `--cpu`, which on a machine without a GPU would leave
    the other cores idle.
    """
    if "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1":
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(max(1, _usable_cores() // local_processes))


def _usable_cores() -> int:
    """Cores that this process may run on, which on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices with weight decay; vectors (biases, LayerNorm) without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _sum_over_processes(accelerator: Accelerator, parameters: Sequence[nn.Parameter], losses: Tensor) -> None:
    """Adds up gradients and losses over all processes, in place and in a single all-reduce."""
    if accelerator.num_processes == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    tensors = [*(p.grad for p in parameters if p.grad is not None), losses]
    flat = accelerator.reduce(torch.cat([t.flatten() for t in tensors]), reduction="sum")
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _validate(model: PreTrainedModel, space: SearchSpace, evaluator: Evaluator) -> dict[str, float]:
    subnets = {LARGEST: space.largest, SMALLEST: space.smallest}
    return {kind: evaluator.error(extract(model, subnet, share=True)) for kind, subnet in subnets.items()}
