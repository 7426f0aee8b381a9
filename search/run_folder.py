"""The run folder of stage two: run.json has the conditions of the run, trials.jsonl its results."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from search.objectives import FOR_WORKLOAD, LATENCY, LEAST_REFERENCE, LIMITS, OBJECTIVES
from search.options.search import MODES
from search.trials import Trial, read_trials
from supernet.options.training import TEST_RUN
from supernet.runtime.commands import typed_command
from supernet.runtime.errors import UserError
from supernet.runtime.fields import NO_EFFECT, identity
from supernet.runtime.files import LOCK_FILE, check_weights, write_json
from supernet.runtime.reading import read_record, unusable
from supernet.runtime.shapes import Count, Named, OneOf, Within, WrongValue, flatten, shaped
from supernet.runtime.state import STATE_FILE, unfinished
from supernet.runtime.storage import user_path
from supernet.space.cost import Workload
from supernet.space.subnetwork import Sizes

TRIALS_FILE, RUN_FILE = "trials.jsonl", "run.json"


@dataclass(frozen=True)
class RunInfo:
    """The identity of a run, for readers of its trials.

    A run resumes even if values marked `NO_EFFECT` have changed. The reference is measured, so it differs each time,
    and the run keeps the first. Folders may be moved. A test run may resume as a real run. The space's name is for
    people; the weights identify the supernet, and with it the space.

    Attributes:
        kind: The mode: search, baseline or finetune.
        label: What proposed the sub-networks: the name of a searcher or of a baseline.
        seed: Of the run.
        task, metric: The task, and the metric that the error is computed from.
        model, space, strategy: Of the supernet; the space under its name for people
            (`supernet.console.choices.choice_of`).
        objectives: Names of the objectives, in the searcher's order.
        reference: The worst value of each objective that counts for the hypervolume: error 1, the loss of always
            predicting the labels' frequencies (regression: their mean), the costs of the full model. For a measured
            latency, all of `LATENCY`.
        majority_error: Of the trivial predictor, on validation rows.
        supernet: Its folder.
        weights: Digest of its weights.
        data: Digest of the rows that the supernet is trained and evaluated on.
        settings: Other values that the trials depend on.
        test_run: Whether the run or its supernet only tests that everything works.
        sizes: Of the supernet; None in runs of older versions.
    """

    kind: Annotated[str, OneOf(MODES)]
    label: str
    seed: Count
    task: str
    metric: str
    model: str
    space: str = field(metadata=NO_EFFECT)
    strategy: str
    objectives: list[Annotated[str, OneOf(tuple(OBJECTIVES))]]
    reference: Annotated[dict[str, float], Named(dict.fromkeys((*OBJECTIVES, *LATENCY), Within(LEAST_REFERENCE)))] = (
        field(metadata=NO_EFFECT)
    )
    majority_error: Annotated[float, LIMITS["error"]]
    supernet: str = field(metadata=NO_EFFECT)
    weights: str
    data: str
    settings: dict[str, Any]
    test_run: bool = field(default=False, metadata=NO_EFFECT)
    sizes: Sizes | None = field(default=None, metadata=NO_EFFECT)

    @property
    def conditions(self) -> str | None:
        """Conditions of the costs: batch and length; for a latency also the device. None if there are none."""
        if not set(FOR_WORKLOAD) & set(self.objectives):
            return None
        latency = self.settings.get("conditions", {}).get("latency")
        if latency is not None:
            return f"latency on {latency}"
        return "costs for batch x length " + "x".join(map(str, self.settings.get("workload", {}).values()))


@dataclass(frozen=True)
class RunRecord:
    """The content of a run folder."""

    folder: Path
    info: RunInfo
    trials: list[Trial]


def find_run(given: str | None, output_dir: str) -> Path:
    """The folder of the given run, else of the one in OUTPUT_DIR/search that got the last trial.

    Raises:
        UserError: if there is none.
    """
    if given is not None:
        return user_path(given)
    folder = user_path(output_dir) / "search"
    files = [file.parent / TRIALS_FILE for file in folder.glob(f"*/{RUN_FILE}") if (file.parent / TRIALS_FILE).exists()]
    if not files:
        first = f"run '{typed_command('search')}' first, or name a run with run=FOLDER"
        raise UserError(f"there is no run in {folder}; {first}")
    return max(files, key=lambda path: (path.stat().st_mtime, path)).parent


def read_run(folder: Path) -> RunRecord:
    """Reads a run folder.

    Raises:
        UserError: if it is not a run folder of stage two, or is damaged.
    """
    info = read_run_info(folder)
    if info is None:
        raise UserError(f"{folder} is not a search's run folder: it has no {RUN_FILE}; name a run in OUTPUT_DIR/search")
    wrong = info.sizes.excess if info.sizes is not None else None
    return RunRecord(folder, info, read_trials(folder / TRIALS_FILE, required=list(info.reference), wrong=wrong))


def read_run_info(folder: Path) -> RunInfo | None:
    """Reads run.json of a run folder; None if there is no such file yet."""
    path, advice = folder / RUN_FILE, "start again with overwrite=true"
    if not path.exists():
        return None
    info = read_record(path, RunInfo, advice)
    with unusable(str(path), advice):
        _check(info)
    return info


def _check(info: RunInfo) -> None:
    """Checks that the values of run.json fit together.

    Raises:
        WrongValue: if not.
    """
    if len(set(info.objectives)) < max(2, len(info.objectives)):
        raise WrongValue.at("objectives", info.objectives, "two or more different ones")
    Named({}, required=tuple(info.objectives)).check(info.reference, "reference")
    if "workload" in info.settings:
        shaped(Workload, info.settings["workload"], "settings.workload")


def supernet_of(run: RunRecord) -> Path:
    """The folder of a run's supernet: where the search found it, or beside the run if the folder of all runs was moved.

    Raises:
        UserError: if it is in neither place, or has other weights than those that were searched.
    """
    recorded = Path(run.info.supernet)
    places = (recorded, run.folder.resolve().parent.parent / "train" / recorded.parent.name / recorded.name)
    problem = UserError(
        f"the supernet of {run.folder} is gone: it is not in {' or '.join(map(str, dict.fromkeys(places)))}; export "
        "with supernet=FOLDER, or repeat the search with it, which resumes the run and records the new place"
    )
    for folder in [place for place in dict.fromkeys(places) if (place / "supernet.json").exists()]:
        try:
            check_weights(folder, run.info.weights)
        except UserError as error:
            problem = error
        else:
            return folder
    raise problem


def remarks(run: RunRecord) -> list[str]:
    """Notes for a reader of a run's figures: that it is a test run, is still running, or was stopped."""
    notes = [TEST_RUN] if run.info.test_run else []
    state = unfinished(run.folder)
    return notes if state is None else [*notes, f"this run has not finished: it {state}"]


