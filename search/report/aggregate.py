"""Sorts runs: which can be compared in one picture, and which are repetitions of the same run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from search.objectives import FOR_WORKLOAD
from search.options.search import BASELINE
from search.run_folder import RunInfo, RunRecord
from supernet.runtime.files import digest, folder_name, supernet_name
from supernet.runtime.shapes import flatten

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ALWAYS_NAMED = ("strategy", "space")
_SEEDS = ("seed", "settings.seed")


def comparable(info: RunInfo) -> str:
    """A name of what runs on the same rows must have in common to be in one picture."""
    parts = [info.task, Path(info.model).name, *info.objectives]
    if set(FOR_WORKLOAD) & set(info.objectives):
        workload = info.settings.get("workload", {})
        parts.append("x".join(str(value) for value in workload.values()))
    return folder_name(*filter(None, parts))


def comparable_sets(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Sets of comparable runs by name. A name has rows and device in it only where it would not be unique without."""
    sets = by_key(runs, lambda run: (comparable(run.info), run.info.data, _clock(run.info)))
    names = [name for name, *_ in sets]
    return {
        folder_name(*filter(None, key)) if names.count(key[0]) > 1 else key[0]: members for key, members in sets.items()
    }


def _clock(info: RunInfo) -> str:
    """Identifies what latencies were measured on, or computed from; empty if the run has none."""
    if "latency_ms" not in info.objectives:
        return ""
    return digest([info.settings.get(name) for name in ("latency_table", "conditions")])


def by_key(values: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """Lists of values with the same key, in the order in which the keys first appear."""
    lists: dict[K, list[V]] = defaultdict(list)
    for value in values:
        lists[key(value)].append(value)
    return dict(lists)


def series_of(runs: Sequence[RunRecord], *, pool_supernets: bool) -> dict[str, list[RunRecord]]:
    """Runs by the name of their series, baselines last. Runs that differ only in the seed are repetitions.

    A name is the label, then strategy and space if they differ between the series, then any other values that
    distinguish the series of one label.

    Args:
        runs: Comparable runs.
        pool_supernets: Runs on different supernets of the same model, space and strategy are repetitions too. Other
            differences between the supernets' trainings are not known here, so the user has to decide.
    """
    alike = by_key(runs, lambda run: json.dumps(_identity(run.info, pool_supernets), sort_keys=True)).values()
    all_series = sorted(alike, key=lambda series: series[0].info.kind == BASELINE)
    identities = [_identity(series[0].info, pool_supernets) for series in all_series]
    infos = [series[0].info for series in all_series]
    names = [[info.label] for info in infos]
    for key in ALWAYS_NAMED:
        if len({getattr(info, key) for info in infos}) > 1:
            for name, info in zip(names, infos, strict=True):
                name.append(f"{key} {getattr(info, key)}")
    settings = [key for identity in identities for key in identity if key.startswith("settings.")]
    for keys in (["kind"], ["model"], ["test_run"], settings):
        _name_differences(names, identities, keys)
    supernets = [{"supernet": supernet_name(Path(info.supernet)), "weights": info.weights} for info in infos]
    for key in ("supernet", "weights"):
        _name_differences(names, supernets, [key])
    # Series differ in at least one value, so with all values no two have the same name.
    _name_differences(names, identities, sorted({key for identity in identities for key in identity}))
    return {", ".join(name): series for name, series in zip(names, all_series, strict=True)}


def _identity(info: RunInfo, pool_supernets: bool) -> dict[str, Any]:
    """The values that repetitions have in common."""
    values = flatten(asdict(replace(info, sizes=None)))
    # The space follows from the weights; older runs have another name for the same space.
    implied_by_weights = "weights" if pool_supernets else "space"
    left_out = {*_SEEDS, "supernet", "majority_error", "sizes", implied_by_weights}
    return {k: v for k, v in values.items() if k not in left_out and not k.startswith("reference.")}


def _name_differences(names: list[list[str]], values: Sequence[dict[str, Any]], keys: Iterable[str]) -> None:
    """Extends equal names with the values in which their runs differ."""
    for same in by_key(range(len(names)), lambda i: tuple(names[i])).values():
        for key in dict.fromkeys(keys):
            if len({json.dumps(values[i].get(key)) for i in same}) > 1:
                for i in same:
                    names[i].append(f"{key.rpartition('.')[2]} {values[i].get(key)}")
