"""Data sets of the Hugging Face hub, at one commit; from the cache if the hub cannot be reached.

Loading scripts are never executed; the library no longer supports them.
"""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
from datasets import DatasetBuilder, DatasetDict
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules.cache.cache import Cache

from supernet.options.task import EMBEDDED_TASK, TaskSpec
from supernet.runtime.distributed import print_on_main
from supernet.runtime.errors import UserError
from supernet.runtime.hub import Repository, asking, commit_of, reason


@dataclass(frozen=True)
class HubData:
    """A data set of the hub.

    Attributes:
        splits: The splits by name.
        revision: Their commit.
        notes: What a reader of the table should know.
    """

    splits: DatasetDict
    revision: str
    notes: tuple[str, ...] = ()


def load(task: TaskSpec, revision: str | None) -> HubData:
    """The data set of a task.

    Raises:
        UserError: if it can neither be fetched nor read from the cache.
    """
    repository = Repository("dataset", str(task.hub), revision, "data.hub_revision")
    instead = (
        f"give data.dir=FOLDER with the files of task '{task.name}', or task={EMBEDDED_TASK}, which needs no download"
    )
    with asking(repository, instead=instead), _quiet():
        commit = commit_of(repository)
        trouble = commit.trouble
        builder = _from_hub(task, commit.id) if trouble is None else _from_cache(task, commit.id, trouble)
        builder.download_and_prepare()
        splits = builder.as_dataset()
    cached = "" if trouble is None else f", from the cache: {reason(trouble, repository)[0]}"
    return HubData(splits, commit.id, (f"{task.hub} is of commit {commit.id[:12]}{cached}",))


def _from_hub(task: TaskSpec, commit: str) -> DatasetBuilder:
    try:  # with this prefix the name cannot be taken for a folder's
        builder = datasets.load_dataset_builder(f"hf://datasets/{task.hub}", task.hub_config, revision=commit)
    except ValueError as error:
        if (configurations := re.search(r"\[.*\]", str(error))) is None:
            raise
        names = configurations[0].strip("[]").replace("'", "")
        wanted = f"configuration '{task.hub_config}'" if task.hub_config else "default configuration"
        raise UserError(
            f"data set '{task.hub}' has no {wanted}; name a configuration with "
            f"data.hub={task.hub} data.hub_config=NAME: {names}"
        ) from error
    if builder.hash != commit:  # without the hub the library takes any commit of the cache
        raise ConnectionError(f"the hub was not reached, and the cache has another commit, {builder.hash}")
    if not Path(builder.cache_dir).is_dir():
        print_on_main(f"fetching data set '{task.hub}' from the hub")
    return builder


def _from_cache(task: TaskSpec, commit: str, trouble: Exception) -> DatasetBuilder:
    """What an earlier download of this commit left. If no configuration is named, the cache must have exactly one."""
    *owner, name = str(task.hub).split("/")
    dataset = camelcase_to_snakecase(name)
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "___".join([*owner, dataset])
    configuration = "*" if task.hub_config is None else glob.escape(task.hub_config)
    folders = [path for path in folder.glob(f"{configuration}/*/{commit}") if path.is_dir()]
    if len(folders) != 1:
        raise trouble
    config_name, version = folders[0].parts[-3:-1]
    names = {"dataset_name": dataset, "config_name": config_name, "version": version, "hash": commit}
    return Cache(repo_id=str(task.hub), **names)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's log silent, and its progress bars on a terminal only."""
    verbosity, shown = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    silent = shown and not sys.stderr.isatty() and datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is None
    datasets.logging.set_verbosity_error()
    if silent:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if silent:
            datasets.enable_progress_bars()
