"""Pictures as files: matplotlib's figures, without any window."""

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
    """An empty figure of so many inches, which makes room for its labels by itself."""
    _import_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    """Writes a figure, whole or not at all, in the format that the file's name ends with: .png, .pdf or .svg."""
    kind = path.suffix.removeprefix(".")
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)  # the same report, the same file
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=dpi, format=kind, metadata=undated)


def _import_matplotlib() -> None:
    """MPLBACKEND is about windows, of which there are none here; yet a name in it that matplotlib does not know, such
    as one of a notebook that was left, would end the import."""
    given = os.environ.pop("MPLBACKEND", None)
    try:
        importlib.import_module("matplotlib")
    finally:
        if given is not None:
            os.environ["MPLBACKEND"] = given
