"""The summary of the user's data that is shown before training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from supernet.data.load import SPLITS, TaskData
from supernet.data.metrics import majority_error
from supernet.data.tokens import TokenizedSplit
from supernet.options.kinds import KINDS
from supernet.options.task import Task

SHOWN_CLASSES = 6
"""Classes in the table; the others are counted together."""
_HEADINGS = {"train": "training", "validation": "validation", "test": "test"}


def print_data_summary(data: TaskData, console: Console) -> None:
    """Prints what the rows are: splits, lengths, labels, columns, and what was guessed or decided.

    Readable from 70 columns on, with and without a terminal.
    """
    with console.capture() as captured:  # to remove the blanks that fill up the tables' lines
        console.print(Text(_headline(data.task), style="bold"), soft_wrap=False)
        for table in (_splits_table(data), _labels_table(data), _notes_table(data)):
            console.print(Padding(table, (0, 0, 1, 1), expand=False), soft_wrap=False)
    console.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)


def _headline(task: Task) -> str:
    return f"data of task {task.name}: {KINDS[task.kind].summary.format(count=len(task.answers))}, metric {task.metric}"


def _splits_table(data: TaskData) -> Table:
    """A row for each split: rows, lengths of their texts in tokens, where they come from."""
    table = _table("split", "rows", "tokens: mean", "95 %", "max", "cut", "from")
    table.columns[-1].justify, table.columns[-1].no_wrap = "left", False  # this column is cut if the terminal is narrow
    for name, split in _splits(data):
        lengths = split.sequence_lengths
        table.add_row(
            _HEADINGS[name],
            _count(len(split)),
            f"{lengths.mean():.0f}",
            f"{np.percentile(lengths, 95):.0f}",
            f"{lengths.max()}",
            _share(float(np.mean(lengths >= data.task.max_length))),
            _one_line(data.provenance.origins[name]),
        )
    return table


def _labels_table(data: TaskData) -> Table:
    """What the labels are in each split, and the error of the trivial predictor."""
    table = _table("label", *(_HEADINGS[name] for name in SPLITS))
    table.columns[0].max_width, table.columns[0].no_wrap = 32, False
    rows = _class_rows(data) if data.task.answers else _number_rows(data)
    for row in rows:
        table.add_row(*row)
    errors = (f"{majority_error(data.task, split.labels):.3f}" for _, split in _splits(data))
    table.add_row(f"error of the {data.task.labels.trivial}", *errors, style="italic")
    return table


def _class_rows(data: TaskData) -> Iterable[list[str | Text]]:
    """Rows and share of each class, those with the most training rows first."""
    task = data.task
    counts = np.array([task.labels.counts(split.labels, len(task.answers)) for _, split in _splits(data)])
    rows = np.array([len(split) for _, split in _splits(data)])
    order = np.argsort(-counts[0], kind="stable")
    few = len(order) <= SHOWN_CLASSES + 1
    shown = order if few else order[:SHOWN_CLASSES]
    for i in sorted(shown) if few else shown:
        yield [_one_line(task.answers[i]), *_counted(counts[:, i], rows)]
    if not few:
        rest = counts[:, order[SHOWN_CLASSES:]].sum(axis=1)
        yield [f"{len(order) - SHOWN_CLASSES} other classes", *_counted(rest, rows)]


def _counted(counts: np.ndarray, totals: np.ndarray) -> list[str]:
    return [f"{_count(n)} {_share(n / total):>6}" for n, total in zip(counts, totals, strict=True)]


def _number_rows(data: TaskData) -> Iterable[list[str | Text]]:
    for name, function in (("smallest", np.min), ("mean", np.mean), ("largest", np.max), ("deviation", np.std)):
        yield [name, *(f"{function(split.labels):.4g}" for _, split in _splits(data))]


def _notes_table(data: TaskData) -> Table:
    """Columns, files and notes."""
    task = data.task
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for heading, columns in (("text", task.text), ("choices", task.choices), ("label", (task.label,))):
        if columns:
            grid.add_row(heading, Text(", ".join(columns)))
    grid.add_row("length", Text(f"cut at {task.max_length} tokens (task.max_length)"))
    notes = [*data.provenance.notes, *_without_training_rows(data)]
    for heading, lines in (("files", data.provenance.files), ("not used", data.provenance.unused), ("notes", notes)):
        for i, line in enumerate(lines):
            grid.add_row("" if i else heading, Text(line))
    return grid


def _without_training_rows(data: TaskData) -> list[str]:
    counts = data.task.labels.counts(data.train.labels, len(data.task.answers))
    absent = [name for name, count in zip(data.task.answers, counts, strict=True) if not count]
    names = ", ".join(absent[:SHOWN_CLASSES]) + (", ..." if len(absent) > SHOWN_CLASSES else "")
    return [f"no training row has the label {names}, so no model can learn it"] if absent else []


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True, vertical="bottom")
    return table


def _one_line(text: str) -> Text:
    """A cell that is cut if there is not enough room."""
    return Text(" ".join(text.split()), no_wrap=True, overflow="ellipsis")


def _splits(data: TaskData) -> list[tuple[str, TokenizedSplit]]:
    return [(name, getattr(data, name)) for name in SPLITS]


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _share(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.1f} %"
