"""Micro-batches as large as memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from supernet.runtime.errors import UserError

T = TypeVar("T")


def halve_until_it_fits(
    compute: Callable[[int], T], size: int, *, max_length: int, report: Callable[[str], None]
) -> tuple[T, int]:
    """Calls `compute(size)`. Halves the size and calls again whenever memory runs out.

    Args:
        compute: Takes the number of rows per forward pass. Computes everything from the start at each call.
        size: The first size, at least 1.
        max_length: The task's, for the advice in the error.
        report: Receives a message at each halving.

    Returns:
        The result, and the size that fitted.

    Raises:
        UserError: if not even one row fits.
    """
    while True:
        try:
            return compute(size), size
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        # Outside the handler, since the error keeps the tensors of the pass alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise UserError(
                "out of memory in the forward and backward pass of a single row; use "
                f"train.gradient_checkpointing=true, a task.max_length below {max_length}, or a smaller model"
            )
        report(
            f"out of memory with {size} rows in a forward pass; trying {size // 2} (train.micro_batch_size={size // 2} "
            "starts with that; results differ only by rounding and dropout)"
        )
        size //= 2


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that memory ran out. The CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
