"""Searchers: functions that propose the next sub-network (`table.SEARCHERS`), and Syne Tune schedulers around them.

It imports `search.options`, `search.pareto`, `supernet.space` and `supernet.runtime`.
"""
