"""The report of one run: its front as files, as a table and as pictures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from search.objectives import OBJECTIVES, SHARE
from search.report.chart import draw_curves, draw_front
from search.report.export import write_csv
from search.report.front import NORMALISATION, curve_of, failed_trials, hypervolume_of, main_cost
from search.report.results import FRONT_FILE, Results, trivial_predictor
from search.report.tables import Line, notes, show_table, table_of
from search.run_folder import TRIALS_FILE, RunRecord
from search.trials import all_evaluated
from supernet.console.progress import print_next
from supernet.runtime.commands import typed_command
from supernet.runtime.files import write_json


def write_results(run: RunRecord, results: Results) -> None:
    """Writes front.json, front.csv, front.png and hypervolume.png, each whole or not at all."""
    info, curve, rows = run.info, curve_of(run), results.rows(run.info.metric)
    values = {
        "task": info.task,
        "metric": info.metric,
        "objectives": info.objectives,
        "evaluations": len(run.trials),
        "failed": failed_trials(run),
        "validation_rows": results.validation_rows,
        "hypervolume": hypervolume_of(all_evaluated(run.trials), info),
        "reference": info.reference,
        "normalisation": NORMALISATION,
        "front": rows,
        "full_is_supernets": results.full_is_supernets,
        "majority": results.majority(info),
        "curve": {"hypervolume": curve.hypervolume, "seconds": curve.seconds},
    }
    write_json(run.folder / FRONT_FILE, values)
    write_csv(
        run.folder / "front.csv",
        [*rows, {"text": trivial_predictor(info)} | results.majority(info)],
        left_out=("subnet",),
    )
    draw_front(run.folder / "front.png", run, results)
    draw_curves(run.folder / "hypervolume.png", run, curve.hypervolume, curve.seconds)


def print_report(console: Console, run: RunRecord, results: Results, *, remarks: Sequence[str] = ()) -> None:
    """Prints the front as a table, notes on the run, and the next command."""
    info, evaluated, failed = run.info, all_evaluated(run.trials), failed_trials(run)
    lines = [Line("full model" if results.is_full(t) else "", t.evaluated, t.test_score) for t in results.shown]
    title = f"Pareto front of {info.task}: {', '.join(info.objectives)}"
    show_table(console, table_of(lines, info, results, title=title))
    more = len(evaluated) - (len(run.trials) - failed)
    counts = [
        f"{len(run.trials)} evaluations",
        *([f"{failed} failed"] if failed else []),
        *([f"{more} further sub-networks scored by early exits"] if more else []),
        f"{len(results.front)} on the front",
        f"hypervolume {hypervolume_of(evaluated, info):.4f}",
    ]
    console.print(
        f"{', '.join(counts)} (of {' x '.join(OBJECTIVES[name].label for name in info.objectives)}, each divided by "
        "its reference)"
    )
    for line in filter(None, [info.conditions, *notes(results), *remarks]):
        console.print(line)
    console.print(f"results in {run.folder}: front.csv {FRONT_FILE} front.png hypervolume.png {TRIALS_FILE}")
    print_next(console, f"{typed_command('select')} run={shlex.quote(str(run.folder))} {_limit(run, results)}")


def _limit(run: RunRecord, results: Results) -> str:
    """A limit that a sub-network meets: half of the main cost; else, as embeddings may cost more, of the encoder."""
    cost, evaluated = main_cost(run.info.objectives), results.final(all_evaluated(run.trials))
    if any(e.metrics[cost] <= run.info.reference[cost] / 2 for e in evaluated):
        return f"max_{cost}=50%"
    smallest = min(e.metrics[SHARE] for e in evaluated)
    return "max_params=50%" if smallest <= 0.5 else "max_params=100%"
