"""Measures, checks and writes the latency table of a supernet (`plm-supernet profile`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from search.options.profile import ProfileConfig
from supernet.artifact import Supernet, find_supernet, load_supernet
from supernet.console.progress import plain_console
from supernet.evaluation.latency import Timing
from supernet.evaluation.latency_share import clocks_of
from supernet.evaluation.latency_table import Conditions, LatencyTable, prediction_errors
from supernet.evaluation.table_building import build_table
from supernet.models.families import architecture_of
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.files import folder_name, prepare_folder
from supernet.runtime.processes import accelerate_session
from supernet.runtime.storage import user_path
from supernet.space.sampling import stratified
from supernet.space.subnetwork import SubNetwork


def profile(config: ProfileConfig) -> Path:
    """Builds, checks and writes the latency table of a supernet; returns its file.

    Raises:
        UserError: if there is no supernet, its model is too short for the workload, or the file cannot be written.
    """
    console = plain_console()
    folder = find_supernet(config.supernet, user_path(config.output_dir))
    supernet = load_supernet(folder)
    with accelerate_session(config.mixed_precision, key="mixed_precision") as accelerator:
        if accelerator.num_processes > 1:
            raise UserError(f"a latency is that of one process; start '{typed_command('profile')}' without a launcher")
        place: dict[str, Any] = {"device": accelerator.device, "mixed_precision": accelerator.mixed_precision}
        supernet.model.to(accelerator.device)
        conditions = Conditions.of(supernet.model, config.workload, **place)
        path = _path(config, folder, conditions)
        _check_writable(path)
        console.print(f"supernet {folder}; {conditions}")
        subnets = _random_subnets(supernet, config.check_subnets, config.seed)
        with plain_console(stderr=True).status("measuring"):
            clock = clocks_of(accelerator.device)[0]
            table, timings = build_table(
                supernet.model, config.workload, check=subnets, turns=config.turns, clock=clock, **place
            )
    table.save(path)
    if subnets:
        console.print(_comparison(table, subnets, timings))
        errors_n = np.abs(prediction_errors(table, subnets, timings))
        console.print(f"error of the prediction: median {np.median(errors_n):.1%}, worst {errors_n.max():.1%}")
    console.print(f"latency table in {path}; use it with objectives=[error,latency_ms] latency_table={path}")
    return path


def _path(config: ProfileConfig, supernet_folder: Path, conditions: Conditions) -> Path:
    """The file to write."""
    if config.output is not None:
        return user_path(config.output)
    return supernet_folder / f"{folder_name('latency', conditions.device, str(conditions.workload))}.json"


def _check_writable(path: Path) -> None:
    """Checks that the file can be written, before minutes are spent.

    Raises:
        UserError: if the file cannot be written.
    """
    if path.is_dir():
        raise UserError(f"output={path} is a folder; name a file in it: output={path / 'latency.json'}")
    try:
        prepare_folder(path.parent)
    except UserError as error:
        raise UserError(f"{path} cannot be written; name a file elsewhere with output=FILE") from error


def _random_subnets(supernet: Supernet, count: int, seed: int) -> list[SubNetwork]:
    """Random sub-networks of the supernet's space, spread evenly over its range of parameters."""
    rng, architecture = np.random.default_rng(seed), architecture_of(supernet.model.config)
    return [stratified(supernet.space, architecture, rng) for _ in range(count)]


def _comparison(table: LatencyTable, subnets: Sequence[SubNetwork], timings: Sequence[Timing]) -> Table:
    """Predicted and measured latency of each sub-network, the fastest first."""
    shown = Table(title="Latency in ms, predicted and measured (median, quartiles)")
    for column in ("layers", "heads", "units", "predicted", "measured", "quartiles", "error"):
        shown.add_column(column, justify="right")
    errors_n = prediction_errors(table, subnets, timings)
    for i in np.argsort([timing.median_ms for timing in timings]):
        t = timings[i]
        numbers = (f"{table.predict(subnets[i]):.2f}", f"{t.median_ms:.2f}", f"{t.low_ms:.2f}-{t.high_ms:.2f}")
        shown.add_row(*subnets[i].widths(), *numbers, f"{errors_n[i]:+.1%}")
    return shown
