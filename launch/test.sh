#!/usr/bin/env bash
# Sets up and runs all the checks: bash launch/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/setup.sh
set_up "[dev]"
ruff check .
ruff format --check .
mypy
# One process a core, a module of tests in one of them; each computes with one thread (-n0 for a single process).
export OMP_NUM_THREADS=1
python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --durations 25 "$@"
