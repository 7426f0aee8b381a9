"""The command that measures a latency table: `plm-supernet profile supernet=FOLDER`."""

from __future__ import annotations

from pathlib import Path

from search.options.profile import ProfileConfig
from supernet.console.config import run_app
from supernet.console.environment import check_environment
from supernet.console.start import loading


def main() -> None:
    """Measures a latency table as the command line says."""
    run_app("profile", ProfileConfig, _profile)


def _profile(config: ProfileConfig) -> Path:
    check_environment()
    with loading():  # not above: it brings torch along, which help and mistakes need not wait for
        from search.latency_profile import profile

    return profile(config)


if __name__ == "__main__":
    main()
