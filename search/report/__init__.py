"""What runs of stage two found: the front of one run, several runs in one report, the HTML page.

It imports `search.run_folder` and what that imports, `search.pareto`, and of `supernet` nothing that needs torch.
"""
