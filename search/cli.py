"""The command of stage two: `python search.py searcher=ehvi`."""

from __future__ import annotations

from search.options import SearchConfig
from search.run import search
from supernet.config import run_app
from supernet.processes import end_processes


def main() -> None:
    """Searches a supernet as the command line says."""
    run_app("search", SearchConfig, search)
    end_processes()


if __name__ == "__main__":
    main()
