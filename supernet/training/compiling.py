"""Layers compiled by torch.compile, once for all sub-networks.

Views are modules of their own at every step, so compiling a view, or a layer's bound method, would compile anew for
each. What is compiled here is the layer class's function, with all sizes left open: heads, units, rows and tokens. Some
graphs come of it, because a tensor may be whole or a slice, absent or there, and no more. Only training is compiled.

It is meant for GPUs. On a single CPU core steps of a model of MiniLM's size became 2 % faster, after half a minute of
compiling for each of four graphs.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from supernet.models.families import family_of
from supernet.runtime.errors import UserError

GRAPHS = 64
"""The most that may come of a layer class; a layer in another form is refused, not quietly left uncompiled."""


@contextmanager
def compiled_layers(model: PreTrainedModel, *, backend: str = "inductor") -> Iterator[None]:
    """Has the model's layers, and those of views made meanwhile, run compiled in training mode while the block runs.

    Args:
        model: The supernet.
        backend: Of torch.compile.

    Raises:
        UserError: if there is no C++ compiler, or the layers take too many forms.
    """
    if backend == "inductor":
        _check_compiler()
    dynamo = importlib.import_module("torch._dynamo")
    layers = list(family_of(model.config).layers_of(model))
    before = [type(layer) for layer in layers]
    compiled = {kind: _compiled(kind, backend) for kind in set(before)}
    open_sizes = {"force_parameter_static_shapes": False, "force_nn_module_property_static_shapes": False}
    try:
        for layer in layers:
            layer.__class__ = compiled[type(layer)]
        with (
            dynamo.config.patch(recompile_limit=GRAPHS, fail_on_recompile_limit_hit=True, **open_sizes),
            warnings.catch_warnings(),
        ):
            # torch looks at the `.grad` of slices while it traces, and warns of its own doing.
            warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
            yield
    except dynamo.exc.FailOnRecompileLimitHit as error:
        raise UserError(f"train.compile=true: the layers take more than {GRAPHS} forms; set it to false") from error
    finally:
        for layer, kind in zip(layers, before, strict=True):
            layer.__class__ = kind


def _compiled(kind: type[nn.Module], backend: str) -> type[nn.Module]:
    """The layer class with a compiled function in place of `forward`; a view's layers are of the same class."""
    run = torch.compile(kind.forward, dynamic=True, backend=backend)

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        return (run if self.training else kind.forward)(self, *arguments, **options)

    # Part of the class from the beginning: transformers wraps it there, to compute layers again where that is asked.
    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"train.compile=true needs a C++ compiler and there is no '{compiler}'; install one, name it in the "
            "environment variable CXX, or set train.compile=false"
        )
