"""What the stages return: a supernet, a run, a choice, a loaded model. Torch is imported when they do something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from supernet.runtime.distributed import quietly
from supernet.runtime.errors import UserError
from supernet.runtime.storage import system_errors, user_path
from supernet.space.subnetwork import SubNetwork

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from search.choice import choose as choosing
    from search.export.chosen import Chosen
    from search.options.export import ExportConfig
    from search.run_folder import RunRecord
    from supernet import artifact
    from supernet.export.report import ExportReport
    from supernet.export.serving import Model
    from supernet.options.task import Task

Folder = str | PathLike[str]


def as_texts(texts: Sequence[str]) -> list[str]:
    """A list, an array or a column of str as a list.

    Raises:
        ValueError: if an item is no text.
    """
    if all(isinstance(text, str) for text in texts):
        return [str(text) for text in texts]
    raise ValueError("SupernetClassifier takes texts: a list, an array or a column of str")


@contextmanager
def silently() -> Iterator[None]:
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

        with silently():
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

        trials = self._read().trials
        rows = [
            {"subnet": trial.subnet, **(trial.outcome.metrics or {})}
            | {"seconds": trial.outcome.seconds, "failure": trial.outcome.failure}
            for trial in trials
        ]
        return pd.DataFrame(rows, index=pd.Index([trial.number for trial in trials], name="trial"))

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
        return Choice(self, limits, choose(self._read(), config.budgets, config.max_error_increase))

    def _read(self) -> RunRecord:
        from search.run_folder import read_run

        return read_run(self.folder)


@dataclass(frozen=True)
class Choice:
    """A sub-network that was chosen from a run.

    Attributes:
        run: The run.
        limits: The limits that were given.
        details: What it was compared with: the full model, the sub-networks that are as good, and how sure that is.
    """

    run: Run
    limits: Mapping[str, object]
    details: choosing.Choice

    @property
    def subnet(self) -> SubNetwork:
        """What is kept of each layer."""
        return self.details.chosen.subnet

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its metrics on validation rows."""
        return self.details.chosen.metrics

    def model(self, **more: object) -> PreTrainedModel:
        """The sub-network as an independent PyTorch model, on the CPU and in evaluation mode.

        Args:
            more: With finetune_epochs=2 it is trained alone first, and stays as it was unless that makes it better on
                validation rows. The other options `finetune.*` of `plm-supernet export` belong to it. With
                finetune_finalists=3 the result may be another sub-network, as there.

        Raises:
            UserError: if the supernet or the rows are gone.
        """
        config = self._config(more)
        from search.export.finalists import best_finished
        from search.export.weights import model_of
        from search.rows import load_texts
        from supernet.artifact import load_supernet
        from supernet.console.progress import plain_console

        with silently(), TemporaryDirectory() as work:
            chosen = self._chosen(config)
            supernet = load_supernet(chosen.supernet, weights=chosen.weights)
            if not config.finetune.epochs:
                return model_of(self.run._read(), chosen.subnet, supernet)
            _, data = load_texts(supernet, config.data)
            console, folder = plain_console(), Path(work, "finetune")
            return best_finished(chosen, supernet, data, config, work=folder, console=console)[1]

    def export(self, folder: Folder, *, formats: Sequence[str] = (), **more: object) -> ExportReport:
        """Writes the model as a folder, verified in a fresh process, as `plm-supernet export` does.

        Does nothing if the folder holds this very export. An interrupted training resumes.

        Args:
            folder: Where to.
            formats: More formats besides torch: onnx, int8, openvino.
            more: Other options of the command, with _ in place of the dots: finetune_epochs=2, workload_length=64,
                overwrite=True.

        Returns:
            What was measured, the content of export.json.

        Raises:
            UserError: if the folder holds something else, or a file does not do what the sub-network does.
        """
        config = self._config({"formats": formats, **more})
        from search.export.export import export_chosen
        from supernet.console.progress import plain_console

        with silently():
            return export_chosen(self._chosen(config), config, user_path(str(folder)), console=plain_console())[1]

    def _chosen(self, config: ExportConfig) -> Chosen:
        """This very choice: the run may have more trials by now, which would be chosen otherwise."""
        from search.export.chosen import chosen_of

        return chosen_of(config, self.run._read(), self.subnet, self.details)

    def _config(self, options: Mapping[str, object]) -> ExportConfig:
        from search.options.export import ExportConfig
        from search.options.limits import Limits
        from supernet.console.keywords import config_from

        fixed = {"run", "subnet", "trial", *(field.name for field in fields(Limits))}
        if given := [name for name in options if name in fixed]:
            raise UserError(f"{given[0]} cannot be given here, as the choice is made; give limits to Run.select")
        return config_from("export", ExportConfig, {**self.limits, "run": self.run.folder, **options})


def load(folder: Folder, **options: Any) -> Model:
    """A model that `Choice.export` or `plm-supernet export` wrote; load(folder).predict(texts).

    Args:
        folder: The export folder.
        options: engine, format, threads, batch_size, trust_remote_code; see `supernet.export.serving.load`.

    Raises:
        UserError: if the folder cannot be used.
    """
    from supernet.export.serving import load as load_model

    with silently():
        return load_model(user_path(str(folder)), **options)
