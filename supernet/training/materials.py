"""The materials of a training: pre-trained model, search space, rows; and their digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accelerate import Accelerator

from supernet.data.load import TaskData, load_task
from supernet.models.families import architecture_of
from supernet.models.files import model_digests
from supernet.models.pretrained import Pretrained, check_model, load_tokenizer, locate, read_config
from supernet.options.training import TrainConfig
from supernet.runtime.digests import row_digests
from supernet.runtime.processes import main_first
from supernet.space.base import SearchSpace
from supernet.space.spaces import search_space
from supernet.training.teacher import teacher_folder


@dataclass(frozen=True)
class Materials:
    """The materials of a training.

    Attributes:
        pretrained: The pre-trained model.
        build_space: Makes the search space from the layers' importance.
        data: The task's rows.
        models: Digests of the pre-trained model and of the teacher, if there is one.
    """

    pretrained: Pretrained
    build_space: Callable[[list[float] | None], SearchSpace]
    data: TaskData
    models: dict[str, str]

    @property
    def origins(self) -> dict[str, str]:
        """Digests of rows, classes and models."""
        return row_digests(self.data.digests(), self.data.task.answers) | self.models

    @property
    def revisions(self) -> dict[str, str | None]:
        """Commits on the hub of model and rows; None if they are not from the hub."""
        return {"model": self.pretrained.revision, "data": self.data.provenance.revision}


def read_materials(config: TrainConfig, accelerator: Accelerator) -> Materials:
    """Finds and reads the materials, except the models' weights.

    Raises:
        UserError: if something is missing, damaged or does not fit.
    """
    pretrained = locate(config.model)
    model_config = read_config(pretrained.folder)
    check_model(config.task, model_config)
    a = architecture_of(model_config)

    def build_space(layer_importance: list[float] | None) -> SearchSpace:
        return search_space(
            config.space, layers=a.layers, heads=a.heads, units=a.units, layer_importance=layer_importance
        )

    build_space([0.0] * a.layers)
    with main_first(accelerator):  # one process tokenises, the others read its cache
        data = load_task(config.task, config.data, load_tokenizer(pretrained.folder))
    models = model_digests(pretrained.folder, teacher_folder(config.distillation))
    return Materials(pretrained, build_space, data, models)
