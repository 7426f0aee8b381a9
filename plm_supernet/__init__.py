"""Train a supernet, search it, choose a sub-network, export it: the commands' stages as functions.

    import plm_supernet

    net = plm_supernet.train(task="custom", data_dir="reviews.csv")
    run = plm_supernet.search(net)
    choice = run.select(max_params=0.5)
    small = choice.model()

Nothing is printed. A user's mistake is a `UserError`. docs/api.md shows all of it.
"""

from __future__ import annotations

from plm_supernet.stages import Choice, Run, Supernet, search, train
from supernet import __version__
from supernet.runtime.errors import UserError

__all__ = ["Choice", "Run", "Supernet", "UserError", "__version__", "search", "train"]
