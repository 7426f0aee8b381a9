"""Exports the sub-network for a budget: chosen, perhaps trained alone, written, verified, perhaps uploaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from search.export.chosen import Chosen, chosen_for
from search.export.finalists import best_finished, finalists_of, model_before, share_of
from search.export.place import check_same, only_one, place_of
from search.objectives import FOR_WORKLOAD
from search.options.export import ExportConfig
from search.report.tables import show_table
from search.rows import load_texts
from search.trials import weights_file
from supernet.artifact import Supernet, load_supernet
from supernet.console.progress import plain_console, show_progress
from supernet.evaluation.latency import refuse_longer
from supernet.export.exporting import Subject
from supernet.export.exporting import export as export_model
from supernet.export.formats import check_packages
from supernet.export.native import padded
from supernet.export.push import check_push, push_folder
from supernet.export.report import ExportReport, read_report
from supernet.options.export import CODE, NATIVE
from supernet.runtime.commands import typed_command
from supernet.runtime.distributed import several_processes
from supernet.runtime.errors import UserError
from supernet.runtime.files import file_sha256, supernet_name
from supernet.runtime.signals import ended_by_signals
from supernet.space.cost import Workload

LENGTH = 128
"""Tokens that latencies are measured on, if the task has as many and the run says nothing."""


def export(config: ExportConfig) -> Path:
    """Exports the chosen sub-network, says how to use it, and returns its folder; see `exported`."""
    folder, _ = exported(config)
    plain_console().print(f"next: {predict_command(folder)}")
    return folder


def predict_command(folder: Path) -> str:
    """What to type for the labels of texts."""
    return f"{typed_command('predict')} model={folder} input=FILE"


def exported(config: ExportConfig) -> tuple[Path, ExportReport]:
    """Exports the chosen sub-network and returns its folder. Does nothing again if the folder is there.

    Raises:
        UserError: if there is no such sub-network, its weights or rows are gone, the folder holds another export, or a
            written file does not do what the sub-network does.
    """
    if several_processes():
        raise UserError("export runs in one process; start it without accelerate launch")
    console = plain_console()
    check_possible(config)
    chosen = chosen_for(config)
    chosen.show(console)
    with ended_by_signals():
        folder, report = export_chosen(chosen, config, console=console)
    _show(report, folder, console)
    if config.push is not None:
        push_folder(folder, config.push, private=config.private, dry_run=config.dry_run, console=console)
    return folder, report


def check_possible(config: ExportConfig) -> None:
    """Checks what can be checked before there is a run: the packages of the formats, and what would refuse a push.

    Raises:
        UserError: if the export would fail.
    """
    check_packages(config.formats)
    if config.push is not None:
        check_push(config.push, dry_run=config.dry_run)


def export_chosen(
    chosen: Chosen, config: ExportConfig, folder: Path | None = None, *, console: Console
) -> tuple[Path, ExportReport]:
    """Exports a sub-network, unless the folder holds this very export.

    Args:
        chosen: What to export.
        config: How to export.
        folder: Where to; None is the place that the options name.
        console: Receives the lines.

    Raises:
        UserError: see `export`.
    """
    supernet = load_supernet(chosen.supernet, weights=chosen.weights)
    _check_fits(chosen, supernet)
    identity = identity_of(config, chosen, supernet)
    folder = place_of(config, _label(chosen, supernet, config), identity) if folder is None else folder
    with only_one(folder) as work:
        if check_same(folder, identity, overwrite=config.overwrite):
            console.print(f"{folder} is there already; overwrite=true exports it again")
            return folder, read_report(folder)
        model = model_before(chosen, supernet)
        if config.layout == NATIVE:  # refuses what zeros cannot express, before hours are spent on it
            for finalist in finalists_of(chosen, config):
                padded(model_before(finalist, supernet))
        with show_progress(plain_console(stderr=True), f"loading the rows of task {supernet.info.task.name}"):
            rows, data = load_texts(supernet, config.data)
        done: dict[str, Any] = {"finished": None}
        if config.finetune.epochs:
            chosen, model, done = best_finished(chosen, supernet, data, config, work=work, console=console)
        origin = _origin(chosen, supernet) | done | {"identity": identity}
        subject = Subject(model, supernet.model, supernet.tokenizer, rows, data, chosen.subnet, origin)
        with show_progress(plain_console(stderr=True), "writing the files, and running them in a fresh process"):
            return folder, export_model(folder, subject, config.options(_workload(chosen, supernet)))


def _check_fits(chosen: Chosen, supernet: Supernet) -> None:
    """Raises a UserError if a sub-network keeps what the supernet does not have."""
    if (beyond := supernet.space.sizes.excess(chosen.subnet)) is not None:
        raise UserError(f"sub-network ({chosen.subnet}) does not fit the supernet in {chosen.supernet}: {beyond}")


def _workload(chosen: Chosen, supernet: Supernet) -> Workload:
    """What latencies are measured on if nothing is said: the run's workload if its objectives depend on it."""
    if chosen.run is not None and set(FOR_WORKLOAD) & set(chosen.run.info.objectives):
        return Workload(**chosen.run.info.settings["workload"])
    return Workload(1, min(LENGTH, supernet.info.task.max_length))


