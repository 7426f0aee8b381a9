"""The files in conf/: the names in each group, their values and their descriptions."""

from __future__ import annotations

import dataclasses
import importlib.resources
import itertools
from typing import Any, cast

from omegaconf import OmegaConf

CONFIG_MODULE = "conf"
PRESETS = {
    "experiment": "A whole recipe. Options that are given beside it win.",
    "debug": "A test run. Options that are given beside it win.",
}
"""Named sets of values. Each command has its own: experiment=best of `train` is conf/experiment/train/best.yaml."""


def groups_of(command: str) -> dict[str, list[str]]:
    """Configuration groups and the names in each; the presets of a command under their short names."""
    root = importlib.resources.files(CONFIG_MODULE)
    folders = {f.name: f / command if f.name in PRESETS else f for f in root.iterdir() if f.is_dir()}
    names = {
        group: sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))
        for group, folder in folders.items()
        if folder.is_dir()
    }
    return {group: options for group, options in names.items() if options}


def choice_texts(command: str, group: str) -> dict[str, str]:
    """A description of each choice of a group: the comment at the top of its file, or the model's name on the hub."""
    folder = f"{group}/{command}" if group in PRESETS else group
    texts = {}
    for name in groups_of(command)[group]:
        file = f"{folder}/{name}.yaml"
        lines = itertools.takewhile(lambda line: line.startswith("#"), _text_of(file).splitlines())
        comment = " ".join(line.lstrip("# ") for line in lines if not line.startswith("# @"))
        texts[name] = comment or str(values_in(file).get("hub") or "")
    return texts


def values_in(path: str) -> dict[str, Any]:
    """The values in a file.

    Args:
        path: Below conf/.
    """
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(_text_of(path))))


def _text_of(path: str) -> str:
    return importlib.resources.files(CONFIG_MODULE).joinpath(path).read_text("utf-8")


def choice_of(group: str, options: Any) -> str:
    """Name of a group's options: the choice that sets them, or the nearest choice of their name and the differences.

    For example "small64", or "small64, min_layers 1".

    Args:
        group: The GROUP of conf/GROUP/*.yaml.
        options: A dataclass made of that group's values, with a `name` among them.
    """
    different: dict[str, list[str]] = {}
    for choice in groups_of("train")[group]:
        values = values_in(f"{group}/{choice}.yaml")
        if values["name"] == options.name:
            chosen = dataclasses.asdict(type(options)(**values))
            pairs = dataclasses.asdict(options).items()
            different[choice] = [f"{key} {value}" for key, value in pairs if value != chosen[key]]
    choice = min(different, key=lambda name: (len(different[name]), name))
    return ", ".join([choice, *different[choice]])
