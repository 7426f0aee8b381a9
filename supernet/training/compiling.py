"""Layers compiled by torch.compile, once for all sub-networks.

Each step makes new modules for its views, so a compiled view, or a compiled bound method of a layer, would be compiled
again every time. Here the function of the layer's class is compiled, with dynamic sizes: heads, units, rows, tokens.
The few graphs differ in which tensors are absent, whole or slices. Only the training mode is compiled.

To reach the layers of views too, which share their class with the model's layers, `compiled_layers` replaces the class
of these layers (`layer.__class__`) while its block runs, and restores it afterwards. Parameters are not touched.

This is meant for GPUs. On one CPU core the steps of a MiniLM became 2 % faster, after half a minute of compilation for
each of four graphs.
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
"""Largest number of graphs of a layer class. More are an error, not silently uncompiled layers."""


@contextmanager
def compiled_layers(model: PreTrainedModel, *, backend: str = "inductor") -> Iterator[None]:
    """Compiles the layers of the model, and of its views made in the block, in training mode.

    Args:
        model: The supernet.
        backend: Of torch.compile.

    Raises:
        UserError: if there is no C++ compiler, or the layers need more than `GRAPHS` graphs.
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
            # While tracing, torch reads the `.grad` of slices and warns about its own access.
            warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
            yield
    except dynamo.exc.FailOnRecompileLimitHit as error:
        raise UserError(f"train.compile=true: the layers need more than {GRAPHS} graphs; set it to false") from error
    finally:
        for layer, kind in zip(layers, before, strict=True):
            layer.__class__ = kind


def _compiled(kind: type[nn.Module], backend: str) -> type[nn.Module]:
    """A subclass of the layer class whose `forward` is compiled in training mode."""
    run = torch.compile(kind.forward, dynamic=True, backend=backend)

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        return (run if self.training else kind.forward)(self, *arguments, **options)

    # Defined in the class body, since transformers wraps it there for gradient checkpointing.
    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"train.compile=true needs a C++ compiler and there is no '{compiler}'; install one, name it in the "
            "environment variable CXX, or set train.compile=false"
        )
