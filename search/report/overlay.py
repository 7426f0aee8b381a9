"""One report of many runs, to compare searchers, seeds, strategies and baselines.

    plm-supernet report                                        all runs in runs/search
    plm-supernet report runs=[runs/search/A,runs/search/B-*]   these

It writes report.html, a page to explore that needs no network, report.png, and report.json with the numbers behind
both; with format=[csv,latex,pdf,svg] also tables and pictures for papers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from glob import glob, has_magic
from pathlib import Path

from rich.console import Console

from search.report.aggregate import comparable_sets, series_of
from search.report.chart import draw_overlay
from search.report.export import write_csv, write_text
from search.report.page import render
from search.report.series_table import front_rows, latex_table, series_rows, series_table
from search.report.summary import BUDGETS, report_of
from search.report.tables import show_table
from search.report.values import Report
from search.run_folder import RUN_FILE, RunInfo, RunRecord, read_run, remarks
from search.trials import all_evaluated
from supernet.console.config import run_app
from supernet.console.progress import plain_console
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, one_of
from supernet.runtime.fields import SINGLE
from supernet.runtime.files import folder_name, prepare_folder, write_json
from supernet.runtime.storage import user_path


@dataclass(frozen=True)
class ReportConfig:
    """What to report.

    Runs that differ only in their seed are repetitions: the report shows mean and standard deviation. If their trials
    are the same, because some searchers draw nothing in a small space, a note says so. Runs that cannot be compared
    (another task, model or objectives) get separate reports.

    The report is written to OUTPUT_DIR/report/NAME: report.html, report.png, report.json, and the files of `format`.

    Attributes:
        runs: Folders of runs, or patterns of them. []: all in OUTPUT_DIR/search.
        title: Title of the page and the picture. null: made of task, model and objectives.
        name: Name of the report's folder. null: made of task, model and objectives.
        pool_supernets: Runs on different supernets of the same model, space and strategy are repetitions too.
        budgets: Shares of the full model's cost (the last cost objective) for which to show the best error, and the
            test metric of the same sub-network.
        format: Additional files, any of csv (report.csv and fronts.csv), latex (report.tex), pdf and svg (the
            picture).
        output_dir: Folder of all runs.

    Raises:
        UserError: if a format is unknown, or a budget is no share.
    """

    runs: list[str] = field(default_factory=list)
    title: str | None = None
    name: str | None = None
    pool_supernets: bool = False
    budgets: list[float] = field(default_factory=lambda: list(BUDGETS))
    format: list[str] = field(default_factory=list, metadata=SINGLE)
    output_dir: str = "runs"

    def __post_init__(self) -> None:
        for kind in self.format:
            one_of("format", kind, FORMATS)
        if not self.budgets or len(set(self.budgets)) < len(self.budgets) or not all(0 < b <= 1 for b in self.budgets):
            raise UserError(
                f"budgets is {self.budgets}; give different shares of the full model's cost, above 0 and up to 1"
            )


def report(config: ReportConfig) -> list[Path]:
    """Writes and prints a report for each set of comparable runs and returns their folders.

    Raises:
        UserError: if there are no runs, or a run is damaged.
    """
    console = plain_console()
    output = user_path(config.output_dir)
    runs = [read_run(folder) for folder in find_runs(config.runs, output / "search")]
    for run in [run for run in runs if not all_evaluated(run.trials)]:
        reasons = [f"none of its {len(run.trials)} trials gave a result", *remarks(run)]
        console.print(f"{run.folder} is left out: {'; '.join(reasons)}")
    sets = comparable_sets(run for run in runs if all_evaluated(run.trials))
    if not sets:
        raise UserError("no run has a result yet; see the messages above")
    if len(sets) > 1:
        console.print(
            f"the runs form {len(sets)} sets that cannot be compared, and each set gets a report: {', '.join(sets)}"
        )
    folders = []
    for name, members in sets.items():
        own = name if config.name is None else folder_name(config.name, *([name] if len(sets) > 1 else []))
        folders.append(output / "report" / own)
        all_series = series_of(members, pool_supernets=config.pool_supernets)
        _write(folders[-1], all_series, console, config)
    return folders


def find_runs(patterns: Sequence[str], default: Path) -> list[Path]:
    """The named run folders, each once, in order. A pattern gives the matching folders that are runs of stage two.

    Raises:
        UserError: if a pattern, or the default folder, has none.
    """
    chosen: dict[Path, None] = {}
    for pattern in patterns or [str(default / "*")]:
        path = user_path(pattern)
        folders = sorted(Path(match) for match in glob(str(path))) if has_magic(pattern) else [path]
        if has_magic(pattern):
            folders = [folder for folder in folders if (folder / RUN_FILE).exists()]
        if not folders:
            raise UserError(
                f"there is no run in {pattern}; run '{typed_command('search')}' first, or name others with runs=[...]"
            )
        chosen |= dict.fromkeys(folders)
    return list(chosen)


def _write(folder: Path, all_series: Mapping[str, Sequence[RunRecord]], console: Console, config: ReportConfig) -> None:
    prepare_folder(folder)
    values = report_of(all_series, title=config.title, budgets=config.budgets)
    info = next(iter(all_series.values()))[0].info
    write_json(folder / "report.json", values)
    write_text(folder / "report.html", render(values))
    draw_overlay(folder / "report.png", values, info)
    more = [name for kind in dict.fromkeys(config.format) for name in FORMATS[kind](folder, values, info)]
    show_table(console, series_table(values))
    for line in filter(None, [values["conditions"], *(f"note: {note}" for note in values["notes"])]):
        console.print(line)
    console.print(f"report in {folder}: {' '.join(['report.html', 'report.png', 'report.json', *more])}")


def _write_csv(folder: Path, values: Report, info: RunInfo) -> list[str]:
    write_csv(folder / "report.csv", series_rows(values))
    write_csv(folder / "fronts.csv", front_rows(values))
    return ["report.csv", "fronts.csv"]


def _write_latex(folder: Path, values: Report, info: RunInfo) -> list[str]:
    write_text(folder / "report.tex", latex_table(values))
    return ["report.tex"]


def _draw(kind: str, folder: Path, values: Report, info: RunInfo) -> list[str]:
    draw_overlay(folder / f"report.{kind}", values, info)
    return [f"report.{kind}"]


FORMATS: dict[str, Callable[[Path, Report, RunInfo], list[str]]] = {
    "csv": _write_csv,
    "latex": _write_latex,
    "pdf": partial(_draw, "pdf"),
    "svg": partial(_draw, "svg"),
}
"""Formats of a report besides the page and the picture: each function writes files and returns their names."""


def main() -> None:
    """Writes a report as the command line says."""
    run_app("report", ReportConfig, report)


if __name__ == "__main__":
    main()
