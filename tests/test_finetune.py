"""Standard NAS: sub-networks trained alone, by worker processes that MO-ASHA stops, and what is left of them."""

import json
import math
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.report import Reporter

from search.finetune import trial, tuner, workers
from search.finetune.moasha import NonDominatedRank, SubNetworkMOASHA
from search.finetune.recorder import Recorder
from search.finetune.records import Records
from search.finetune.trial import Job, train_alone
from search.finetune.tuner import Finetuning
from search.finetune.weights import finetuned
from search.finetune.workers import Workers
from search.options.search import SearchConfig
from search.report.front import front_of
from search.report.results import read_results
from search.run import open_session, search
from search.run_folder import read_run
from search.trials import Outcome, TrialFile, read_trials
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.console.terminal import one_line_errors
from supernet.evaluation.evaluator import Evaluator
from supernet.models.single import SingleSpace
from supernet.models.slicing import extract, view
from supernet.models.weights import read_seen
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.processes import accelerate_session
from supernet.space.spaces import SmallSpace
from supernet.space.subnetwork import LayerSlice, SubNetwork
from supernet.training.train import train
from tests.launched import Process

SPACE = SmallSpace(4, 4, 10)
ON_TRIAL_RESULT = Recorder.on_trial_result


def config_of(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", "evaluator=finetune", "evaluator.epochs=3"]
    return load_config("search", SearchConfig, [*fixed, *overrides])


@pytest.fixture
def finetuning_of(tmp_path):
    """Makes ready what a search would start with."""

    def make(supernet_folder, *overrides):
        config = config_of(supernet_folder, tmp_path, *overrides)
        with accelerate_session(config.mixed_precision) as accelerator:
            session = open_session(config, accelerator)
        session.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(session.info.supernet)
        return Finetuning(config, "no", folder, session.supernet, session.data, session.weight_shared, session.folder)

    return make


# --- MO-ASHA --------------------------------------------------------------------------------------------------------


def moasha(seed=0, reports=9):
    return SubNetworkMOASHA(
        SPACE, metrics=["error", "params"], first=0, seed=seed, reports=reports, grace=1, reduction_factor=3
    )


def proposals(scheduler, count):
    found = []
    for i in range(count):
        trial = Trial(i, scheduler.suggest().config, None)
        scheduler.on_trial_add(trial)
        found.append(tuple(trial.config.values()))
    return found


def test_ranks_are_those_of_the_rows():
    rank = NonDominatedRank(dim=0)
    assert rank(np.array([[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]])).tolist() == [2, 0, 1]
    # One front: the least error first, then whichever is farthest from those before, in shares of the ranges.
    front = np.array([[0.4, 1e6], [0.2, 9e6], [0.3, 2e6], [0.21, 8.9e6]])
    assert rank(front).tolist() == [1, 0, 2, 3]
    assert rank(np.array([[0.30, 3e6], [0.25, 5e6], [0.10, 9e6]])).tolist() == [1, 2, 0]
    two_fronts = np.array([[0.5, 5.0], [0.3, 3.0], [0.6, 9.0], [0.25, 5.0], [0.1, 9.0]])
    assert rank(two_fronts).tolist() == [3, 1, 4, 2, 0]


def test_moasha_proposes_by_its_seed_each_sub_network_once():
    first, again, other = (proposals(moasha(seed), 30) for seed in (0, 0, 1))
    assert first == again != other
    assert len({SPACE.decode(vector) for vector in first}) == 30
    assert [SPACE.decode(vector) for vector in first[:3]] == [SPACE.largest, SPACE.smallest, SPACE.middle]


def test_moasha_stops_what_is_dominated_and_lets_the_best_go_on():
    scheduler, trials = moasha(), []
    for i in range(6):
        trials.append(Trial(i, scheduler.suggest().config, None))
        scheduler.on_trial_add(trials[-1])

    def reported(i, value, reports=1):
        return scheduler.on_trial_result(trials[i], {"error": value, "params": value, "reports": reports})

    decisions = [reported(i, value) for i, value in enumerate([0.5, 0.6, 0.4, 0.7, 0.3, 0.55])]
    go, stop = SchedulerDecision.CONTINUE, SchedulerDecision.STOP
    assert decisions == [go, stop, go, stop, go, stop]
    assert reported(0, 0.5, reports=2) == go  # no rung
    assert [reported(4, 0.3, reports=3), reported(0, 0.5, reports=3)] == [go, stop]


def test_moasha_knows_its_rungs_again(tmp_path):
    file = TrialFile(tmp_path / "trials.jsonl")
    rng, rungs = np.random.default_rng(0), [dict[int, list[float]]() for _ in range(2)]
    for number in range(8):
        subnet, last = SPACE.decode((1, 1, 1 + number)), (1, 3, 9)[number % 3]
        errors = rng.random(last).tolist()
        lines = [{"subnet": subnet.to_json(), "reports": i + 1, "error": e} for i, e in enumerate(errors)]
        with (tmp_path / "epochs.jsonl").open("a") as epochs:
            epochs.writelines(json.dumps(line) + "\n" for line in lines)
        metrics = {"error": errors[-1], "params": 5.0, "reports": last, "stopped": float(last < 9)}
        # What reported and then failed stays in the rungs too, its last report aside if that is why.
        failed = number in (4, 5)
        if number == 5:
            last = 3
            with (tmp_path / "epochs.jsonl").open("a") as epochs:
                epochs.write(json.dumps({"subnet": subnet.to_json(), "reports": 9, "error": math.nan}) + "\n")
        file.append(subnet, Outcome(None, "no memory") if failed else Outcome(metrics))
        rungs[0][-1 - number] = [errors[0], 5.0]
        if last >= 3:
            rungs[1][-1 - number] = [errors[2], 5.0]
    scheduler = moasha()
    Recorder(
        scheduler,
        SPACE,
        Records(file, ["error", "params"], SPACE.largest),
        Workers(tmp_path, SPACE, threads=1),
        objectives=["error", "params"],
        costs=lambda subnet: {"params": 5.0},
        max_trials=9,
        reports=9,
        on_trial=lambda trial: None,
    )
    found = {mark: {i: list(m.values()) for i, m in seen.items()} for mark, seen in scheduler.brackets[0].rungs}
    assert (found[1], found[3]) == tuple(rungs)
    assert proposals(scheduler, 1)[0] == SPACE.encode(SPACE.largest)


# --- one training ---------------------------------------------------------------------------------------------------


class Reports(list):
    """Collects what a trial reports."""

    def __call__(self, **seen):
        self.append(seen)


def trained(job, subnet, folder):
    folder.mkdir()
    reports = Reports()
    train_alone(job, subnet, folder, reports, parent=os.getppid())
    return reports, load_file(folder / "weights.safetensors")


@pytest.mark.slow
def test_a_job_read_is_the_job_written(finetuning_of, supernet_folder, tmp_path):
    job = finetuning_of(supernet_folder, "searcher=random", "evaluator.learning_rate=1e-2", "seed=3").job()
    (tmp_path / "job").mkdir()
    job.write(tmp_path / "job")
    read = Job.read(tmp_path / "job")
    assert json.dumps(asdict(read.config)) == json.dumps(asdict(job.config))
    assert (read.config.train.epochs, read.config.train.learning_rate, read.config.seeds.model) == (3, 1e-2, 3)
    assert read.config.train.batch_size == 8  # as the supernet was trained
    assert (read.train.digest(), read.validation.digest()) == (job.train.digest(), job.validation.digest())
    for name, tensor in job.model.state_dict().items():
        assert torch.equal(tensor, read.model.state_dict()[name])


@pytest.mark.slow
def test_a_sub_network_is_trained_alone_and_measured_as_it_goes(finetuning_of, supernet_folder, tmp_path):
    finetuning = finetuning_of(supernet_folder, "searcher=random", "evaluator.reports_per_epoch=2")
    job, supernet = finetuning.job(), load_supernet(supernet_folder)
    subnet = SubNetwork(
        (LayerSlice(0, range(2), range(5)), LayerSlice(2, range(0), range(3)), LayerSlice(3, (1, 3), ()))
    )
    start = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    reports, weights = trained(job, subnet, tmp_path / "trial")
    again, same = trained(job, subnet, tmp_path / "again")
    assert [r["reports"] for r in reports] == [1, 2, 3, 4, 5, 6]
    assert [r["epochs"] for r in reports] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert again == reports
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert all(torch.equal(start[name], tensor) for name, tensor in job.model.state_dict().items())
    assert reports[-1]["loss"] < reports[0]["loss"]

    model = extract(supernet.model, subnet)
    assert set(weights) == set(model.state_dict())
    model.load_state_dict(weights)
    scores = Evaluator(finetuning.data.validation, job.task, job.tokenizer).evaluate(model)
    assert read_seen(tmp_path / "trial" / "weights.safetensors") == pytest.approx(reports[-1])
    assert (scores.error, scores.loss) == pytest.approx((reports[-1]["error"], reports[-1]["loss"]))


@pytest.mark.parametrize("layers", [(), (1,), (0, 2, 3)])
def test_the_single_space_is_all_of_an_extracted_model(supernet_folder, layers):
    model = load_supernet(supernet_folder).model
    subnet = SubNetwork(tuple(LayerSlice(i, range(i), range(4 if i != 2 else 0)) for i in layers))
    small = extract(model, subnet)
    whole = SingleSpace.of(small, subnet).largest
    inputs = {"input_ids": torch.arange(2, 14).reshape(2, 6)}
    with torch.no_grad():
        assert torch.equal(view(small, whole)(**inputs).logits, small(**inputs).logits)


def test_a_sub_network_without_layers_can_be_trained(finetuning_of, supernet_folder, tmp_path):
    job = finetuning_of(supernet_folder, "searcher=random").job()
    reports, _ = trained(job, SPACE.smallest, tmp_path / "trial")
    assert len(reports) == 3


@pytest.mark.slow
def test_trainings_start_from_the_weights_before_the_supernet(finetuning_of, model_folder, data_folder, tmp_path):
    overrides = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"output_dir={tmp_path}"]
    overrides += [f"data.cache_dir={tmp_path}/cache", "train.epochs=1", "order=importance", "train.learning_rate=1e-9"]
    folder = train(load_config("train", TrainConfig, overrides))
    supernet, job = load_supernet(folder), finetuning_of(folder, "searcher=random").job()
    # A supernet that was hardly trained is the pre-trained model, its heads and units in the order of importance.
    trained_weights, weights = supernet.model.state_dict(), job.model.state_dict()
    assert all(
        torch.allclose(trained_weights[name], weights[name], atol=1e-6) for name in weights if name[:10] != "classifier"
    )
    (folder.parent / "importance.npz").unlink()
    with pytest.raises(UserError, match=r"has no importance.npz with that order"):
        finetuning_of(folder, "searcher=random").job()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluator.reports_per_epoch=19", "an epoch has only 18 steps"),
        ("evaluator.model=/nowhere/model", "no such folder; evaluator.model=FOLDER names"),
    ],
)
def test_what_cannot_be_trained_is_told_first(finetuning_of, supernet_folder, override, message):
    with pytest.raises(UserError, match=message):
        finetuning_of(supernet_folder, "searcher=random", override).job()