def identity_of(config: ExportConfig, chosen: Chosen, supernet: Supernet) -> dict[str, Any]:
    """What an export folder is the result of, in plain values, without paths.

    Raises:
        UserError: if the workload is longer than the model allows.
    """
    workload = config.workload.or_else(_workload(chosen, supernet))
    refuse_longer(supernet.model.config, workload)
    weights: dict[str, Any] = {"weights": supernet.weights, "subnet": chosen.subnet.to_json()}
    if others := finalists_of(chosen, config)[1:]:
        weights["finalists"] = [other.subnet.to_json() for other in others]
        if chosen.choice is not None and chosen.choice.cost is not None:  # it decides among them
            weights["max_error"] = chosen.choice.limits["error"]
    return weights | {"own_weights": _own_weights(chosen), "workload": asdict(workload)} | config.identity()


def _own_weights(chosen: Chosen) -> str | None:
    """The digest of the weights that the run keeps for a sub-network; None if they are the supernet's."""
    if chosen.run is None or chosen.trial is None:
        return None
    file = weights_file(chosen.run.folder, chosen.trial)
    return file_sha256(file)[:16] if file.is_file() else None


def _label(chosen: Chosen, supernet: Supernet, config: ExportConfig) -> str:
    """The part of a folder's name that is for people: the run, or the supernet, and the share of the encoder."""
    name = supernet_name(chosen.supernet) if chosen.run is None else chosen.run.folder.resolve().name
    finalists = finalists_of(chosen, config)
    return f"{name}-{share_of(chosen, supernet) * 100:.0f}pct" if len(finalists) == 1 else f"{name}-of{len(finalists)}"


def _origin(chosen: Chosen, supernet: Supernet) -> dict[str, Any]:
    """Where a sub-network comes from, for export.json. Names, not paths: the folder may be published."""
    info, run = supernet.info, chosen.run
    origin: dict[str, Any] = {"supernet": supernet_name(chosen.supernet.resolve()), "weights": supernet.weights}
    origin |= {"model": info.model, "run": None, "trial": chosen.trial, "test_run": info.test_run}
    if run is None:
        return origin
    about = {"run": run.folder.resolve().name, "kind": run.info.kind, "label": run.info.label}
    return origin | about | {"test_run": run.info.test_run}


def _show(report: ExportReport, folder: Path, console: Console) -> None:
    """Prints the table, and where the folder is."""
    show_table(console, report.table())
    for part in report.conditions.split("; "):
        console.print(part)
    for name, reason in report.left_out.items():
        console.print(f"{name} was not written: it {reason}")
    if report.layout == CODE:
        console.print("transformers loads it with trust_remote_code=True, as it has a modelling file of its own")
    console.print(f"the model is in {folder}")
