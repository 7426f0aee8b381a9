"""Shared by the benchmarks: the model, generated text, and the machine's rate of matrix products."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from supernet.console.config import load_config
from supernet.data.tokens import TokenizedSplit
from supernet.models.pretrained import load_pretrained, locate
from supernet.options.task import Task, TaskSpec
from supernet.options.training import TrainConfig


def classification_task() -> Task:
    """A task with two classes. Its columns are never read."""
    values = {"text": ("a", "b"), "label": "label", "metric": "accuracy", "classes": ("no", "yes")}
    return TaskSpec("generated", **values).resolve()


def minilm() -> tuple[PreTrainedModel, Path]:
    """The embedded default model as a classifier in evaluation mode, and its folder."""
    folder = locate(load_config("train", TrainConfig, ["task=stdlib", "model=minilm"]).model).folder
    model, _ = load_pretrained(folder, classification_task(), seed=0, labels=np.zeros(1))
    return model.eval(), folder


def generated_split(rows: int, *, seed: int, vocabulary: int) -> TokenizedSplit:
    """Random sentence pairs: lengths from a gamma distribution with mean near 64 tokens, cut at 128."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.gamma(4.0, 16.5, rows).astype(int), 8, 128)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(1000, vocabulary, offsets[-1])
    second = np.concatenate([np.arange(n) >= n // 2 for n in lengths])
    return TokenizedSplit(
        ids=ids.astype(np.int32),
        offsets=offsets.astype(np.int64),
        token_type_ids=second.astype(np.int32),
        labels=rng.integers(0, 2, rows),
    )


def matmul_rate(
    size: int = 2048,
    repeats: int = 20,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Floating-point operations per second of a square matrix product; the median of several."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    seconds = []
    for _ in range(repeats):
        _wait(device)
        start = clock()
        a @ b
        _wait(device)
        seconds.append(clock() - start)
    return 2 * size**3 / float(np.median(seconds))


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """`count` processes that take a core each, as far as they can."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def device_name(device: str = "cpu") -> str:
    """Processor, threads and versions, for RESULTS.md."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
