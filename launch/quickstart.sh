#!/usr/bin/env bash
# From nothing to a small model: virtual environment, installation, training, search, choice, export, a prediction.
#   bash launch/quickstart.sh            some minutes on two CPU cores
#   bash launch/quickstart.sh --short    the same on less data, to see that everything works
# Run it again at any time: what is done is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

compress=(task=stdlib max_params=0.5)
case "${1:-}" in
    "") compress+=(train.epochs=2 max_evaluations=40 name=quickstart)
        runs=runs ;;
    --short) compress+=(train.epochs=1 data.max_train_samples=800 max_evaluations=12 finetune.epochs=1 name=quickstart output_dir=runs/short)
             runs=runs/short ;;
    *) echo "usage: bash launch/quickstart.sh [--short]" >&2; exit 2 ;;
esac

. launch/setup.sh
set_up "[onnx]"

say() { printf '\n== %s\n' "$*"; }

say "plm-supernet compress ${compress[*]}"
echo "Which area of Python's standard library does a docstring come from? Half of the encoder is to be enough."
plm-supernet compress "${compress[@]}"

say "A prediction"
echo "Start a thread, and wait until it ends." | plm-supernet predict model="$runs/export/quickstart"

say "Done. Next:"
cat <<TEXT
  . ${PLM_SUPERNET_VENV:-.venv}/bin/activate
  plm-supernet compress task=custom data.dir=FILE.csv max_error_increase=0.01
      your own rows: a column of texts and a column of labels
  plm-supernet export max_params=0.25 output_dir=$runs
      another sub-network of the same search
  plm-supernet compress --help
      all budgets; the options of the stages: tasks, models, search spaces, searchers, formats
TEXT
