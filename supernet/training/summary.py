"""Output of a training: losses on the progress line, the table at the end, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from supernet.options.training import TrainConfig
from supernet.runtime.commands import typed_command


def step_text(seen: Mapping[str, float]) -> str:
    """The progress line's text for a step, from loss_KIND, learning_rate and samples_per_second."""
    losses = [f"{key.removeprefix('loss_')} {value:.3f}" for key, value in seen.items() if key[:5] == "loss_"]
    return f"loss: {', '.join(losses)}  lr {seen['learning_rate']:.1e}  {seen['samples_per_second']:.0f} rows/s"


def print_summary(
    console: Console,
    *,
    title: str,
    facts: Mapping[str, str],
    errors: Mapping[str, float],
    shares: Mapping[str, float],
    folder: Path,
) -> None:
    """Prints the table at the end of a training.

    Args:
        console: Where to print.
        title: The table's title.
        facts: Name and value of each row.
        errors: Validation error of each validated sub-network.
        shares: Share of the encoder's parameters that each of them has.
        folder: Of the supernet. Printed below the table, where a narrow terminal does not cut it.
    """
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    for kind, error in errors.items():
        table.add_row(f"validation error, {kind} sub-network", f"{error:.4f} with {shares[kind]:.1%} of the encoder")
    console.print(table)
    console.print(f"supernet saved in {folder}")


def search_command(config: TrainConfig) -> str:
    """The command that searches the trained supernet."""
    values = [f"supernet={config.folder}"] + ([f"output_dir={config.output_dir}"] * (config.output_dir != "runs"))
    return f"{typed_command('search')} searcher=ehvi {' '.join(map(shlex.quote, values))}"
