"""A planned training: what it would start from, looked up when a check asks for it. Nothing is started or fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from search.doctor.container import free_for_tensors
from search.doctor.findings import Finding, NotKnownError
from search.doctor.models import find_model
from search.doctor.sizes import Sizes, sizes_of, with_latencies
from search.doctor.time import Duration, measure_duration
from search.options.doctor import DoctorConfig
from supernet.data.load import TaskData, load_task
from supernet.data.tokens import cache_folder
from supernet.evaluation.latency import refuse_longer
from supernet.models.families import architecture_of
from supernet.models.pretrained import Pretrained, check_model, load_pretrained, load_tokenizer, read_config
from supernet.options.data import DataOptions
from supernet.options.task import TaskSpec
from supernet.options.training import TrainConfig
from supernet.runtime.distributed import quietly
from supernet.runtime.errors import UserError
from supernet.runtime.hub import from_cache_only, is_not_here
from supernet.runtime.processes import resolve_precision
from supernet.runtime.shapes import normalised
from supernet.space.base import SearchSpace
from supernet.space.cost import Architecture, memory_mb
from supernet.space.spaces import search_space


@dataclass(frozen=True)
class Plan:
    """A planned training and what the doctor was asked about it.

    Attributes:
        name: What differs from the other trainings of a sweep; empty without a sweep.
        given: The options of the training, as they were given.
        options: The doctor's own options.
    """

    name: str
    given: TrainConfig
    options: DoctorConfig

    @cached_property
    def config(self) -> TrainConfig:
        """The options with a decided precision."""
        given = normalised(self.given)
        return replace(
            given, train=replace(given.train, mixed_precision=resolve_precision(given.train.mixed_precision))
        )

    @cached_property
    def pretrained(self) -> Pretrained:
        """The pre-trained model on this machine.

        Raises:
            NotKnownError: if it is not here.
        """
        if isinstance(self.found, Finding):
            raise NotKnownError("not known before the model is here")
        return self.found

    @cached_property
    def found(self) -> Pretrained | Finding:
        """The pre-trained model, or what is known of it."""
        return find_model(self.given.model)

    @cached_property
    def model_config(self) -> PreTrainedConfig:
        """The model's configuration, which fits the task."""
        config = read_config(self.pretrained.folder)
        check_model(self.given.task, config)
        return config

    @cached_property
    def architecture(self) -> Architecture:
        """Sizes and coefficients of the full model. The head is a classifier's, whatever the task."""
        return architecture_of(self.model_config)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space. Where importance decides which layers are kept, the first layers stand for these."""
        a = self.architecture
        scores = [0.0] * a.layers
        return search_space(self.given.space, layers=a.layers, heads=a.heads, units=a.units, layer_importance=scores)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return load_tokenizer(self.pretrained.folder, self.model_config)

    @cached_property
    def data(self) -> TaskData:
        """The rows, tokenised."""
        return read_rows(self.given.task, self.given.data, self.tokenizer)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The pre-trained model with a new head, in float32 on the CPU."""
        data, seed = self.data, self.given.seeds.model
        return load_pretrained(self.pretrained.folder, data.task, seed=seed, labels=data.train.labels)[0]

    @cached_property
    def sizes(self) -> list[Sizes]:
        """The smallest, middle and largest sub-network, with latencies if these are to be measured."""
        workload = self.options.workload
        refuse_longer(self.model_config, workload)
        sizes = sizes_of(self.architecture, self.space, workload)
        if not (self.options.measure and self.workload_fits):
            return sizes
        try:
            model = self.model
        except UserError:
            return sizes  # the rows are not here, or of no use, which another check says
        return with_latencies(sizes, model, workload, precision=self.config.train.mixed_precision)

    @property
    def workload_fits(self) -> bool:
        """Whether the full model can compute the workload's batch here."""
        a, workload = self.architecture, self.options.workload
        needed = memory_mb(a, a.full, batch_size=workload.batch_size, length=workload.length)
        return needed * 1e6 <= free_for_tensors()

    @cached_property
    def duration(self) -> Duration:
        """How long it takes; measured, which changes the model.

        Raises:
            NotKnownError: if nothing is to be measured.
        """
        if not self.options.measure:
            raise NotKnownError("not measured (measure=false)")
        validated = [each.subnet for each in self.sizes]
        return measure_duration(self.config, self.data, self.model, self.tokenizer, self.space, validated)

    @property
    def seconds(self) -> float | None:
        """The time that it takes, if a check has measured it."""
        measured: Duration | None = vars(self).get("duration")
        return None if measured is None else measured.total_s

    @property
    def known_sizes(self) -> list[Sizes]:
        """What a check has found about `sizes`."""
        return vars(self).get("sizes", [])


def read_rows(task: TaskSpec, options: DataOptions, tokenizer: PreTrainedTokenizerBase) -> TaskData:
    """The rows of a task if they are on this machine. Nothing is fetched, and tokens are stored nowhere.

    Raises:
        NotKnownError: if they are not here.
        UserError: if they cannot be used.
    """
    with _borrowed_cache(options.cache_dir) as folder:
        try:
            with from_cache_only(), quietly():
                return load_task(task, replace(options, cache_dir=str(folder)), tokenizer)
        except UserError as error:
            if not is_not_here(error):
                raise
            where = options.applied_to(task).hub
            raise NotKnownError(f"the rows are not on this machine; a training fetches {where} first") from None


@contextmanager
def _borrowed_cache(cache_dir: str | None) -> Iterator[Path]:
    """A temporary folder with links to the tokens in the cache: they are read there, and new ones do not stay."""
    folder = cache_folder(cache_dir)
    with tempfile.TemporaryDirectory() as borrowed:
        for file in folder.glob("*.npz") if folder.is_dir() else ():
            os.symlink(file.absolute(), Path(borrowed) / file.name)
        yield Path(borrowed)
