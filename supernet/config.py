"""From Hydra's configuration to typed, frozen values, once; and one line for each mistake in it.

The dataclasses that the code works with are the schema, and check their own values. This is the only module that
knows Hydra.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from supernet.errors import UserError, first_line, one_line_errors, unknown

C = TypeVar("C")

CONFIG_MODULE = "conf"
PRESETS = ("experiment", "debug")
"""Named sets of values. Each command has its own: experiment=best of `train` is conf/experiment/train/best.yaml."""

_KINDS = {
    "to Integer": "a whole number",
    "to Float": "a number",
    "valid bool": "true or false",
    "to string": "text",
    "is not a ListConfig": "a list",
}
"""What a value must be, where OmegaConf's message has these words."""

HYDRA_FLAGS = {
    "-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--resolve", "-p", "--package", "-r", "--run",
    "-s", "--shell-completion", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
    "-x", "--experimental-rerun", "-i", "--info",
}  # fmt: skip


def run_app(config_name: str, schema: type[C], job: Callable[[C], object]) -> None:
    """Runs a command: configuration from conf/`config_name`.yaml and the command line, checked before anything starts.

    Args:
        config_name: Primary configuration; its defaults list begins with "`config_name`_schema".
        schema: Frozen dataclass that the configuration becomes.
        job: What to do with it. In a sweep (`-m`) called once for each combination.
    """
    _register(config_name, schema)

    @hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name=config_name)
    def run(config: DictConfig) -> None:
        with one_line_errors():
            job(_to_dataclass(config))

    with one_line_errors():
        overrides = [argument for argument in sys.argv[1:] if argument not in ("-m", "--multirun")]
        sys.argv[1:] = _of_command(config_name, sys.argv[1:])
        flags = [argument.partition("=")[0] for argument in overrides if argument.startswith("-")]
        for flag in flags:
            if flag not in HYDRA_FLAGS:
                raise UserError(f"'{flag}' is not understood; write key=value without dashes, for example task=mnli")
        # With Hydra's flags (help, a configuration folder of the user's own) the checking is left to Hydra.
        if not flags:
            check_overrides(config_name, overrides, sweep=len(overrides) < len(sys.argv) - 1)
    run()


def load_config(config_name: str, schema: type[C], overrides: Sequence[str] = ()) -> C:
    """The configuration that a command line would give, without running anything.

    Raises:
        UserError: for an unknown name or key, a wrong type, an impossible value.
    """
    _register(config_name, schema)
    check_overrides(config_name, overrides)
    return cast(C, _to_dataclass(_compose(config_name, overrides)))


def check_overrides(config_name: str, overrides: Sequence[str], *, sweep: bool = False) -> None:
    """Checks a command line, so far as it can be without running: names, keys, types and values.

    In a sweep, of what has several values (`task=rte,sst2`) the names are checked here, and the rest in each job.

    Raises:
        UserError: with the nearest valid names.
    """
    parsed = [_parse(text) for text in overrides]
    keys = _keys(_compose(config_name, []))
    groups = {group: names for group, names in _groups(config_name).items() if group in (*keys, *PRESETS)}
    for override in parsed:
        _check_names(override, groups, keys)
        _check_number_of_values(override, sweep=sweep)
    fixed = [text for text, override in zip(overrides, parsed, strict=True) if not override.is_sweep_override()]
    _to_dataclass(_compose(config_name, fixed))


def _register(config_name: str, schema: type[Any]) -> None:
    ConfigStore.instance().store(name=f"{config_name}_schema", node=_schema_node(schema))


def _schema_node(schema: type[Any]) -> DictConfig:
    """The schema as a configuration. Frozen dataclasses make read-only ones, but the command line has to set them."""
    node = OmegaConf.structured(schema)
    OmegaConf.set_readonly(node, None)
    for name, kind in get_type_hints(schema).items():
        if dataclasses.is_dataclass(kind):
            node[name] = _schema_node(cast("type[Any]", kind))
    return node


