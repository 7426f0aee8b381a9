"""The script `supernet/export/fresh.py` in a fork, which has torch already; see `tests/launched.py`."""

import sys

from supernet.export import fresh


def main():
    """Runs the request in the file that the command line names."""
    sys.exit(fresh.run(sys.argv[1]))
