"""Stage two, from top to bottom: find sub-networks in one of three ways, take the front, report it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from search.baselines.run import prune
from search.baselines.table import BASELINES
from search.conclude import ModelOf, conclude
from search.finetune.tuning import Finetuning, finetuned
from search.loop import Dialogue, run_search
from search.options.search import BASELINE, FINETUNE, SEARCH, SearchConfig
from search.options.searchers import MOASHA
from search.searchers.schedulers import AskTell, make_scheduler
from search.searchers.table import SEARCHERS
from search.session import Stage, prepare
from search.trials import STARTS, Trial
from supernet.console.progress import WorkProgress
from supernet.models.slicing import extract
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.processes import accelerate_session, lock_run_folder
from supernet.runtime.signals import ended_by_signals


def search(config: SearchConfig) -> Path:
    """Searches a trained supernet, or does what it is to be compared with, and returns the folder of the results.

    Raises:
        UserError: if no searcher or baseline has that name, or there is no supernet, or its data or the output folder
            cannot be used.
    """
    _check_names(config)
    with accelerate_session(config.mixed_precision, key="mixed_precision") as accelerator:
        stage = prepare(config, accelerator)
        with ended_by_signals(), lock_run_folder(accelerator, stage.folder), _told_when_stopped(stage):
            known = 0 if config.overwrite else stage.known
            with stage.show_progress(config.label, config.trials, unit="trials") as progress:
                model_of = WAYS[config.mode](stage, partial(_show, progress, known))
            if accelerator.is_main_process:
                conclude(stage, model_of)
    return stage.folder


@contextmanager
def _told_when_stopped(stage: Stage) -> Iterator[None]:
    """Says after Ctrl-C and the signals what is kept, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        how = "the same command without overwrite=true" if stage.config.overwrite else "the same command"
        stage.console.print(f"stopped: {stage.known} trials that had ended are kept in {stage.folder}; {how} goes on")
        raise


def _check_names(config: SearchConfig) -> None:
    searchers, searcher, baseline = (*SEARCHERS, MOASHA), config.searcher.name, config.baseline.name
    if searcher not in searchers:
        raise unknown("searcher", searcher, searchers)
    if baseline is not None and baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)


def _search_supernet(stage: Stage, on_trial: Callable[[Trial], None]) -> ModelOf:
    """Sub-networks that a searcher proposes, with the supernet's weights."""
    config, space = stage.config, stage.supernet.space

    def begin() -> Dialogue:
        scheduler = make_scheduler(
            config.searcher.name,
            space,
            metrics=config.objectives,
            seed=config.seed,
            known=stage.objectives.known,
            options=config.searcher,
        )
        file = stage.begin()
        return Dialogue(
            AskTell(scheduler, space), config.objectives, file, on_trial, at_once=stage.accelerator.num_processes
        )

    trials = run_search(begin, stage.objectives, max_evaluations=config.max_evaluations, accelerator=stage.accelerator)
    if stage.accelerator.is_main_process:
        _say_if_none_is_left(stage, trials)
        _say_if_nothing_was_drawn(stage)
    return partial(extract, stage.supernet.model, share=True)


def _finetune(stage: Stage, on_trial: Callable[[Trial], None]) -> ModelOf:
    """Sub-networks that a searcher proposes, each trained alone from the pre-trained weights (standard NAS)."""
    _refuse_several_processes(stage, "evaluator=finetune starts processes of its own: set evaluator.workers")
    folder, precision = Path(stage.info.supernet), stage.accelerator.mixed_precision
    finetuning = Finetuning(stage.config, precision, folder, stage.supernet, stage.data, stage.objectives, stage.folder)
    trials = finetuning.run(stage.begin, on_trial)
    stopped = sum(t.outcome.metrics is not None and t.outcome.metrics["stopped"] > 0 for t in trials)
    _say_if_none_is_left(stage, trials)
    stage.console.print(f"{len(trials)} sub-networks trained alone, {stopped} of them stopped early")
    return finetuned(stage.folder, trials, stage.supernet.model)


def _prune(stage: Stage, on_trial: Callable[[Trial], None]) -> ModelOf:
    """What a baseline makes of the supernet's full net for each budget."""
    baseline = stage.config.baseline
    _refuse_several_processes(stage, f"baseline={baseline.name} runs in one process")
    file = stage.begin()
    models, left_out = prune(
        stage.supernet,
        stage.data.train,
        stage.objectives,
        file,
        options=baseline,
        seed=stage.config.seed,
        on_trial=on_trial,
    )
    if left_out:
        stage.console.print(
            f"{baseline.name} has nothing small enough for {', '.join(f'{b:.0%}' for b in left_out)} of the encoder"
        )
    return models.__getitem__


WAYS: dict[str, Callable[[Stage, Callable[[Trial], None]], ModelOf]] = {
    SEARCH: _search_supernet,
    FINETUNE: _finetune,
    BASELINE: _prune,
}
"""How trials come about, by `SearchConfig.mode`; each writes them down and calls back after each."""


def _say_if_none_is_left(stage: Stage, trials: Sequence[Trial]) -> None:
    if len(trials) < stage.config.max_evaluations:
        stage.console.print(f"all {len(trials)} sub-networks that {stage.config.label} has to propose are evaluated")


def _say_if_nothing_was_drawn(stage: Stage) -> None:
    """Whoever repeats a search with other seeds, to see how much chance is in it, has to know."""
    searcher, at_once = stage.config.searcher.name, stage.accelerator.num_processes
    if at_once <= STARTS and not SEARCHERS[searcher].draws(stage.supernet.space):
        stage.console.print(
            f"the seed had no influence: in so small a space {searcher} compares all sub-networks for each proposal, "
            "and other seeds give the same trials"
        )


def _refuse_several_processes(stage: Stage, reason: str) -> None:
    if stage.accelerator.num_processes > 1:
        raise UserError(f"{reason}; use '{typed_command('search')} ...' without accelerate launch")


def _show(progress: WorkProgress, known: int, trial: Trial) -> None:
    """A trial on the progress bar; the first `known` ones are those of an earlier sitting."""
    metrics = trial.outcome.metrics
    if metrics is None:
        said = f"last: failed, {trial.outcome.failure}"
    else:
        how = f", stopped after {metrics['epochs']:g} epochs" if metrics.get("stopped") else ""
        said = f"last: error {metrics['error']:.4f} at {metrics['params_share']:.0%} of the encoder{how}"
    progress.advance(said, worked=trial.number >= known)
