"""Ways of pruning the supernet without a search (`table.BASELINES`), which a search has to beat.

It imports `search.options` and `supernet`; its module `run` also `search.loop`, `search.evaluation` and
`search.trials`.
"""
