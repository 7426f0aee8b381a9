"""The best sub-network for a budget: `python -m search.select max_params=0.5`.

Chosen among everything that a run knows, by the error on validation rows; the metric on the test split is shown where
it is known, never used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search.folder import RUN_FILE, TRIALS_FILE, RunRecord, read_run, remarks, supernet_of
from search.objectives import OBJECTIVES
from search.options import BASELINE, FINETUNE
from search.report.front import main_cost
from search.report.results import read_results
from search.trials import Evaluated, all_evaluated, best_within, cheapest_within
from supernet.config import run_app
from supernet.errors import UserError, unknown

FORMATS = ("text", "json")
COUNTS = ("params", "total_params", "flops")
"""Costs of which nobody means 1 or less: such a limit is a share of the full net's."""

SHARE = "params_share"

NOT_THE_SUPERNET_S = {
    FINETUNE: "its weights are its own, not the supernet's: each sub-network of this run was trained alone",
    BASELINE: "a baseline: what it makes of the supernet's weights besides leaving some out is not kept",
}
"""What to say of a sub-network whose model is not simply a part of the supernet, by kind of run."""


@dataclass(frozen=True)
class SelectConfig:
    """What to select (conf/select.yaml). Limits are numbers in the unit of their name, or percentages ("50%").

    Attributes:
        run: Folder of a run; None is the newest one in OUTPUT_DIR/search.
        max_params, max_total_params, max_flops: Up to 1 a share of the full net's, above 1 so many.
        max_latency_ms, max_memory_mb, max_size_mb: As their names say.
        max_error_increase: How much the validation error may exceed the full net's: selects the cheapest.
        format: text | json.
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


def parse_limit(name: str, text: str) -> tuple[float, bool]:
    """A limit and whether it is a share of the full net's: "50%" always, of counts also a number up to 1.

    Raises:
        UserError: if it is no positive number.
    """
    percent = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(
            f"max_{name} is '{text}'; it must be a positive number in the unit of its name, or a percentage of the "
            "full net's such as 50%"
        )
    return value, percent or (name in COUNTS and value <= 1)


def select(config: SelectConfig) -> None:
    """Finds the best sub-network and prints it.

    Raises:
        UserError: if there is no run, if it does not know what is limited, or if nothing keeps the limits.
    """
    run = read_run(_find_run(config))
    chosen, limits = choose(run, config)
    score = read_results(run).test_scores.get(chosen.subnet)
    supernet, notes = _supernet_and_remarks(run)
    if config.format == "json":
        tested = {} if score is None else {f"test_{run.info.metric}": score}
        names = ("kind", "weights", "task")
        about = {"run": str(run.folder), "supernet": str(supernet)} | {name: getattr(run.info, name) for name in names}
        about |= {"note": NOT_THE_SUPERNET_S.get(run.info.kind), "remarks": notes, "limits": limits}
        print(json.dumps(about | chosen.to_json() | tested))
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"run {run.folder}: {run.info.task}, {run.info.label}, {len(run.trials)} evaluations")
    console.print(f"within {_show(limits)}:")
    console.print(str(chosen.subnet), style="bold")
    for name in (name for name in chosen.metrics if name in (SHARE, *OBJECTIVES)):
        value = chosen.metrics[name]
        said = f"{value:.1%}" if name == SHARE else OBJECTIVES[name].show(value)
        console.print(f"  {_label(name):<22}{said}")
    told = "not known: it is not on the run's front" if score is None else f"{score:.4f}"
    console.print(f"  {'test ' + run.info.metric:<22}{told}")
    if run.info.kind in NOT_THE_SUPERNET_S:
        console.print(NOT_THE_SUPERNET_S[run.info.kind])
    for note in notes:
        console.print(f"note: {note}")


def _supernet_and_remarks(run: RunRecord) -> tuple[Path, list[str]]:
    """Where the run's supernet lies, or else lay, and what is to be said of it and of the run."""
    try:
        return supernet_of(run), remarks(run)
    except UserError as error:
        return Path(run.info.supernet), [*remarks(run), str(error)]


def choose(run: RunRecord, config: SelectConfig) -> tuple[Evaluated, dict[str, float]]:
    """The sub-network, and the limits as numbers.

    Raises:
        UserError: if the run does not know what is limited, or if nothing keeps the limits; names the nearest then.
    """
    evaluated = _measured_whole(all_evaluated(run.trials))
    if not evaluated:
        raise UserError(f"{run.folder} holds no result yet; name another run with run=FOLDER")
    full = next((e for e in evaluated if e.metrics["params_share"] == 1), None)
    limits = {name: _limit(run, full, name, text) for name, text in config.budgets.items()}
    if config.max_error_increase is not None:
        if full is None:
            raise UserError(f"{run.folder} has not evaluated the full net, which max_error_increase is relative to")
        if full.metrics.get("stopped"):
            raise UserError(
                f"in {run.folder} the training of the full net, which max_error_increase is relative to, was stopped "
                "early; give a limit such as max_params=0.5"
            )
        limits["error"] = full.metrics["error"] + config.max_error_increase
        chosen = cheapest_within(evaluated, limits, main_cost(run.info.objectives))
    else:
        chosen = best_within(evaluated, limits)
    if chosen is None:
        nearest = min(evaluated, key=lambda e: _excess(e, limits))
        raise UserError(
            f"none of the {len(evaluated)} sub-networks of {run.folder} is within {_show(limits)}; the nearest has "
            f"{_show({n: nearest.metrics[n] for n in ('error', *limits)})} ({nearest.subnet}); allow or search more"
        )
    return chosen, limits


def _measured_whole(evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    """Without those whose evaluation stopped early: they are dominated, but perhaps not in what is limited here."""
    rows = max((e.metrics.get("rows", 0) for e in evaluated), default=0)
    return [e for e in evaluated if e.metrics.get("rows", 0) == rows]


def _limit(run: RunRecord, full: Evaluated | None, name: str, text: str) -> float:
    known = sorted(set.intersection(*(set(e.metrics) for e in all_evaluated(run.trials))) & set(OBJECTIVES))
    if name not in known:
        raise UserError(
            f"max_{name}: {run.folder} knows no {name}, only {', '.join(known)}; search with it among the objectives"
        )
    value, is_share = parse_limit(name, text)
    if not is_share:
        return value
    whole = run.info.reference.get(name, None if full is None else full.metrics[name])
    if whole is None:
        raise UserError(f"max_{name}={text}: {run.folder} does not know the full net's {name}; give a number above 1")
    return value * whole


def _excess(e: Evaluated, limits: Mapping[str, float]) -> float:
    """By how much a sub-network exceeds limits, as shares of them, added up."""
    return sum(max(0.0, e.metrics[name] - limit) / max(limit, 1e-9) for name, limit in limits.items())


def _find_run(config: SelectConfig) -> Path:
    if config.run is not None:
        return Path(config.run).expanduser()
    folder = Path(config.output_dir).expanduser() / "search"
    found = [file.parent / TRIALS_FILE for file in folder.glob(f"*/{RUN_FILE}") if (file.parent / TRIALS_FILE).exists()]
    if not found:
        raise UserError(f"there is no run in {folder}; run 'python search.py' first, or name one with run=FOLDER")
    return max(found, key=lambda path: (path.stat().st_mtime, path)).parent


def _label(name: str) -> str:
    return "encoder share" if name == SHARE else OBJECTIVES[name].label


def _show(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_label(name)} {OBJECTIVES[name].show(value)}" for name, value in values.items())


def main() -> None:
    """Selects as the command line says."""
    run_app("select", SelectConfig, select)


if __name__ == "__main__":
    main()