def test_options_that_do_not_fit_are_refused(finetuning_of, supernet_folder, tmp_path):
    with pytest.raises(UserError, match="add evaluator=finetune"):
        load_config("search", SearchConfig, ["searcher=moasha"])
    with pytest.raises(UserError, match="give latency_table=FILE"):
        config_of(supernet_folder, tmp_path, "objectives=[error,latency_ms]")
    for grace in (3, 4):
        with pytest.raises(
            UserError, match=rf"searcher.grace is {grace}, but a trial has only 3 report\(s\), so no trial"
        ):
            finetuning_of(supernet_folder, "searcher=moasha", f"searcher.grace={grace}").scheduler(3)
    with pytest.raises(UserError, match=r"evaluator 'finetun' is unknown"):
        load_config("search", SearchConfig, ["evaluator=finetun"])


def test_a_supernet_without_its_run_folder_is_refused(finetuning_of, supernet_folder):
    finetuning = finetuning_of(supernet_folder, "searcher=random")
    with pytest.raises(UserError, match=r"config.json, which names them, cannot be used"):
        replace(finetuning, supernet_folder=supernet_folder / "supernet").job()


# --- from start to report -------------------------------------------------------------------------------------------


class Obedient(Reporter):
    """Waits after each report for the signal that says to go on: no training outruns the scheduler."""

    def __call__(self, **seen):
        super().__call__(**seen)
        signal.sigwait([signal.SIGUSR1])


