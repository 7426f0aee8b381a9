"""Functions and handles of the Python API. They call what the commands call; torch is imported when they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.runtime.distributed import quietly
from supernet.runtime.errors import UserError
from supernet.runtime.storage import system_errors, user_path
from supernet.space.subnetwork import SubNetwork

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from search.choice import choose as choosing
    from search.run_folder import RunRecord
    from supernet import artifact
    from supernet.options.task import Task

Folder = str | PathLike[str]


@contextmanager
def _stage() -> Iterator[None]:
    """Nothing is printed in the block, and an error of the operating system is a `UserError` as in a command."""
    from supernet.console.environment import check_environment

    check_environment()
    with quietly(), system_errors():
        yield


@dataclass(frozen=True)
class Supernet:
    """A trained supernet.

    Attributes:
        folder: Its folder, which transformers can load as the full model.
    """

    folder: Path

    def model(self) -> PreTrainedModel:
        """The full model, on the CPU and in evaluation mode."""
        return self._read().model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return self._read().tokenizer

    @property
    def task(self) -> Task:
        """The task that it was trained for, with the names of the classes."""
        from supernet.artifact import read_info

        return read_info(self.folder).task

    def _read(self) -> artifact.Supernet:
        from supernet.artifact import load_supernet

        with _stage():
            return load_supernet(self.folder)


@dataclass(frozen=True)
class Run:
    """A search that has ended.

    Attributes:
        folder: Its run folder.
    """

    folder: Path

    def trials(self) -> pd.DataFrame:
        """A row for each trial, in the order of the search; the index is its number.

        Columns: subnet (a `SubNetwork`), the metrics on validation rows (error, params and others; see docs/files.md),
        seconds of the evaluation, and failure: why it failed, or None.
        """
        import pandas as pd

        rows = [
            {"trial": trial.number, "subnet": trial.subnet, **(trial.outcome.metrics or {})}
            | {"seconds": trial.outcome.seconds, "failure": trial.outcome.failure}
            for trial in self._read().trials
        ]
        return pd.DataFrame(rows).set_index("trial")

    def front(self) -> pd.DataFrame:
        """A row for each sub-network on the Pareto front, the largest first.

        Columns: subnet (a `SubNetwork`), the metrics on validation rows, and the metric on test rows, such as
        test_accuracy, with its difference from the full model's.

        Raises:
            UserError: if the search has not ended.
        """
        import pandas as pd

        from search.report.results import read_results

        run = self._read()
        results = read_results(run)
        if not results.front:
            raise UserError(f"{self.folder} has no front yet; search again with the same arguments, which resumes it")
        rows = [
            {"subnet": tested.evaluated.subnet, **tested.evaluated.metrics}
            | results.scores(tested.test_score, run.info.metric)
            for tested in results.front
        ]
        return pd.DataFrame(rows)

    def select(self, **limits: object) -> Choice:
        """The sub-network for a budget, as `plm-supernet select` chooses it.

        A limit is a ceiling: the most accurate sub-network within the limits may be much smaller.

        Args:
            limits: max_params, max_total_params, max_flops, max_latency_ms, max_memory_mb, max_size_mb: a number, or
                a share of the full model's: 0.5 or "50%" (for latency, memory and size "50%" only).
                max_error_increase: how much the validation error may exceed the full model's; the cheapest
                sub-network is chosen then.

        Raises:
            UserError: if no sub-network is within the limits, or the run does not know a limited metric.
        """
        from search.choice.choose import choose
        from search.options.select import SelectConfig
        from supernet.console.keywords import config_from

        config = config_from("select", SelectConfig, {**limits, "run": self.folder})
        return Choice(self, choose(self._read(), config.budgets, config.max_error_increase))

    def _read(self) -> RunRecord:
        from search.run_folder import read_run

        return read_run(self.folder)


@dataclass(frozen=True)
class Choice:
    """A sub-network that was chosen from a run.

    Attributes:
        run: The run.
        details: What it was compared with: the full model, the largest sub-network that is as good, the limits.
    """

    run: Run
    details: choosing.Choice

    @property
    def subnet(self) -> SubNetwork:
        """What is kept of each layer."""
        return self.details.chosen.subnet

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its metrics on validation rows."""
        return self.details.chosen.metrics

    def model(self) -> PreTrainedModel:
        """The sub-network as an independent PyTorch model, on the CPU and in evaluation mode."""
        from search.run_folder import supernet_of
        from supernet.artifact import load_supernet
        from supernet.models.slicing import extract

        with _stage():
            run = self.run._read()
            return extract(load_supernet(supernet_of(run), weights=run.info.weights).model, self.subnet)


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

    with _stage():
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

    with _stage():
        return Run(search_supernet(config).absolute())


def objectives_for(limits: Mapping[str, object]) -> list[str]:
    """The objectives of a search for a budget, as `plm-supernet compress` chooses them: the error, and what is limited.

    Args:
        limits: As `Run.select` takes them.
    """
    from search.options.select import SelectConfig
    from supernet.console.keywords import config_from

    return config_from("select", SelectConfig, limits).objectives


def _output_dir(supernet: Path) -> Path:
    """The folder of all runs that a supernet is in; else runs."""
    folder = supernet.resolve().parent
    return folder.parent.parent if folder.parent.name == "train" else Path("runs")


def _without_none(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
