"""Checks environment variables before the libraries that read them are loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from supernet.runtime.errors import UserError

_NUMBER, _COUNT = r"\d{1,9}", r"0*[1-9]\d{0,8}"
_FLAG = r"(?i)|[01yntf]|yes|no|on|off|true|false"

_VARIABLES = {
    "RANK": (_NUMBER, "a whole number, from 0"),
    "LOCAL_RANK": (_NUMBER, "a whole number, from 0"),
    "WORLD_SIZE": (_COUNT, "a whole number, from 1"),
    "LOCAL_WORLD_SIZE": (_COUNT, "a whole number, from 1"),
    "OMP_NUM_THREADS": (rf"{_COUNT}(,{_COUNT})*", "a number of threads"),
    "ACCELERATE_USE_CPU": (_FLAG, "true or false"),
    "HF_HUB_OFFLINE": (_FLAG, "1 or 0"),
    "TRANSFORMERS_OFFLINE": (_FLAG, "1 or 0"),
    "HF_DATASETS_OFFLINE": (_FLAG, "1 or 0"),
}
"""Variables that libraries read, some without an error for a wrong value, and the allowed values."""

_LAUNCHED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables that a launcher sets for each of several processes."""


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Checks the values of environment variables.

    Raises:
        UserError: if a value is not allowed, or some of a launcher's variables are missing.
    """
    for name, (pattern, allowed) in _VARIABLES.items():
        value = environment.get(name)
        if value is not None and not re.fullmatch(pattern, value.strip()):
            raise UserError(
                f"the environment says {name}={value!r}; it must be {allowed}: set it right or 'unset {name}'"
            )
    rank, size = environment.get("RANK"), environment.get("WORLD_SIZE")
    processes = 1 if size is None else int(size)
    if rank is not None and (size is None or int(rank) >= processes):
        wrong = "without WORLD_SIZE" if size is None else f"with WORLD_SIZE={size}, and must be less"
        raise UserError(
            f"the environment says RANK={rank} {wrong}: a launcher sets both; start with 'accelerate launch', or 'unset"
            " RANK WORLD_SIZE'"
        )
    missing = [name for name in _LAUNCHED if name not in environment]
    if processes > 1 and missing:
        raise UserError(
            f"the environment says WORLD_SIZE={processes}, but not {', '.join(missing)}: each process would work "
            "alone; start with 'accelerate launch', or 'unset WORLD_SIZE'"
        )
