"""From conf/*.yaml and the command line to checked values, and one line for each mistake.

The dataclasses that the code uses are the schema, and check their own values. Hydra composes the configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar, cast, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from supernet.console.choices import CONFIG_MODULE, PRESETS, groups_of, values_in
from supernet.console.keys import MOSTLY_MEANT, TRUTH, ValueForm, check_key, forms_of
from supernet.console.overrides import choices, combinations, parse
from supernet.console.sweep import Job
from supernet.runtime.errors import UserError, first_line, unknown
from supernet.runtime.fields import variants_of
from supernet.runtime.shapes import flatten, normalised

C = TypeVar("C")

_EXPECTED = {
    "to Integer": "a whole number",
    "to Float": "a number",
    "valid bool": "true or false",
    "to string": "text",
    "is not a ListConfig": "a list",
}
"""Words in OmegaConf's messages, and what the value must be then."""

_NOT_NULL = ("is not Optional", "NoneType is not a subclass", "Incompatible value 'None'")


@dataclass(frozen=True)
class Command(Generic[C]):
    """The configuration of a command.

    Attributes:
        name: Name of its configuration, conf/NAME.yaml.
        schema: What the configuration becomes.
    """

    name: str
    schema: type[C]

    def __post_init__(self) -> None:
        ConfigStore.instance().store(name=f"{self.name}_schema", node=_schema_node(self.schema))

    @cached_property
    def forms(self) -> dict[str, ValueForm]:
        """The form of each key's value."""
        return forms_of(self.schema)

    @cached_property
    def keys(self) -> dict[str, bool]:
        """Each key, and whether it holds a single value (not others)."""
        parts = [key.split(".") for key in self.forms]
        sections = {".".join(names[:i]): False for names in parts for i in range(1, len(names))}
        return sections | dict.fromkeys(self.forms, True)

    @cached_property
    def defaults(self) -> DictConfig:
        """The configuration without any overrides."""
        return self._composed([])

    @cached_property
    def default_values(self) -> dict[str, Any]:
        """The default of each key; ${KEY} where it is another key's value."""
        return flatten(cast("dict[str, Any]", OmegaConf.to_container(self.defaults)))

    @cached_property
    def file(self) -> dict[str, Any]:
        """The content of conf/NAME.yaml."""
        return values_in(f"{self.name}.yaml")

    @cached_property
    def chosen(self) -> dict[str, str | None]:
        """The default choice of each group; presets under their short names."""
        named = {group: name for row in self.file["defaults"] if isinstance(row, dict) for group, name in row.items()}
        chosen = {group: name for group, name in named.items() if not group.startswith("override ")}
        return {group.removesuffix(f"/{self.name}"): name for group, name in chosen.items()}

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Configuration groups of this command and the names in each; presets under their short names."""
        names = groups_of(self.name)
        return {group: names[group] for group in self.chosen}

    def jobs(self, overrides: Sequence[str], *, sweep: bool) -> list[Job[C]]:
        """Every combination of the values, all of them checked: names, keys, types and values.

        Args:
            overrides: In Hydra's grammar.
            sweep: Whether a key may have several values. Without a sweep there is one job.

        Raises:
            UserError: with the nearest valid names.
        """
        parsed = [self._checked(text, sweep=sweep) for text in overrides]
        return [Job(name, self.config(texts)) for name, texts in combinations(parsed)]

    def config(self, overrides: Sequence[str]) -> C:
        """The configuration with some overrides, each in Hydra's grammar and with one value.

        Raises:
            UserError: for a wrong type, an impossible value.
        """
        parsed = [parse(text) for text in overrides]
        values = [o for o in parsed if self.keys.get(o.key_or_group) and not o.is_add()]
        config = self._chosen([text for text, o in zip(overrides, parsed, strict=True) if o not in values])
        try:
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except (OmegaConfBaseException, OverflowError) as error:
            raise UserError(self.message(error)) from error
        return self.typed(config)

    def typed(self, config: DictConfig) -> C:
        """A configuration as the schema's values."""
        try:
            with open_dict(config):
                for option in dataclasses.fields(cast("type[Any]", self.schema)):
                    if classes := variants_of(option):
                        self._check_choices(option.name, [config[option.name].name])
                        config[option.name] = _variant(option.name, config[option.name], classes)
            return normalised(cast(C, OmegaConf.to_object(config)))
        except OmegaConfBaseException as error:
            raise UserError(self.message(error)) from error

    def spelled_out(self, overrides: Sequence[str]) -> list[str]:
        """The overrides with the command's own presets in place of the short names."""
        short = tuple(f"{preset}=" for preset in PRESETS)
        return [o.replace("=", f"/{self.name}=", 1) if o.startswith(short) else o for o in overrides]

    def _chosen(self, overrides: Sequence[str]) -> DictConfig:
        """Hydra's configuration for these overrides, cached, since composing takes a tenth of a second."""
        names = tuple(self.spelled_out(overrides))
        if names not in self._known:
            self._known[names] = self._composed(names)
        return deepcopy(self._known[names])

    @cached_property
    def _known(self) -> dict[tuple[str, ...], DictConfig]:
        return {}

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        # Not left initialised, since hydra.main initialises Hydra itself.
        try:
            with _apart(), hydra.initialize_config_module(CONFIG_MODULE, version_base="1.3"):
                return hydra.compose(self.name, overrides=list(overrides))
        except (HydraException, OmegaConfBaseException, OverflowError) as error:
            raise UserError(self.message(error)) from error

    def _checked(self, text: str, *, sweep: bool) -> Override:
        """An override whose names are known and whose number of values is allowed."""
        keys, (typed, equals, value) = self.keys, text.partition("=")
        try:
            override = parse(text)
        except UserError:
            if equals and typed:  # the grammar's keys are letters, digits, dots
                check_key(typed, value, keys, self.groups)
            raise
        key = override.key_or_group
        if key.partition("/")[0].partition(".")[0] == "hydra":
            return override
        if not key or override.is_delete() or (override.is_add() and key in {*self.groups, *keys}):
            raise UserError(f"'{text}' is not understood; write {key or 'key'}=value")
        if key in self.groups:
            self._check_choices(key, choices(override))
        elif not value.startswith("{"):
            check_key(key, value, keys, self.groups)
        if override.value() == "":
            raise UserError(f"{key} is empty; give it a value, or leave it out")
        if override.value() == MISSING:
            raise UserError(f"{key} has no value; {self._advice(key)}")
        self._check_truth(key, override.value())
        if override.is_sweep_override() and not sweep:
            self._refuse_several(override)
        return override

    def _check_truth(self, key: str, value: object) -> None:
        """Refuses numbers other than 0 and 1 for true and false. OmegaConf reads them as true."""
        form = self.forms.get(key)
        if form is not None and form.word == TRUTH and isinstance(value, (int, float)) and value not in (0, 1):
            raise UserError(f"{key} {value!r} must be {TRUTH}")

    def _check_choices(self, group: str, given: Sequence[str]) -> None:
        for name in given:
            if name not in self.groups[group]:
                error = unknown(group, name, self.groups[group])
                other = MOSTLY_MEANT.get(group)
                raise UserError(f"{error}; a file or folder: {other}={name}") if other and "/" in name else error

    def _refuse_several(self, override: Override) -> None:
        key, form, values = override.key_or_group, self.forms.get(override.key_or_group), ",".join(choices(override))
        if not override.is_choice_sweep():
            values = str(override.input_line).partition("=")[2]
            raise UserError(f"{key}={values} has several values; add -m to run with each of them in turn")
        advice = [f"write {key}=[{values}] for a list"] if form is not None and form.several else []
        advice += [f"""write {key}='"{values}"' for one name with a comma"""] if form is not None and form.text else []
        advice += ["add -m to run with each of them in turn"]
        raise UserError(f"{key}={values} has several values; {', or '.join(advice)}")

    def message(self, error: BaseException) -> str:
        """One line for an error of Hydra or OmegaConf. The innermost cause says what is wrong."""
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        line, key = first_line(cause), getattr(cause, "full_key", None)
        if not key:
            return line
        if any(words in line for words in _NOT_NULL):
            return f"{key} must not be null; {self._advice(key)}"
        if "missing mandatory value" in line:
            return f"{key} has no value; {self._advice(key)}"
        if line.startswith("Key '"):
            return f"key '{key}' is unknown; --help shows all keys"
        expected = next((expected for words, expected in _EXPECTED.items() if words in line), None)
        if expected is None:
            return f"{key}: {line}"
        value = getattr(cause, "value", None)
        return f"{key} {value!r} must be {expected}" + (f": {key}=[{value}]" if expected == "a list" else "")

    def _advice(self, key: str) -> str:
        """What to give instead of null or nothing."""
        form, value = self.forms.get(key), OmegaConf.select(self.defaults, key)
        if form is None or value is None:
            return f"give {'it a value' if form is None or form.text else form.word}, or leave it out"
        shown = (
            f"[{','.join(map(str, value))}]"
            if form.several
            else str(value).lower()
            if value in (True, False)
            else value
        )
        return f"give {form.word}, for example {key}={shown}"


