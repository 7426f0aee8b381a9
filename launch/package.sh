#!/usr/bin/env bash
# Builds the source distribution and the wheel into dist/, and uses both as somebody would who has no checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/setup.sh
set_up "[dev]"

rm -rf build dist plm_supernet.egg-info # an old list of files would hide what MANIFEST.in lacks
python -m build --no-isolation --outdir dist . > /dev/null
python -m twine check --strict dist/*

# The wheel goes into an environment of its own. The libraries come from the ready environment, because downloading
# torch again would take minutes. The checkout is not visible there.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m venv --without-pip "$folder/venv"
python -m pip --python "$folder/venv/bin/python" install --quiet --disable-pip-version-check --no-index --no-deps dist/*.whl
python - "$folder/venv" <<'PYTHON'
import sys, sysconfig
from pathlib import Path
site = sysconfig.get_path("purelib", vars={"base": sys.argv[1], "platbase": sys.argv[1]})
Path(site, "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
PYTHON
tar -xzf dist/*.tar.gz -C "$folder"

export OMP_NUM_THREADS=1 PATH="$folder/venv/bin:$PATH"
mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
python -c 'import conf, plm_supernet, search, supernet, sys; assert all(m.__file__.startswith(sys.prefix) for m in (conf, plm_supernet, search, supernet))'
plm-supernet --version
plm-supernet --help > /dev/null
plm-supernet train task=stdlib debug=fast
plm-supernet search searcher=random debug=fast

cd "$folder"/plm_supernet-*/
python -m pytest -q --collect-only > "$folder/collected" || { tail -n 20 "$folder/collected"; exit 1; }
tail -n 1 "$folder/collected"
python -m pytest -q tests/test_packaging.py tests/test_space.py
