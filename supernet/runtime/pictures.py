"""Writes matplotlib's figures to files, without windows."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.runtime.files import atomic_path

if TYPE_CHECKING:  # matplotlib takes a second to import, and only drawing needs it
    from matplotlib.figure import Figure

DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that makes room for its labels."""
    _import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    """Writes a figure completely or not at all. The ending of the name gives the format: .png, .pdf or .svg."""
    kind = path.suffix.removeprefix(".")
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(
        kind
    )  # so that the same report gives the same file
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=dpi, format=kind, metadata=undated)


def _import_matplotlib() -> None:
    """Imports matplotlib without MPLBACKEND: an unknown backend there, such as a notebook's, would stop the import."""
    given = os.environ.pop("MPLBACKEND", None)
    try:
        importlib.import_module("matplotlib")
    finally:
        if given is not None:
            os.environ["MPLBACKEND"] = given
