"""What proposes the next sub-network: functions (`table.SEARCHERS`), and Syne Tune schedulers around them.

It imports `search.options`, `search.pareto`, `supernet.space` and `supernet.runtime`.
"""