@contextmanager
def _apart() -> Iterator[None]:
    """Sets the Hydra of a user's own program aside while the block runs."""
    theirs, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = theirs


def _schema_node(schema: type[Any]) -> DictConfig:
    """The schema as a configuration that the command line can set: from frozen dataclasses it would be read-only."""
    node = OmegaConf.structured(schema)
    OmegaConf.set_readonly(node, None)
    hints = get_type_hints(schema)
    for option in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[option.name]):
            node[option.name] = _schema_node(cast("type[Any]", hints[option.name]))
        if variants_of(option):  # its name, which decides the other keys, is known later
            OmegaConf.set_struct(node[option.name], False)
    return node


def _variant(group: str, section: DictConfig, classes: Mapping[str, type[Any]]) -> DictConfig:
    """A section as a node of the class for its name.

    Raises:
        UserError: if a value belongs to another class.
    """
    kind = classes.get(section.name, cast("type[Any]", OmegaConf.get_type(section)))
    fields_of = {name: {option.name for option in dataclasses.fields(other)} for name, other in classes.items()}
    for key in map(str, section):
        if key not in {option.name for option in dataclasses.fields(kind)}:
            owners = [f"{group}={name}" for name, own in fields_of.items() if key in own]
            raise UserError(
                f"{group}.{key} is for {' or '.join(owners)}, and this is {group}={section.name}; leave it out, or add "
                f"{owners[0]}"
            )
    # Inside a parent, so that errors name the whole key.
    typed = OmegaConf.create({group: _schema_node(kind)})
    typed.merge_with({group: OmegaConf.to_container(section)})
    return cast(DictConfig, typed[group])
