"""The command of stage two: `python search.py searcher=ehvi`."""

from __future__ import annotations

from search.options import SearchConfig
from supernet.config import run_app
from supernet.group import end_group


def main() -> None:
    """Searches a supernet as the command line says."""
    run_app("search", SearchConfig, _search)
    end_group()


def _search(config: SearchConfig) -> None:
    from search.run import search  # not above: it brings torch along, which help and mistakes need not wait for

    search(config)


if __name__ == "__main__":
    main()
