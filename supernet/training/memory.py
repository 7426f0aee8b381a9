"""As many rows at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from supernet.runtime.errors import UserError

T = TypeVar("T")


def halve_until_it_fits(
    compute: Callable[[int], T], size: int, *, max_length: int, report: Callable[[str], None]
) -> tuple[T, int]:
    """Calls `compute(size)`, and again with half the size as often as memory runs out.

    Args:
        compute: Computes everything anew at each call, with so many rows in a forward pass.
        size: To begin with, at least 1.
        max_length: The task's, for the advice that is given.
        report: Told of each halving.

    Returns:
        What came out, and the size that fitted.

    Raises:
        UserError: if not even one row fits.
    """
    while True:
        try:
            return compute(size), size
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        # Out of the handler, which keeps the tensors of the pass alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size == 1:
            raise UserError(
                "memory runs out in the forward and backward pass of a single row; use "
                f"train.gradient_checkpointing=true, a task.max_length below {max_length}, or a smaller model"
            )
        report(
            f"memory ran out with {size} rows in a forward pass; going on with {size // 2} "
            f"(train.micro_batch_size={size // 2} begins so; results stay the same but for rounding and dropout)"
        )
        size //= 2


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that memory ran out; a CPU's allocator has no type of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
