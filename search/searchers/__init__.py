"""Searchers: what proposes the next sub-network. `SEARCHERS` is the table of them, `make_scheduler` gives one."""

from __future__ import annotations

from search.searchers.schedulers import SEARCHERS, AskTell, SubNetworkScheduler, make_scheduler

__all__ = ["SEARCHERS", "AskTell", "SubNetworkScheduler", "make_scheduler"]
