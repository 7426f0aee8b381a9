"""What a process that `tests/launched.py` starts has loaded before it begins; importing it computes nothing."""

import gc

import search.cli
import search.finetune.trial
import search.run
import supernet.cli
import supernet.training.train

__all__ = ["search", "supernet"]

gc.freeze()  # they stay: the collector of a fork need not look at them
