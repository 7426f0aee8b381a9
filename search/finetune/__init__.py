"""Standard NAS: each sub-network is trained alone, in a process of its own, by Syne Tune's Tuner.

It imports `search.searchers`, `search.loop`, `search.evaluation`, what these import, and `supernet`.
"""
