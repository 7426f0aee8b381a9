"""Which columns of the user's own data are the text and the label.

A task may leave these open (`TaskSpec.is_open`). Notes in the summary before training say what was inferred.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from supernet.data.readers import check_columns, listing
from supernet.options.task import TaskSpec
from supernet.runtime.errors import UserError

LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "topic", "score", "sentiment", "rating", "stars", "intent",
    "y", "gold", "gold_label", "label_id", "class_id", "class_name", "label_name", "label_text", "emotion", "grade",
    "is_spam", "spam", "answer", "tag", "genre",
)  # fmt: skip
"""Usual names of a label's column. A column with such a name is the label unless the user names another."""
TEXT_NAMES = (
    "text", "texts", "sentence", "review", "body", "content", "document", "message", "comment", "question", "tweet",
    "title", "description", "utterance", "query",
)  # fmt: skip
"""Usual names of a text's column. They only count where the label's column has no usual name."""
INDEX_NAMES = re.compile(
    r"|_?id|idx|index|guid|uid|uuid|(row|line)_?(id|nr|no|num|number|index)|rownames|rowid|level_0"
    r"|unnamed: \d+(\.\d+)*|__index_level_\d+__|__index__|\.\.\.\d+"
)
"""Columns that number the rows, as people, pandas, polars and R call them, in lower case. They are neither text nor
label unless the user names them."""


def is_index(column: str) -> bool:
    """Whether a column has the name of a row number."""
    return INDEX_NAMES.fullmatch(column.strip().lower()) is not None


def infer_columns(task: TaskSpec, columns: Sequence[str], where: str) -> tuple[TaskSpec, list[str]]:
    """The task with its text and label columns, and notes on how they were inferred.

    Args:
        columns: Columns of the training rows.
        where: The file, for messages.

    Raises:
        UserError: if it is not clear which columns are meant; it lists the columns and says what to give.
    """
    check_columns(task.columns, columns, where)
    present = [name for name in columns if name not in task.choices]
    label, how_label = (task.label, "") if task.label is not None else _label_column(task, present, where)
    rest = [name for name in present if name != label and not is_index(name)]
    if task.text:
        return replace(task, label=label), [how_label] if how_label else []
    if len(rest) != 1:
        reason = f"besides the label '{label}' there are {len(rest)}" if rest else f"there is only the label '{label}'"
        raise _unclear(columns, where, f"which is the text? {reason}; say data.text=COLUMN or data.text=[FIRST,SECOND]")
    notes = [how_label] if how_label else []
    return replace(task, label=label, text=(rest[0],)), [*notes, f"text is column '{rest[0]}', the only other column"]


def _label_column(task: TaskSpec, columns: Sequence[str], where: str) -> tuple[str, str]:
    candidates = [name for name in columns if name not in task.text]
    named = [name for name in candidates if name.strip().lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0], f"label is column '{named[0]}', by its name"
    others = [name for name in candidates if not is_index(name)]
    if not named and task.text and len(others) == 1:
        return others[0], f"label is column '{others[0]}', the only other column"
    unusual = [name for name in others if name.strip().lower() not in TEXT_NAMES]
    if not named and len(others) == 2 and len(unusual) == 1:
        label, other = unusual[0], _other(others, unusual[0])
        return label, f"label is column '{label}', because the other column is called '{other}'"
    doubt = f"{' and '.join(repr(name) for name in named)} may be the label" if named else "no column has a usual name"
    raise _unclear(columns, where, f"which is the label? {doubt}; say data.label=COLUMN")


def _other(names: Sequence[str], name: str) -> str:
    return next(other for other in names if other != name)


def _unclear(columns: Sequence[str], where: str, question: str) -> UserError:
    return UserError(
        f"{where} has the columns {listing(columns)}: {question}"
        " (the first line of a CSV or TSV file must name the columns)"
    )
