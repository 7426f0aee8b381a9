"""From rows to a small model: `plm-supernet compress task=custom data.dir=reviews.csv max_error_increase=0.01`.

Calls what the commands train, search and export call, with the options that each of them knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent

from rich.console import Console

from search.options.compress import CompressConfig
from search.options.export import ExportConfig
from search.options.limits import Limits
from search.options.search import SearchConfig
from supernet.console.config import load_config
from supernet.console.environment import check_environment
from supernet.console.progress import going_on, plain_console
from supernet.console.routing import Overrides, run_each, run_routed
from supernet.console.start import loading
from supernet.export.report import ExportReport
from supernet.options.training import TrainConfig
from supernet.runtime.commands import COMMANDS
from supernet.runtime.distributed import several_processes
from supernet.runtime.errors import UserError

STAGES = ("train a supernet", "search it", "choose a sub-network, finish it, export it")

LONGEST = 128
"""Tokens of the workload, unless the rows have fewer."""

EVALUATIONS = 60
"""Sub-networks of a search."""


@dataclass(frozen=True)
class Plan:
    """The options of each stage."""

    train: TrainConfig
    search: SearchConfig
    export: ExportConfig

    @classmethod
    def of(cls, typed: Overrides) -> Plan:
        """The options for what was typed, with the defaults of compress.

        Args:
            typed: Overrides by command.

        Raises:
            UserError: for a mistake, or an option that compress sets itself.
        """
        for text in (*typed["search"], *typed["export"]):
            if _key_of(text) in COMMANDS["compress"].without:
                raise UserError(
                    f"compress sets {_key_of(text)} itself; leave {text} out, or run train, search and export by "
                    "themselves"
                )
        budget = load_config("compress", CompressConfig, typed["compress"])
        training = load_config("train", TrainConfig, with_defaults(typed["train"], ["experiment=best"]))
        search = with_defaults(typed["search"], search_defaults(budget, training.task.max_length))
        if "debug" not in map(_key_of, typed["search"]):  # a test run has fewer
            search = with_defaults(search, [f"max_evaluations={EVALUATIONS}"])
        export = with_defaults(typed["export"], ["experiment=best", f"formats=[{','.join(formats_here())}]"])
        searching = replace(load_config("search", SearchConfig, search), name=None)  # a name is for the export folder
        return cls(training, searching, load_config("export", ExportConfig, export))


def search_defaults(budget: Limits, max_length: int) -> list[str]:
    """The options of a search for a budget, as overrides.

    Args:
        budget: The limits.
        max_length: Most tokens of the task's rows.
    """
    objectives = f"objectives=[{','.join(budget.objectives)}]"
    return [objectives, f"searcher={budget.searcher}", f"workload.length={min(LONGEST, max_length)}"]


def formats_here() -> list[str]:
    """The formats besides torch whose libraries are installed, of those that compress exports by default."""
    return ["onnx", "int8"] if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))) else []


def with_defaults(typed: Sequence[str], defaults: Sequence[str]) -> list[str]:
    """Overrides, and the defaults for keys that are not among them."""
    keys = {_key_of(text) for text in typed}
    return [*(text for text in defaults if _key_of(text) not in keys), *typed]


def _key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def compress(typed: Overrides) -> Path:
    """Trains, searches, chooses, finishes and exports. What is done is skipped.

    Args:
        typed: Overrides by command.

    Returns:
        The export folder.

    Raises:
        UserError: if an option is wrong, or a stage fails.
    """
    if several_processes():
        raise UserError("compress runs in one process; run train and search in several, then export in one")
    plan = Plan.of(typed)
    check_environment()
    with loading():
        from search.export.export import check_possible, exported
        from search.run import search
        from supernet.training.train import train

    check_possible(plan.export)
    console = plain_console(stderr=True)
    with going_on():
        with _stage(console, 0):
            supernet = train(plan.train)
        with _stage(console, 1):
            config = replace(plan.search, supernet=str(supernet))
            if (run := _searched(config, supernet)) is None:
                run = search(config)
            else:
                console.print(f"already searched: {run} (overwrite=true searches again)")
    with _stage(console, 2):
        if not plan.export.formats and not formats_here():
            console.print("formats besides torch: none (pip install 'plm-supernet[onnx]' for smaller and faster files)")
        folder, report = exported(replace(plan.export, run=str(run)))
    _print_result(plain_console(), folder, report)
    return folder


def _print_result(console: Console, folder: Path, report: ExportReport) -> None:
    """Prints what the model was, what it is with the file that `predict` takes, and how to use it."""
    from search.export.export import predict_command
    from supernet.export.card import transformers_program

    full, fastest = report.full, min(report.files, key=lambda file: file.median_ms)
    console.print("\n== the model", style="bold")
    share = f"({report.params_share:.0%} of the encoder)"
    console.print(f"full model -> {fastest.file}, the fastest file")
    console.print(f"  {full.parameters / 1e6:.2f} -> {fastest.parameters / 1e6:.2f} million parameters {share}")
    console.print(f"  {full.bytes / 1e6:.1f} -> {fastest.bytes / 1e6:.1f} MB")
    console.print(f"  {full.median_ms:.2f} -> {fastest.median_ms:.2f} ms")
    console.print(f"  {full.metric:.4f} -> {fastest.metric:.4f} {report.task.metric} on test rows")
    console.print(f"\nnext: {predict_command(folder)}\n\nor in Python:\n")
    console.print(indent(transformers_program(report, str(folder)), "    "))


@contextmanager
def _stage(console: Console, number: int) -> Iterator[None]:
    """Says which stage runs, and after an interrupt how to resume."""
    console.print(f"\n== {number + 1}/{len(STAGES)} {STAGES[number]}", style="bold")
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        console.print(f"stopped in stage {number + 1} of {len(STAGES)}; the same command resumes there")
        raise


def _searched(config: SearchConfig, supernet: Path) -> Path | None:
    """The run folder of this very search if it has ended; otherwise None."""
    from search.report.results import FRONT_FILE
    from search.run_folder import read_run
    from supernet.artifact import read_info
    from supernet.runtime.files import weights_digest
    from supernet.runtime.state import unfinished

    folder = config.folder(supernet, asdict(read_info(supernet)))  # its name comes from the options and the supernet
    if config.overwrite or unfinished(folder) is not None or not (folder / FRONT_FILE).exists():
        return None
    run = read_run(folder)
    done = len(run.trials) >= config.trials and run.info.weights == weights_digest(supernet)
    return folder if done else None


def main() -> None:
    """Compresses as the command line says."""
    run_routed("compress", run_each(compress))


if __name__ == "__main__":
    main()
