"""Baselines that a search has to beat (`table.BASELINES`). It imports `supernet`; `run` also `search`."""
