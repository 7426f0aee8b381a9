#!/usr/bin/env bash
# Sets up and runs all the checks: bash launch/test.sh [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/setup.sh
set_up "[dev]"
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