def _compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    # Not left initialised: hydra.main wants to do that itself.
    with hydra.initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        try:
            return hydra.compose(config_name, overrides=_of_command(config_name, overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_message(error)) from error


def _to_dataclass(config: DictConfig) -> Any:
    try:
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(_message(error)) from error


def _message(error: BaseException) -> str:
    """One line of Hydra's and OmegaConf's: the innermost cause says what is wrong."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    line = first_line(cause)
    key = getattr(cause, "full_key", None)
    if not key:
        return line
    kind = next((kind for words, kind in _KINDS.items() if words in line), None)
    if kind is None:
        return f"{key}: {line}"
    value = getattr(cause, "value", None)
    return f"{key} {value!r} must be {kind}" + (f": {key}=[{value}]" if kind == "a list" else "")


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UserError(f"'{text}' is not understood; write key=value, for example task=mnli") from error


def _of_command(config_name: str, overrides: Sequence[str]) -> list[str]:
    """The overrides with the command's own presets in place of the short names."""
    short = tuple(f"{preset}=" for preset in PRESETS)
    return [o.replace("=", f"/{config_name}=", 1) if o.startswith(short) else o for o in overrides]


def _groups(config_name: str) -> dict[str, list[str]]:
    """Configuration groups and the names in each; presets under their short names."""
    root = importlib.resources.files(CONFIG_MODULE)
    folders = {f.name: f / config_name if f.name in PRESETS else f for f in root.iterdir() if f.is_dir()}
    names = {
        group: sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))
        for group, folder in folders.items()
        if folder.is_dir()
    }
    return {group: options for group, options in names.items() if options}


def choice_of(group: str, options: Any) -> str:
    """What a group's options are called: the choice that sets them, or the nearest one of their name and what differs.

    For example "small64", or "small64, min_layers 1".

    Args:
        group: Of conf/GROUP/*.yaml.
        options: A dataclass made of that group's values, with a `name` among them.
    """
    found: dict[str, list[str]] = {}
    for choice in _groups("train")[group]:
        text = (importlib.resources.files(CONFIG_MODULE) / group / f"{choice}.yaml").read_text("utf-8")
        values = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(text)))
        if values["name"] == options.name:
            chosen = dataclasses.asdict(type(options)(**values))
            pairs = dataclasses.asdict(options).items()
            found[choice] = [f"{key} {value}" for key, value in pairs if value != chosen[key]]
    choice = min(found, key=lambda name: (len(found[name]), name))
    return ", ".join([choice, *found[choice]])


def _keys(config: DictConfig) -> dict[str, bool]:
    """The key of each value, dotted, and whether it is a single value (not a group of them)."""

    def walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, bool]]:
        for key, value in node.items():
            yield prefix + str(key), not isinstance(value, dict)
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")

    return dict(walk(cast("Mapping[str, Any]", OmegaConf.to_container(config)), ""))


def _check_names(override: Override, groups: Mapping[str, list[str]], keys: Mapping[str, bool]) -> None:
    key = override.key_or_group
    if key.partition("/")[0].partition(".")[0] == "hydra":
        return
    if override.is_delete() or (override.is_add() and key in groups):
        raise UserError(f"'{override.input_line}' is not understood; write {key}=value")
    if key in groups:
        for choice in _choices(override):
            if choice not in groups[key]:
                raise unknown(key, choice, groups[key])
    elif key not in keys:
        known = [*groups, *(k for k, single in keys.items() if single)]
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"key '{key}' is unknown; {hint}--help shows all keys")


def _check_number_of_values(override: Override, *, sweep: bool) -> None:
    if override.value() == "":
        raise UserError(f"{override.key_or_group} is empty; give it a value, or leave it out")
    if override.is_sweep_override() and not sweep:
        key, _, values = str(override.input_line).partition("=")
        as_list = f"write {key}=[{values}] for a list, or " if override.is_choice_sweep() else ""
        raise UserError(f"{key}={values} has several values; {as_list}add -m to run with each of them in turn")


def _choices(override: Override) -> list[str]:
    if override.is_choice_sweep():
        return [str(choice) for choice in override.sweep_string_iterator()]
    return [str(override.value())]
