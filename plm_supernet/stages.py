"""The stages as functions. They call what the commands call; torch is imported when they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plm_supernet.handles import Folder, Run, Supernet, silently
from supernet.runtime.storage import user_path

if TYPE_CHECKING:
    from search.options.limits import Limits


def train(
    task: str,
    *,
    data_dir: Folder | None = None,
    model: str | None = None,
    experiment: str | None = "best",
    output_dir: Folder = "runs",
    **more: object,
) -> Supernet:
    """Trains a supernet, as `plm-supernet train` does. Trains nothing if it is trained already.

    Args:
        task: custom for own rows, or the name of a task: sst2, stdlib.
        data_dir: File or folder of the rows; None for a task whose rows come from elsewhere.
        model: Name of the pre-trained model; None is minilm. Others: model_name_or_path="FOLDER_OR_NAME".
        experiment: Name of a recipe; None for the plain default values.
        output_dir: Folder of all runs. The supernet is in OUTPUT_DIR/train/NAME/supernet.
        more: Other options of the command, with _ in place of the dots: train_epochs=2, task_max_length=64.

    Raises:
        UserError: for a mistake: an unknown option, rows that cannot be read. The message names options as the
            command line does: train.epochs.
    """
    from supernet.console.keywords import config_from
    from supernet.options.training import TrainConfig

    given = {"task": task, "data_dir": data_dir, "model": model, "experiment": experiment, "output_dir": output_dir}
    config = config_from("train", TrainConfig, {**_without_none(given), **more})
    from supernet.training.train import train as train_supernet

    with silently():
        return Supernet(train_supernet(config).absolute())


def search(
    supernet: Supernet | Folder,
    *,
    searcher: str = "ehvi",
    objectives: Sequence[str] = ("error", "params"),
    max_evaluations: int = 100,
    output_dir: Folder | None = None,
    **more: object,
) -> Run:
    """Searches a supernet, as `plm-supernet search` does. A search that has begun is resumed.

    Args:
        supernet: What `train` returned, or a folder.
        searcher: Name of the searcher.
        objectives: Two or more of error, loss, params, total_params, flops, latency_ms, memory_mb, size_mb.
        max_evaluations: Number of sub-networks to evaluate.
        output_dir: Folder of all runs; None: where the supernet is.
        more: Other options of the command, with _ in place of the dots: workload_length=64, seed=1.

    Raises:
        UserError: for a mistake, see `train`.
    """
    from search.options.search import SearchConfig
    from supernet.console.keywords import config_from

    folder = supernet.folder if isinstance(supernet, Supernet) else user_path(str(supernet))
    given = {"supernet": folder, "searcher": searcher, "objectives": objectives, "max_evaluations": max_evaluations}
    given |= {"output_dir": _output_dir(folder) if output_dir is None else output_dir}
    config = config_from("search", SearchConfig, {**given, **more})
    from search.run import search as search_supernet

    with silently():
        return Run(search_supernet(config).absolute())


def budget_of(limits: Mapping[str, object]) -> Limits:
    """A budget, which knows the objectives and the searcher that `plm-supernet compress` takes for it.

    Args:
        limits: As `Run.select` takes them.
    """
    from search.options.select import SelectConfig
    from supernet.console.keywords import config_from

    return config_from("select", SelectConfig, limits)


def _output_dir(supernet: Path) -> Path:
    """The folder of all runs that a supernet is in; else runs."""
    folder = supernet.resolve().parent
    return folder.parent.parent if folder.parent.name == "train" else Path("runs")


def _without_none(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
