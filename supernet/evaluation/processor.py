"""This machine's processor. This module imports no torch."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_SHOWN = ("avx", "amx", "vnni", "f16c", "asimd", "i8mm", "bf16")
"""Beginnings of the flags that decide how fast, and how exactly, a processor multiplies matrices."""


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: Its name.
        flags: Its instructions for matrix products. int8 results differ between processors with and without VNNI.
    """

    name: str
    flags: tuple[str, ...]


def processor() -> Processor:
    """This machine's processor; `platform` does not know its name everywhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags", values.get("Features", "")).split()
    name = values.get("model name") or platform.processor() or platform.machine()
    return Processor(name, tuple(sorted(flag for flag in flags if flag.removeprefix("avx512_").startswith(_SHOWN))))