def going_on(folder: Path) -> RunInfo | None:
    """Reads run.json of a run folder; None if the run has no result yet."""
    info = read_run_info(folder)
    return info if info is not None and _names(folder) - {RUN_FILE} else None


def begin_run(folder: Path, info: RunInfo, *, overwrite: bool) -> None:
    """Writes run.json, or checks that the folder holds the same run.

    Args:
        folder: Of the run; exists.
        info: The run to begin or to resume.
        overwrite: Remove everything that is there first.

    Raises:
        UserError: if the folder holds results of another run; the message says what differs. Also if it is to be
            overwritten and is not a run folder.
    """
    if overwrite:
        _forget(folder)
    old = going_on(folder)
    if old is None:
        if (folder / TRIALS_FILE).exists():
            raise UserError(
                f"{folder} has {TRIALS_FILE}, but no {RUN_FILE} that says which run it belongs to; give another "
                "name=NAME, or remove the folder"
            )
        write_json(folder / RUN_FILE, asdict(info))
        return
    changed = [f"{key} is {now}, was {was}" for key, now, was in _differences(identity(info), identity(old))]
    if changed:
        raise UserError(
            f"{folder} holds results of another run: {'; '.join(changed)}; start again with overwrite=true, or give "
            "this run another name=NAME"
        )
    if (renewed := replace(old, supernet=info.supernet, test_run=old.test_run and info.test_run)) != old:
        write_json(folder / RUN_FILE, asdict(renewed))


def _names(folder: Path) -> set[str]:
    """Names of the files in a folder, without lock and state."""
    return {path.name for path in folder.iterdir()} - {LOCK_FILE, STATE_FILE}


def _forget(folder: Path) -> None:
    """Empties a run folder: trials first and run.json last, so that trials are never without their run."""
    names = _names(folder)
    if names and RUN_FILE not in names:
        raise UserError(f"{folder} is not a search's run folder, so it is not overwritten; give another name=NAME")
    for name in sorted(names, key=lambda name: (name == RUN_FILE, name != TRIALS_FILE)):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _differences(now: dict[str, Any], was: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    flat_now, flat_was = flatten(now), flatten(was)
    pairs = [(key, flat_now.get(key, "not set"), flat_was.get(key, "not set")) for key in {**flat_now, **flat_was}]
    return [(key, now, was) for key, now, was in pairs if now != was]
