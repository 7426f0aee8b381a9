"""Searchers: what proposes the next sub-network (`schedulers.SEARCHERS`). It imports `supernet` and `search.pareto`."""
