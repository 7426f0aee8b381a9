"""The command of stage two: `python search.py searcher=ehvi`."""

from __future__ import annotations

from search.run import SearchConfig, search
from supernet.config import run_app


def main() -> None:
    """Searches a supernet as the command line says."""
    run_app("search", SearchConfig, search)


if __name__ == "__main__":
    main()
