"""Run by test_search_resume.py: a search that is killed with SIGKILL at random moments, and then left to end.

`sys.argv` is KILLS SEED OVERRIDE... Each sitting is a fork of this process and ends before the first trial, between two
of them, while a line is written or a proposal is made. Prints the number of whole lines found at each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from search.options.search import SearchConfig
from search.run import search
from supernet.console.config import load_config

SPARE = 20
"""Trials that are left when the last kill is due, so that no search ends before its kill, however fast it is."""


def main():
    kills, rng = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    config = load_config("search", SearchConfig, sys.argv[3:])
    torch.set_num_threads(1)
    limit = config.max_evaluations - SPARE
    trials = Path(config.output_dir) / "search" / config.name / "trials.jsonl"
    seen = []
    for _ in range(kills):
        # Killed while it reads and replays, or a moment after it has added a trial or two.
        more = rng.choice([0, 1, 1, 2])
        wanted, moment = min(lines(trials) + more, limit), rng.uniform(0, 0.03 if more else 0.5)
        child = os.fork()
        if child == 0:
            search(config)
            os._exit(0)
        while lines(trials) < wanted:
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                sys.exit("the search ended before it was killed")
            time.sleep(0.001)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and lines(trials) < limit:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            sys.exit("the search ended before it was killed")
        seen.append(lines(trials))
    search(config)
    print(*seen)


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
