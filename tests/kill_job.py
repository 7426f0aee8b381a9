"""Run by test_search_resume.py: a search that is killed with SIGKILL at random moments, and then left to end.

`sys.argv` is KILLS SEED OVERRIDE... Each sitting is a fork of this process. It kills itself at a call of a function
that was drawn beforehand: before the first trial, between two trials, while a line is written or a proposal is made.
Calls are counted, not seconds, so that the moments are the same on a fast machine and on a slow one. Prints the number
of whole lines found at each kill.
"""

import os
import random
import sys
from pathlib import Path

import torch

from search.options.search import SearchConfig
from search.run import search
from supernet.console.config import load_config
from tests.launched import dies_after

TO_START, A_TRIAL = 1_600_000, 40_000
"""Calls and returns of functions, roughly: until a search begins, and for a trial."""


def main():
    kills, rng = int(sys.argv[1]), random.Random(int(sys.argv[2]))
    config = load_config("search", SearchConfig, sys.argv[3:])
    torch.set_num_threads(1)
    trials = Path(config.output_dir) / "search" / config.name / "trials.jsonl"
    seen = []
    for _ in range(kills):
        # Killed while it reads and replays, or within three trials after it has added some.
        more = rng.choice([0, 1, 3, 5])
        wanted, calls = lines(trials) + more, rng.randrange(3 * A_TRIAL if more else TO_START)
        child = os.fork()
        if child == 0:
            die_later(trials, wanted, calls)
            search(config)
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            sys.exit("the search ended before it was killed")
        seen.append(lines(trials))
    search(config)
    print(*seen)


def die_later(trials, wanted, calls):
    """Ends this process that many calls after the file of trials has `wanted` lines."""
    fsync = os.fsync

    def begin_to_count():
        if lines(trials) >= wanted and sys.getprofile() is None:
            sys.setprofile(dies_after(calls))

    def counted(descriptor):
        fsync(descriptor)
        begin_to_count()

    os.fsync = counted
    begin_to_count()


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
