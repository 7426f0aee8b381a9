"""The best sub-network for a budget: `plm-supernet select max_params=0.5`.

All results of a run are candidates, and the error on validation rows decides. The metric on test rows is shown if it is
known, and decides nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search.choice import Choice, choose, label_of, parse_limit, show_all
from search.objectives import OBJECTIVES, SHARE
from search.options.search import BASELINE, FINETUNE
from search.report.results import Results, read_results
from search.report.tables import FULL, Line, notes, show_table, spread_of, table_of
from search.run_folder import RUN_FILE, TRIALS_FILE, RunRecord, read_run, remarks, supernet_of
from search.trials import Evaluated, Metrics
from supernet.console.config import run_app
from supernet.console.progress import plain_console
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.storage import user_path
from supernet.space.subnetwork import SubNetwork

FORMATS = ("text", "json")
OTHER_WEIGHTS = {
    FINETUNE: "this run trained each sub-network alone, so its weights are not the supernet's",
    BASELINE: "this is a baseline: it may also change weights, and the run does not keep changed weights",
}
"""By mode: a note for runs whose models are not simply parts of the supernet."""


@dataclass(frozen=True)
class SelectConfig:
    """What to select.

    Limits can be combined. With max_error_increase the cheapest sub-network within all limits is chosen, by the run's
    last cost objective. Without it the most accurate sub-network is chosen. If no sub-network is within the limits, the
    error names the nearest, and the exit status is 1.

    A limit is an upper bound: the chosen sub-network may be much smaller, and the output says by how much. The output
    also shows the full model, the trivial predictor, and the largest sub-network within the limits that is as good. As
    good means: its error on validation rows is at most one standard error above the error of the chosen sub-network.
    For metrics other than accuracy it must not be above. The metric on test rows is shown where it is known. It decides
    nothing.

    Limits are numbers, or percentages of the full model's value: max_latency_ms=50%. A run knows only its
    objectives and the numbers of parameters.

    Attributes:
        run: Folder of a run. null: the newest in OUTPUT_DIR/search.
        max_params: Encoder parameters. Up to 1 it is a share of the full model's, above 1 a number.
        max_total_params: All parameters. Up to 1 it is a share of the full model's, above 1 a number.
        max_flops: Operations per text. Up to 1 it is a share of the full model's, above 1 a number.
        max_latency_ms: Latency in milliseconds.
        max_memory_mb: Memory of a forward pass in megabytes.
        max_size_mb: Size on disk in megabytes.
        max_error_increase: How much the validation error may exceed the full model's, for example 0.01.
        format: text or json.
        output_dir: Folder of all runs.
    """

    run: str | None = None
    max_params: str | None = None
    max_total_params: str | None = None
    max_flops: str | None = None
    max_latency_ms: str | None = None
    max_memory_mb: str | None = None
    max_size_mb: str | None = None
    max_error_increase: float | None = None
    format: str = "text"
    output_dir: str = "runs"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise unknown("format", self.format, FORMATS)
        if not self.budgets and self.max_error_increase is None:
            raise UserError("no budget is given; for example max_params=0.5 or max_error_increase=0.01 (--help: all)")
        if self.max_error_increase is not None and not 0 <= self.max_error_increase < math.inf:
            raise UserError(f"max_error_increase is {self.max_error_increase}; it must be 0 or more, for example 0.01")
        for name, text in self.budgets.items():
            parse_limit(name, text)

    @property
    def budgets(self) -> dict[str, str]:
        """The limits given, by the name of the cost."""
        given = {name.removeprefix("max_"): value for name, value in asdict(self).items() if name.startswith("max_")}
        return {name: value for name, value in given.items() if name in OBJECTIVES and value is not None}


def select(config: SelectConfig) -> None:
    """Finds the best sub-network and prints it.

    Raises:
        UserError: if there is no run, it does not know a limited metric, or no sub-network is within the limits.
    """
    run = read_run(_find_run(config))
    results = read_results(run)
    choice = choose(run, config.budgets, config.max_error_increase, results=results)
    if config.format == "json":
        print(json.dumps(_as_json(run, choice, results)))
    else:
        _print(plain_console(), run, choice, results)


def _as_json(run: RunRecord, choice: Choice, results: Results) -> dict[str, Any]:
    info, (supernet, remarks) = run.info, _supernet_and_remarks(run)

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
    return about | (plain(choice.chosen) or {}) | others | {"majority": results.majority(info)}


def _print(console: Console, run: RunRecord, choice: Choice, results: Results) -> None:
    info, chosen, scores = run.info, choice.chosen, results.test_scores
    console.print(f"run {run.folder}: {info.task}, {info.label}, {len(run.trials)} evaluations")
    console.print(f"within {show_all(choice.limits)}:")
    console.print(str(chosen.subnet), style="bold")
    for name in (name for name in chosen.metrics if name in (SHARE, *OBJECTIVES)):
        console.print(f"  {label_of(name):<22}{_shown(name, chosen.metrics)}")
    score = scores.get(chosen.subnet)
    shown = "not known, since it is not on the run's front" if score is None else f"{score:.4f}"
    console.print(f"  {'test ' + info.metric:<22}{shown}")
    for name, below in choice.below_limit.items():
        limit, value = (choice.show_with_share(name, x) for x in (choice.limits[name], chosen.metrics[name]))
        console.print(f"{label_of(name)}: {value} is {below:.1%} below the limit of {limit}")
    show_table(console, table_of(_lines(choice, scores), info, results))
    lines = [choice.explained, info.conditions, OTHER_WEIGHTS.get(info.kind), *notes(results)]
    lines += [f"note: {remark}" for remark in _supernet_and_remarks(run)[1]]
    for line in filter(None, lines):
        console.print(line)


def _lines(choice: Choice, scores: Mapping[SubNetwork, float]) -> list[Line]:
    """The chosen sub-network and those to compare it with, each once."""
    lines: dict[SubNetwork, Line] = {}
    for mark, e in (("chosen", choice.chosen), ("largest as good", choice.largest), (FULL, choice.full)):
        if e is not None:
            marks = f"{lines[e.subnet].mark}, {mark}" if e.subnet in lines else mark
            lines[e.subnet] = Line(marks, e, scores.get(e.subnet))
    return list(lines.values())


def _shown(name: str, metrics: Metrics) -> str:
    """A metric. For a measured latency also its spread and its share of the full model's."""
    if name == SHARE:
        return f"{metrics[name]:.1%}"
    more = [f"{title.split()[-1]} {text}" for title, text in spread_of(metrics)] if name == "latency_ms" else []
    return OBJECTIVES[name].show(metrics[name]) + (f" ({', '.join(more)})" if more else "")


def _supernet_and_remarks(run: RunRecord) -> tuple[Path, list[str]]:
    """Where the run's supernet is, or was, and remarks on it and on the run."""
    try:
        return supernet_of(run), remarks(run)
    except UserError as error:
        return Path(run.info.supernet), [*remarks(run), str(error)]


def _find_run(config: SelectConfig) -> Path:
    if config.run is not None:
        return user_path(config.run)
    folder = user_path(config.output_dir) / "search"
    files = [file.parent / TRIALS_FILE for file in folder.glob(f"*/{RUN_FILE}") if (file.parent / TRIALS_FILE).exists()]
    if not files:
        first = f"run '{typed_command('search')}' first, or name a run with run=FOLDER"
        raise UserError(f"there is no run in {folder}; {first}")
    return max(files, key=lambda path: (path.stat().st_mtime, path)).parent


def main() -> None:
    """Selects as the command line says."""
    run_app("select", SelectConfig, select)


if __name__ == "__main__":
    main()
