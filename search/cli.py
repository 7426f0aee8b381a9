"""The commands that compute: `plm-supernet search`, `plm-supernet export` and `plm-supernet profile`."""

from __future__ import annotations

from pathlib import Path

from search.options.export import ExportConfig
from search.options.profile import ProfileConfig
from search.options.search import SearchConfig
from supernet.console.config import run_app
from supernet.console.environment import check_environment
from supernet.console.start import loading
from supernet.runtime.distributed import end_group


def main() -> None:
    """Searches a supernet as the command line says."""
    run_app("search", SearchConfig, _search)
    end_group()


def export_main() -> None:
    """Exports a sub-network as the command line says."""
    run_app("export", ExportConfig, _export)
    end_group()


def profile_main() -> None:
    """Measures a latency table as the command line says."""
    run_app("profile", ProfileConfig, _profile)


def _search(config: SearchConfig) -> Path:
    check_environment()
    with loading():  # not at the top: it imports torch, and help and error messages need not wait for that
        from search.run import search

    return search(config)


def _export(config: ExportConfig) -> Path:
    check_environment()
    with loading():
        from search.export.export import export

    return export(config)


def _profile(config: ProfileConfig) -> Path:
    check_environment()
    with loading():
        from search.profile import profile

    return profile(config)


if __name__ == "__main__":
    main()
