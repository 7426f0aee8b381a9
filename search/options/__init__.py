"""The options of stage two: frozen values that check themselves, without torch.

It imports `search.objectives`, `supernet.space` and `supernet.runtime`.
"""