def forked_trial():
    """As the command, but a fork's parent is the server."""
    sys.argv[3] = str(os.getppid())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    trial.Reporter = Obedient
    trial.main()


def fork_trial(command, *, stdin, stdout, stderr, env, start_new_session):
    """In place of `subprocess.Popen` for a trial."""
    assert command[:3] == [sys.executable, "-m", "search.finetune.trial"]
    return Process(forked_trial, command[3:], output=[stdout.name, stderr.name], env=env)


def answered(self, trial, result):
    """In place of `Recorder.on_trial_result`: a trial that is not stopped is told so."""
    decision = ON_TRIAL_RESULT(self, trial, result)
    if decision == SchedulerDecision.CONTINUE:
        self.backend.trial_subprocess[trial.trial_id].send_signal(signal.SIGUSR1)
    return decision


@pytest.mark.slow
def test_moasha_stops_trainings_and_a_search_goes_on(supernet_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(workers.subprocess, "Popen", fork_trial)
    monkeypatch.setattr(Recorder, "on_trial_result", answered)
    monkeypatch.setattr(tuner, "POLL_S", 0.02)
    run = ["searcher=moasha", "evaluator.workers=2"]
    folder = search(config_of(supernet_folder, tmp_path, *run, "max_evaluations=3"))
    first = read_trials(folder / "trials.jsonl")
    assert search(config_of(supernet_folder, tmp_path, *run, "max_evaluations=6")) == folder
    record = read_run(folder)
    assert (record.info.kind, record.info.label) == ("finetune", "moasha")
    assert record.trials[:3] == first
    assert len({t.subnet for t in record.trials}) == 6
    epochs = [t.outcome.metrics["epochs"] for t in record.trials]
    assert min(epochs) < 3 == max(epochs)
    assert [t.outcome.metrics["stopped"] for t in record.trials] == [float(e < 3) for e in epochs]
    assert [t.elapsed for t in record.trials] == sorted(t.elapsed for t in record.trials)

    front = front_of(record)
    supernet = load_supernet(supernet_folder)
    kept = {t.number for t in record.trials if t.subnet in {supernet.space.largest, *(e.subnet for e in front)}}
    assert {path.name for path in (folder / "weights").iterdir()} == {f"{number}.safetensors" for number in kept}
    with accelerate_session("fp32") as accelerator:
        data = open_session(config_of(supernet_folder, tmp_path), accelerator).data
    evaluator, model_of = (
        Evaluator(data.validation, data.task, supernet.tokenizer),
        finetuned(folder, record.trials, supernet.model),
    )
    assert [evaluator.error(model_of(e.subnet)) for e in front] == [e.metrics["error"] for e in front]
    results = read_results(record)
    assert [t.evaluated.metrics["error"] for t in results.front] == [e.metrics["error"] for e in front]
    assert results.full.test_score == Evaluator(data.test, data.task, supernet.tokenizer).score(
        model_of(supernet.space.largest)
    )
    assert not results.full_is_supernets
    assert not (folder / "work").exists()


def search_that_loses_a_trial():
    """As the system ends a process that takes too much memory."""

    def kill_one():
        while not (found := psutil.Process().children()):
            time.sleep(0.05)
        found[0].kill()

    threading.Thread(target=kill_one, daemon=True).start()
    with one_line_errors():
        search(load_config("search", SearchConfig, sys.argv[1:]))


@pytest.mark.slow
def test_a_failed_trial_is_recorded_and_no_process_outlives_the_search(supernet_folder, tmp_path):
    """Here the trials are new interpreters."""
    overrides = [f"supernet={supernet_folder}", f"output_dir={tmp_path}", "name=run", "evaluator=finetune"]
    overrides += ["searcher=random", "evaluator.epochs=3000", "max_evaluations=3"]
    process = Process(search_that_loses_a_trial, overrides, output=[tmp_path / "out", tmp_path / "err"])
    folder = tmp_path / "search" / "run"
    try:
        while not (len(started := psutil.Process(process.pid).children()) == 2 and (folder / "epochs.jsonl").exists()):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
    gone, alive = psutil.wait_procs(started, timeout=30)
    assert len(gone) == 2
    assert not alive
    (failed,) = read_trials(folder / "trials.jsonl")
    assert failed.outcome.metrics is None
    assert failed.outcome.failure == "ended by SIGKILL"
    assert (folder / "failures" / "0.txt").exists()
    assert not (folder / "work").exists()
