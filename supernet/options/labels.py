"""Labels as they stand in a file: names of classes, or numbers.

A label is text, and two classes are the same only if they are written alike: 1.1 and 1.10 may be chapters, 01 and 1
codes. A label is a number if the task is a regression, or if the file itself holds numbers (JSON, Parquet). Each number
then has a single name.

This module imports no torch.
"""

from __future__ import annotations

import math
import re

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))(\.0)?")


def label_name(value: object) -> str | None:
    """The name of the class that a label stands for, as it is in the file; None if it cannot be a name.

    None is the result for what is neither text nor a number, for empty text, for half a surrogate pair, and for numbers
    that are not finite, such as NaN for a missing value.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_name(value) if math.isfinite(value) else None
    if not isinstance(value, (int, str)):
        return None
    try:
        name = str(value).strip()
        name.isascii() or name.encode()
    except ValueError:  # an integer of thousands of digits; half a surrogate pair
        return None
    return name or None


def is_missing(value: object) -> bool:
    """Whether a file says that there is no value: null, NaN, nothing or blanks."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def number_name(number: float) -> str:
    """A number as the name of a class: 1 and 1.0 are the same class where the file holds numbers."""
    return str(int(number)) if number == int(number) else repr(number)


def parse_number(name: str, *, comma: bool = False) -> int | float | None:
    """The finite number that a text stands for; None if it is not a number. "1_000" and "٣" count as texts.

    Args:
        name: The text.
        comma: Whether fractions are written with a comma, 0,5, instead of a point.
    """
    if not name.isascii() or "_" in name:
        return None
    if comma:
        name = "" if "." in name else name.replace(",", ".", 1)
    try:
        number = float(name)
    except ValueError:
        return None
    if not math.isfinite(number):  # or a whole number of hundreds of digits
        return None
    try:
        return int(name)
    except ValueError:
        return number


def other_writing(name: str) -> str | None:
    """1.0 for 1 and 1 for 1.0, None for any other name.

    pandas writes a column of whole numbers as 1.0 once a value is missing, so that the same class is called 1 in one
    file and 1.0 in another.
    """
    match = _WHOLE.fullmatch(name)
    return None if match is None else match[1] if match[2] else f"{name}.0"


def spellings(name: str) -> frozenset[str | None]:
    """How a file may write a label that the user names; None is a missing label.

    null and nan are missing labels, and also the texts that programs write for them.
    """
    if name == "null":
        return frozenset({None, "null"})
    if name.lower() == "nan":
        return frozenset({None, "nan", "NaN", "NAN"})
    return frozenset({name, other_writing(name) or name})
