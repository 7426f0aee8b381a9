#!/usr/bin/env bash
# Sets up and runs all the checks: bash launch/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/setup.sh
set_up "[dev]"
ruff check .
ruff format --check .
mypy
# One process for each core (-n0 for a single one). Each computes with one thread, and takes over tests of another
# process when it has none left. The longest run at night: -m nightly.
export OMP_NUM_THREADS=1
python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal --durations 25 "$@"
