"""The best sub-network for a budget: `plm-supernet select max_params=0.5`.

All results of a run are candidates, and the error on validation rows decides. The metric on test rows is shown if it is
known, and decides nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from search.choice.choose import Choice, choose
from search.choice.confidence import CONFIDENCE
from search.choice.show import OTHER_WEIGHTS, show_choice, supernet_and_remarks
from search.options.select import SelectConfig
from search.report.results import Results, read_results
from search.report.tables import notes
from search.run_folder import RunRecord, find_run, read_run
from search.trials import Evaluated
from supernet.console.config import run_app
from supernet.console.progress import plain_console
from supernet.runtime.commands import typed_command


def select(config: SelectConfig) -> None:
    """Finds the best sub-network and prints it.

    Raises:
        UserError: if there is no run, it does not know a limited metric, or no sub-network is within the limits.
    """
    run = read_run(find_run(config.run, config.output_dir))
    results = read_results(run)
    choice = choose(run, config.budgets, config.max_error_increase, results=results)
    if config.format == "json":
        print(json.dumps(_as_json(run, choice, results)))
    else:
        console = plain_console()
        show_choice(console, run, choice, results)
        limits = " ".join(f"{key}={value}" for key, value in config.limits.items())
        console.print(f"next: {typed_command('export')} run={run.folder} {limits}")


def _as_json(run: RunRecord, choice: Choice, results: Results) -> dict[str, Any]:
    info, (supernet, remarks) = run.info, supernet_and_remarks(run)

    def plain(e: Evaluated | None) -> dict[str, Any] | None:
        return None if e is None else e.to_json() | results.scores(results.test_scores.get(e.subnet), info.metric)

    about: dict[str, Any] = {"run": str(run.folder), "supernet": str(supernet), "kind": info.kind}
    about |= {
        "weights": info.weights,
        "task": info.task,
        "note": OTHER_WEIGHTS.get(info.kind),
        "remarks": remarks + notes(results),
    }
    about |= {"limits": choice.limits, "below_limit": choice.below_limit, "conditions": info.conditions}
    others = {"full_net": plain(choice.full), "largest_as_good": plain(choice.largest), "as_good_error": choice.as_good}
    others |= {"smallest_as_good": plain(choice.smallest)} | _sureness(choice)
    return about | (plain(choice.chosen) or {}) | others | {"majority": results.majority(info)}


def _sureness(choice: Choice) -> dict[str, Any]:
    """How sure the choice is; null where the answers of sub-networks are not known."""
    sure, between, level = choice.known.sure, choice.against_full, {"confidence": CONFIDENCE}
    told = None
    if sure is not None:
        alike = [e.to_json() for e in sure.alike]
        told = level | {"rows": sure.rows, "alike": alike, "chosen_is_best": sure.best[choice.chosen.subnet]}
    return {
        "within_limits": len(choice.known.within),
        "sure": told,
        "error_against_full": None if between is None else level | asdict(between),
    }


def main() -> None:
    """Selects as the command line says."""
    run_app("select", SelectConfig, select)


if __name__ == "__main__":
    main()
