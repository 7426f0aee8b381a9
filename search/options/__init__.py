"""The options of stage two: frozen values that check themselves, without torch.

It imports `search.objectives` and `supernet.runtime`.
"""
