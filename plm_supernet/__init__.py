"""Train a supernet, search it, choose a sub-network, export it: the commands' stages as functions.

    import plm_supernet

    net = plm_supernet.train(task="custom", data_dir="reviews.csv")
    run = plm_supernet.search(net)
    choice = run.select(max_params=0.5)
    choice.export("small")
    plm_supernet.load("small").predict(["a text"])

Nothing is printed. A user's mistake is a `UserError`. docs/api.md shows all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plm_supernet.handles import Choice, Run, Supernet, load
from plm_supernet.stages import search, train
from supernet import __version__
from supernet.runtime.errors import UserError

if TYPE_CHECKING:
    from plm_supernet.classifier import SupernetClassifier

__all__ = ["Choice", "Run", "Supernet", "SupernetClassifier", "UserError", "__version__", "load", "search", "train"]


def __getattr__(name: str) -> Any:
    """Loads scikit-learn only for those who use it."""
    if name != "SupernetClassifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plm_supernet.classifier import SupernetClassifier

    return SupernetClassifier
