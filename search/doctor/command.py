"""The command `plm-supernet doctor`."""

from __future__ import annotations

from supernet.console.routing import Overrides, run_routed
from supernet.console.start import loading
from supernet.console.sweep import Job


def main() -> None:
    """Checks the machine, and the training that the command line describes."""
    run_routed("doctor", _doctor)


def _doctor(jobs: list[Job[Overrides]]) -> None:
    with loading():  # not above: it brings torch along, which help and mistakes need not wait for
        from search.doctor.doctor import doctor

    doctor(jobs)


if __name__ == "__main__":
    main()
