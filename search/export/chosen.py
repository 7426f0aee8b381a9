"""Which sub-network to export, and where its weights are: by limits, by a trial's number, or by a file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from search.choice.choose import Choice, choose
from search.choice.show import show_choice
from search.options.export import ExportConfig
from search.options.search import SEARCH
from search.report.results import read_results
from search.run_folder import RunRecord, find_run, read_run, remarks, supernet_of
from supernet.artifact import find_supernet
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.reading import load_json, unusable
from supernet.runtime.shapes import shaped
from supernet.runtime.storage import user_path
from supernet.space.subnetwork import SubNetwork


@dataclass(frozen=True, eq=False)
class Chosen:
    """A sub-network to export.

    Attributes:
        subnet: The sub-network.
        supernet: Folder of its supernet.
        weights: Digest of the supernet's weights; None if any are right.
        run: The run that evaluated it; None if it comes from a file that names no run.
        choice: How limits chose it; None if they did not.
    """

    subnet: SubNetwork
    supernet: Path
    weights: str | None
    run: RunRecord | None = None
    choice: Choice | None = None

    @property
    def trial(self) -> int | None:
        """The number of the trial of the sub-network; None if it has none of its own, as an early exit."""
        return None if self.run is None else _trial_of(self.run, self.subnet)

    def show(self, console: Console) -> None:
        """Prints the choice, as select does, or what was named."""
        if self.run is not None and self.choice is not None:
            show_choice(console, self.run, self.choice, read_results(self.run))
            larger = _trial_of(self.run, self.choice.largest.subnet)
            if larger not in (None, self.trial):
                command = f"{typed_command('export')} run={self.run.folder} trial={larger}"
                console.print(f"the limit is a ceiling; the largest as good: {command}")
            return
        console.print(str(self.subnet), style="bold")
        if self.run is not None:
            console.print(f"  of run {self.run.folder}" + ("" if self.trial is None else f", trial {self.trial}"))
            for remark in remarks(self.run):
                console.print(f"note: {remark}")


def _trial_of(run: RunRecord, subnet: SubNetwork) -> int | None:
    return next((trial.number for trial in run.trials if trial.subnet == subnet), None)


def chosen_for(config: ExportConfig) -> Chosen:
    """The sub-network that the options choose.

    Raises:
        UserError: if there is no run, no sub-network is within the limits, there is no such trial, or the file cannot
            be used.
    """
    if config.subnet is not None:
        return _from_file(config, user_path(config.subnet))
    run = read_run(find_run(config.run, config.output_dir))
    if config.trial is not None:
        return chosen_of(config, run, _of_trial(run, config.trial))
    choice = choose(run, config.budgets, config.max_error_increase)
    return chosen_of(config, run, choice.chosen.subnet, choice)


def chosen_of(config: ExportConfig, run: RunRecord, subnet: SubNetwork, choice: Choice | None = None) -> Chosen:
    """A sub-network of a run, whose supernet is where the options or the run say; `choice` if limits chose it."""
    supernet = supernet_of(run) if config.supernet is None else _named(config.supernet, config)
    return Chosen(subnet, supernet, run.info.weights, run, choice)


def _named(supernet: str, config: ExportConfig) -> Path:
    return find_supernet(supernet, user_path(config.output_dir))


def _of_trial(run: RunRecord, number: int) -> SubNetwork:
    if number >= len(run.trials):
        last = len(run.trials) - 1
        there = f"its trials have the numbers 0 to {last}" if run.trials else "it has no trial yet"
        raise UserError(f"{run.folder} has no trial {number}; {there}")
    trial = run.trials[number]
    if trial.outcome.metrics is None:
        raise UserError(f"trial {number} of {run.folder} failed: {trial.outcome.failure}; take another one")
    return trial.subnet


@dataclass(frozen=True)
class _File:
    """What a file says of a sub-network. Other keys do not matter."""

    subnet: SubNetwork
    run: str | None = None
    supernet: str | None = None
    weights: str | None = None
    kind: str | None = None


def _from_file(config: ExportConfig, path: Path) -> Chosen:
    with unusable(str(path), f"give what '{typed_command('select')} max_params=0.5 format=json' prints"):
        values = shaped(dict[str, Any], load_json(path))
        file: _File = shaped(_File, {f.name: values[f.name] for f in fields(_File) if f.name in values})
    run = _run_of(config, file, path)
    if run is None:
        supernet = config.supernet if config.supernet is not None else file.supernet
        if supernet is None:
            raise UserError(f"{path} names no run and no supernet; name one of them with run=FOLDER or supernet=FOLDER")
        return Chosen(file.subnet, _named(supernet, config), file.weights)
    if file.weights not in (None, run.info.weights):
        raise UserError(
            f"{path} is about a supernet whose weights have the digest {file.weights}, but {run.folder} searched "
            f"another one ({run.info.weights}); choose again from this run"
        )
    if file.kind not in (None, run.info.kind):
        raise UserError(
            f"{path} is about a run of mode {file.kind}, but {run.folder} is of mode {run.info.kind}, where the same "
            "sub-network has other weights; choose again from this run"
        )
    return chosen_of(config, run, file.subnet)


def _run_of(config: ExportConfig, file: _File, path: Path) -> RunRecord | None:
    """The run of a file's sub-network; None if the supernet alone has its weights."""
    if config.run is not None:
        return read_run(user_path(config.run))
    if file.run is not None and user_path(file.run).is_dir():
        return read_run(user_path(file.run))
    if file.kind in (None, SEARCH):
        return None
    raise UserError(f"{path} needs the weights of run {file.run}, which is not there; name it with run=FOLDER")
