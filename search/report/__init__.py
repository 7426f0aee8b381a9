"""Reports on runs of stage two: the front of one run, several runs in one report, the HTML page.

It imports `search.run_folder` and what that imports, `search.pareto`, and the parts of `supernet` that need no torch.
"""
