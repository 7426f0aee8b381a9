#!/usr/bin/env bash
# From nothing to a Pareto front: virtual environment, installation, training, search, table, picture.
#   bash launch/quickstart.sh            some minutes on two CPU cores
#   bash launch/quickstart.sh --short    the same on less data, to see that everything works
# Run it again at any time: what is done is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

train=(task=stdlib experiment=best train.epochs=2)
search=(searcher=ehvi max_evaluations=60)
case "${1:-}" in
    "") runs= ;;
    --short) train=(task=stdlib experiment=best train.epochs=1 data.max_train_samples=800 output_dir=runs/short)
             search=(searcher=ehvi max_evaluations=12 output_dir=runs/short)
             runs=" output_dir=runs/short" ;;
    *) echo "usage: bash launch/quickstart.sh [--short]" >&2; exit 2 ;;
esac

. launch/setup.sh
set_up ""

say() { printf '\n== %s\n' "$*"; }

say "Stage one: train a supernet on the docstrings of Python's standard library (${train[*]})"
accelerate launch --quiet --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no train_supernet.py "${train[@]}"

say "Stage two: search its sub-networks (${search[*]})"
python search.py "${search[@]}"

say "Done. The table above shows the front, the full model and the majority class, with the accuracy on test rows. Next:"
cat <<TEXT
  . ${PLM_SUPERNET_VENV:-.venv}/bin/activate
  plm-supernet select max_params=0.5$runs
      the best sub-network with at most half of the encoder, and others to compare it with
Or:
  plm-supernet search searcher=random$runs
      another searcher on the same supernet; 'plm-supernet report$runs' then compares both
  plm-supernet train task=custom data.dir=FILE.csv experiment=best
      your own data; task=sst2 is a GLUE task from the Hugging Face hub
  plm-supernet train --help
      all tasks, models, search spaces, strategies and other options
TEXT
