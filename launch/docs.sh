#!/usr/bin/env bash
# Builds the documents as a site: bash launch/docs.sh [serve]
#   (nothing)   into site/; a link that leads nowhere is an error
#   serve       at http://127.0.0.1:8000, built again when a file changes
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/setup.sh
set_up "[docs]"
export NO_MKDOCS_2_WARNING=1 # MkDocs 1 does what is needed here
case "${1:-}" in
    "") python -m mkdocs build --quiet --strict; echo "documents: site/index.html" ;;
    serve) python -m mkdocs serve --strict ;;
    *) echo "usage: bash launch/docs.sh [serve]" >&2; exit 2 ;;
esac
