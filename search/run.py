"""Stage two, from top to bottom: evaluate sub-networks in one of three modes, take the front, report it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from search.baselines.run import prune
from search.baselines.table import BASELINES
from search.conclude import ModelOf, conclude
from search.finetune.tuner import Finetuning
from search.finetune.weights import finetuned
from search.loop import Dialogue, run_search
from search.options.search import BASELINE, FINETUNE, SEARCH, SearchConfig
from search.options.searchers import MOASHA
from search.searchers.schedulers import AskTell, make_scheduler
from search.searchers.table import SEARCHERS
from search.session import Session, open_session
from search.spaces import check_space_name
from search.trials import STARTS, Trial
from supernet.console.progress import WorkProgress
from supernet.models.slicing import extract
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError, unknown
from supernet.runtime.processes import accelerate_session, lock_run_folder
from supernet.runtime.signals import ended_by_signals


def search(config: SearchConfig) -> Path:
    """Searches a trained supernet, or runs a standard NAS or a baseline, and returns the folder of the results.

    Raises:
        UserError: if the searcher or baseline is unknown, there is no supernet, or its data or the output folder cannot
            be used.
    """
    _check_names(config)
    with accelerate_session(config.mixed_precision, key="mixed_precision") as accelerator:
        session = open_session(config, accelerator)
        with ended_by_signals(), lock_run_folder(accelerator, session.folder), _explain_when_stopped(session):
            known = 0 if config.overwrite else session.kept_trials
            with session.show_progress(config.label, config.trials, unit="trials") as progress:
                model_of = RUNNERS[config.mode](session, partial(_show, progress, known))
            if accelerator.is_main_process:
                conclude(session, model_of)
    return session.folder


@contextmanager
def _explain_when_stopped(session: Session) -> Iterator[None]:
    """After Ctrl-C or a signal, prints how many trials are kept and how to resume."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        how = "the same command without overwrite=true" if session.config.overwrite else "the same command"
        session.console.print(
            f"stopped: {session.kept_trials} finished trials are kept in {session.folder}; {how} resumes the search"
        )
        raise


def _check_names(config: SearchConfig) -> None:
    searchers, searcher, baseline = (*SEARCHERS, MOASHA), config.searcher.name, config.baseline.name
    if searcher not in searchers:
        raise unknown("searcher", searcher, searchers)
    if baseline is not None and baseline not in BASELINES:
        raise unknown("baseline", baseline, BASELINES)
    if config.space is not None:
        check_space_name(config.space)


def _search_supernet(session: Session, on_trial: Callable[[Trial], None]) -> ModelOf:
    """Evaluates a searcher's proposals with the supernet's weights."""
    config, searched = session.config, session.searched

    def begin() -> Dialogue:
        scheduler = make_scheduler(
            config.searcher.name,
            searched.space,
            metrics=config.objectives,
            seed=config.seed,
            known=session.weight_shared.known,
            options=config.searcher,
            first=searched.first,
            starts=searched.starts,
        )
        file = session.begin()
        asked, at_once = AskTell(scheduler, searched.space), session.accelerator.num_processes
        return Dialogue(asked, config.objectives, file, on_trial, at_once=at_once)

    trials = run_search(
        begin, session.weight_shared, max_evaluations=config.max_evaluations, accelerator=session.accelerator
    )
    if session.accelerator.is_main_process:
        _report_exhaustion(session, trials)
        _report_unused_seed(session)
    return partial(extract, session.supernet.model, share=True)


def _finetune(session: Session, on_trial: Callable[[Trial], None]) -> ModelOf:
    """Trains each of a searcher's proposals alone, from the pre-trained weights (standard NAS)."""
    _refuse_several_processes(session, "evaluator=finetune starts processes of its own: set evaluator.workers")
    folder, precision = Path(session.info.supernet), session.accelerator.mixed_precision
    finetuning = Finetuning(
        session.config, precision, folder, session.supernet, session.data, session.weight_shared, session.folder
    )
    trials = finetuning.run(session.begin, on_trial)
    stopped = sum(t.outcome.metrics is not None and t.outcome.metrics["stopped"] > 0 for t in trials)
    _report_exhaustion(session, trials)
    session.console.print(f"{len(trials)} sub-networks were trained alone; {stopped} of them were stopped early")
    return finetuned(session.folder, trials, session.supernet.model)


def _prune(session: Session, on_trial: Callable[[Trial], None]) -> ModelOf:
    """Prunes the supernet's full model to each budget with a baseline."""
    baseline = session.config.baseline
    _refuse_several_processes(session, f"baseline={baseline.name} runs in one process")
    file = session.begin()
    models, left_out = prune(
        session.supernet,
        session.data.train,
        session.weight_shared,
        file,
        options=baseline,
        seed=session.config.seed,
        on_trial=on_trial,
    )
    if left_out:
        session.console.print(
            f"{baseline.name} cannot prune to {', '.join(f'{b:.0%}' for b in left_out)} of the encoder"
        )
    return models.__getitem__


RUNNERS: dict[str, Callable[[Session, Callable[[Trial], None]], ModelOf]] = {
    SEARCH: _search_supernet,
    FINETUNE: _finetune,
    BASELINE: _prune,
}
"""The function of each mode (`SearchConfig.mode`). It writes its trials to the file and calls `on_trial` after each."""


def _report_exhaustion(session: Session, trials: Sequence[Trial]) -> None:
    if len(trials) < session.config.max_evaluations:
        session.console.print(
            f"{session.config.label} has nothing more to propose: all {len(trials)} sub-networks are evaluated"
        )


def _report_unused_seed(session: Session) -> None:
    """Notes that other seeds give the same trials: their spread would say nothing about chance."""
    searcher, at_once = session.config.searcher.name, session.accelerator.num_processes
    if at_once <= STARTS and not SEARCHERS[searcher].draws(session.searched.space):
        session.console.print(
            f"the seed had no influence: {searcher} compares all sub-networks of a space this small for each proposal, "
            "so other seeds give the same trials"
        )


def _refuse_several_processes(session: Session, reason: str) -> None:
    if session.accelerator.num_processes > 1:
        raise UserError(f"{reason}; use '{typed_command('search')} ...' without accelerate launch")


def _show(progress: WorkProgress, known: int, trial: Trial) -> None:
    """Shows a trial on the progress bar; the first `known` trials were in the file before."""
    metrics = trial.outcome.metrics
    if metrics is None:
        text = f"last: failed, {trial.outcome.failure}"
    else:
        how = f", stopped after {metrics['epochs']:g} epochs" if metrics.get("stopped") else ""
        text = f"last: error {metrics['error']:.4f} at {metrics['params_share']:.0%} of the encoder{how}"
    progress.advance(text, worked=trial.number >= known)
