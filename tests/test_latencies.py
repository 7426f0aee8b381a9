"""Latencies in a search: stated in terms of the full model, whatever else the machine does. No test asserts a time."""

import json
import shutil

import pytest
import torch

from search import session
from search.evaluation.latencies import Latencies
from search.objectives import LATENCY
from search.options.search import SearchConfig
from search.remeasure import remeasured
from search.report import results as reported
from search.run import search
from search.run_folder import RunRecord, read_run
from search.trials import Evaluated, Outcome, Trial
from supernet.console.config import load_config
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.runtime.files import write_json
from supernet.space.cost import Workload
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.fake_runs import make_run
from tests.machine import Machine
from tests.models import tiny_model

pytestmark = pytest.mark.slow

FULL = SubNetwork.uniform(range(4), 4, 10)
THREE_LAYERS = SubNetwork.uniform(range(3), 4, 10)


def run(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", "searcher=random", "max_evaluations=4"]
    chosen = ["objectives=[error,latency_ms]", "workload.batch_size=2", "workload.length=16"]
    return search(load_config("search", SearchConfig, [*fixed, *chosen, *overrides]))


@pytest.fixture(scope="module")
def ended(supernet_folder, tmp_path_factory):
    """The folder of a search that has ended, which tests only read or copy."""
    return run(supernet_folder, tmp_path_factory.mktemp("ended"))


def copied(folder, tmp_path):
    """A copy in the place where the same command would look for it."""
    return shutil.copytree(folder, tmp_path / "search" / folder.name)


def latencies_of(model, machine, **values):
    return Latencies(model, Workload(2, 8), clocks=[lambda: machine.wall], **values)


def test_a_latency_is_the_share_of_what_the_full_net_took_when_the_run_began():
    model, load = tiny_model("bert", dtype=torch.float32), [1.0]
    machine = Machine(model, load=lambda wall: load[0])
    latencies = latencies_of(model, machine)
    assert latencies.full == pytest.approx(dict(zip(LATENCY, (5000, 5000, 5000, 1), strict=True)))
    load[0] = 3.0  # another program has begun
    net = extract(model, THREE_LAYERS, share=True)
    assert latencies(THREE_LAYERS, net) == pytest.approx(dict(zip(LATENCY, (4000, 4000, 4000, 0.8), strict=True)))
    assert latencies(FULL, model) == latencies.full
    found = latencies.again([THREE_LAYERS, FULL], lambda subnet: extract(model, subnet, share=True))
    assert latencies.drift() == pytest.approx(3)
    assert {subnet: latency["latency_ms"] for subnet, latency in found.items()} == pytest.approx(
        {THREE_LAYERS: 4000, FULL: 5000}
    )
    later = latencies_of(model, machine, full=latencies.full)
    assert later(THREE_LAYERS, net)["latency_ms"] == pytest.approx(4000)


def test_quartiles_and_share_are_in_the_file_of_trials(ended):
    record = read_run(ended)
    full_ms = record.info.reference["latency_ms"]
    assert set(record.info.reference) == {"error", *LATENCY}
    assert record.trials[0].outcome.metrics["latency_share"] == 1
    for trial in record.trials:
        metrics = trial.outcome.metrics
        assert 0 < metrics["latency_low_ms"] <= metrics["latency_ms"] <= metrics["latency_high_ms"]
        assert metrics["latency_ms"] == pytest.approx(metrics["latency_share"] * full_ms)


def test_a_search_that_goes_on_states_latencies_as_it_began(ended, supernet_folder, tmp_path):
    folder = copied(ended, tmp_path)
    values = json.loads((folder / "run.json").read_text())
    values["reference"] |= {"latency_ms": 1e6, "latency_low_ms": 9e5, "latency_high_ms": 2e6}  # as on a slow day
    write_json(folder / "run.json", values)
    run(supernet_folder, tmp_path, "max_evaluations=5")
    for trial in read_run(folder).trials[4:]:
        metrics = trial.outcome.metrics
        assert metrics["latency_ms"] == pytest.approx(metrics["latency_share"] * 1e6)
    assert json.loads((folder / "run.json").read_text()) == values
    run(supernet_folder, tmp_path, "overwrite=true")
    assert read_run(folder).info.reference["latency_ms"] < 1e6


def test_a_trial_without_its_quartiles_is_none_of_such_a_run(ended, tmp_path):
    folder = copied(ended, tmp_path)
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    del rows[1]["metrics"]["latency_high_ms"]
    (folder / "trials.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"trials\.jsonl:2 .*metrics\.latency_high_ms is missing"):
        read_run(folder)


def test_trials_that_were_measured_otherwise_are_not_gone_on_with(ended, supernet_folder, tmp_path):
    folder = copied(ended, tmp_path)
    values = json.loads((folder / "run.json").read_text())
    del values["settings"]["conditions"]["measured"]  # as before latencies were measured in turns
    write_json(folder / "run.json", values)
    with pytest.raises(UserError, match=r"measured is in turns with the full net, was not set; start again"):
        run(supernet_folder, tmp_path)


def test_a_workload_that_the_model_has_no_positions_for_is_refused_first(supernet_folder, tmp_path):
    for cost in ("flops", "memory_mb", "latency_ms"):
        with pytest.raises(
            UserError, match=r"workload\.length is 161, but the model has positions for 160 tokens; give"
        ):
            run(supernet_folder, tmp_path, f"objectives=[error,{cost}]", "workload.length=161")
    assert not list(tmp_path.iterdir())
    run(supernet_folder, tmp_path, "objectives=[error,params]", "workload.length=161", "max_evaluations=1")


def test_what_costs_hold_for_is_told(ended, tmp_path):
    said = read_run(ended).info.conditions
    assert said.startswith("latency on ")
    assert ", 1 thread, torch " in said
    assert said.endswith(", float32, batch x length 2x16")
    for name, line in (("flops", "costs for batch x length 1x128"), ("params", None)):
        assert make_run(tmp_path / name, objectives=("error", name), evaluations=2).info.conditions == line


# At the end of a run


def net(layers):
    return SubNetwork.uniform(range(layers), 12, 1536)


def timed(layers, share, *, spread=0.0, error=None):
    """A sub-network of 6 layers or fewer that takes a share of the full model's 10 ms; 0.1 more error for each less."""
    low, high = 10 * share * (1 - spread / 2), 10 * share * (1 + spread / 2)
    latency = dict(zip(LATENCY, (10 * share, low, high, share), strict=True))
    known = {"error": 0.7 - layers / 10 if error is None else error, "params_share": layers / 6}
    return Evaluated(net(layers), known | latency)


class FakeLatencies:
    """Finds given sub-networks to take what they are given with, whatever the machine does."""

    subnet, full = net(6), timed(6, 1.0).metrics

    def __init__(self, *found, now=1.0):
        self.found, self.now = {e.subnet: {name: e.metrics[name] for name in LATENCY} for e in found}, now

    def again(self, subnets, model_of):
        return {subnet: self.found[subnet] for subnet in subnets}

    def drift(self):
        return self.now


def end_of(tmp_path, trials, latencies):
    """What the end of a run says whose front are all its trials."""
    info = make_run(tmp_path / "run", objectives=("error", "latency_ms"), evaluations=2).info
    run = RunRecord(tmp_path, info, [Trial(i, e.subnet, Outcome(e.metrics), 1.0) for i, e in enumerate(trials)])
    results = reported.Results(front=[reported.Tested(e, 0.5) for e in trials], full=reported.Tested(trials[0], 0.9))
    return remeasured(latencies, run, results, lambda subnet: None)


def test_the_report_shows_latencies_measured_again(tmp_path):
    trials = [timed(6, 1.0), timed(5, 0.47), timed(3, 0.5)]  # as on a busy machine
    again = [timed(6, 1.0, spread=0.02), timed(5, 0.84), timed(3, 0.52)]
    results, said = end_of(tmp_path, trials, FakeLatencies(*again))
    assert [tested.evaluated for tested in results.front] == again
    assert results.full.evaluated == again[0]
    assert said == []
    results, said = end_of(tmp_path / "b", trials, FakeLatencies(again[0], timed(5, 0.45), again[2]))
    assert [len(tested.evaluated.subnet.layers) for tested in results.front] == [6, 3, 5]  # the largest latency first
    assert [line.partition(";")[0] for line in said] == [
        "warning: sub-networks slower than another that contains them: 1",
        "note: with the new latencies, 1 of the 3 sub-networks of the front are dominated by others",
    ]


def test_a_net_that_is_slower_than_one_that_contains_it_is_told_if_that_is_certain(tmp_path):
    trials = [timed(6, 1.0), timed(5, 0.6), timed(4, 0.7), timed(3, 0.65)]
    _, said = end_of(tmp_path, trials, FakeLatencies(*trials))
    assert said[0] == (
        "warning: sub-networks slower than another that contains them: 2; for example (4 layers, 12 heads, 1536 units) "
        "takes 70.0% of the full model's latency, and (5 layers, 12 heads, 1536 units), which contains it, 60.0%"
    )
    above = [
        timed(6, 1.0, spread=0.8),
        timed(5, 1.1, spread=0.09),
    ]  # the full model's milliseconds scatter, shares do not
    assert "takes 110.0% of the full model's latency" in end_of(tmp_path / "a", above, FakeLatencies(*above))[1][0]
    beside = [timed(6, 1.0), timed(5, 0.6, spread=0.09), timed(4, 0.62, spread=0.09)]
    assert end_of(tmp_path / "b", beside, FakeLatencies(*beside))[1] == [
        "note: with the new latencies, 1 of the 3 sub-networks of the front are dominated by others; they "
        "are still listed"
    ]


def test_latencies_that_scatter_and_milliseconds_of_a_busy_machine_are_told(tmp_path):
    trials = [timed(6, 1.0), timed(5, 0.8, spread=0.3), timed(4, 0.6, spread=0.2), timed(3, 0.5, spread=0.05)]
    _, said = end_of(tmp_path, trials, FakeLatencies(*trials, now=1.2))
    assert [line.partition(": the machine")[0] for line in said] == [
        "note: the quartiles of 2 of 3 latencies are more than 10% apart, at most 30%"
    ]
    steady = [trials[0], trials[3]]
    _, said = end_of(tmp_path / "b", steady, FakeLatencies(*steady, now=0.4))
    assert said == [
        "note: the full model took 10.00 ms (quartiles 10.00-10.00) when the run began and takes 4.00 ms (quartiles "
        "4.00-4.00) now, as the machine does other work at times; milliseconds refer to the first value, and "
        "shares of the full model are not affected"
    ]
    _, said = end_of(tmp_path / "c", steady, FakeLatencies(timed(6, 1.0, spread=0.5), trials[3]))
    assert ["takes 10.00 ms (quartiles 7.50-12.50) now" in line for line in said] == [True]


def test_a_search_measures_its_front_again(supernet_folder, tmp_path, monkeypatch, capsys):
    calls, measure = [], Latencies.again
    monkeypatch.setattr(Latencies, "again", lambda *arguments: calls.append(measure(*arguments)) or calls[-1])
    shown, show = [], session.show_progress
    monkeypatch.setattr(session, "show_progress", lambda c, what, *a, **k: shown.append(what) or show(c, what, *a, **k))
    folder = run(supernet_folder, tmp_path)
    rows = json.loads((folder / "front.json").read_text())["front"]
    last = calls[-1]
    assert {SubNetwork.from_json(row["subnet"]): {name: row[name] for name in LATENCY} for row in rows} == last
    assert FULL in last
    trials = {trial.subnet: trial.outcome.metrics for trial in read_run(folder).trials}
    assert all(trials[s]["latency_ms"] != latency["latency_ms"] for s, latency in last.items() if s != FULL)
    said = capsys.readouterr().out
    assert "measuring the latencies of the front again, in turns with the full model" in said
    assert {"measuring the latency of the full model", "measuring latencies again"} < set(shown)


def test_a_baseline_measures_its_latencies_alike(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path, "baseline=layer_dropping", "baseline.budgets=[0.5,0.25]")
    rows = json.loads((folder / "front.json").read_text())["front"]
    assert [row["latency_share"] for row in rows if row["full_net"]] == [1]  # measured though it had no such budget
    for metrics in [trial.outcome.metrics for trial in read_run(folder).trials]:
        assert set(LATENCY) <= set(metrics)


def test_what_contains_what():
    some = SubNetwork((LayerSlice(1, (0, 2), range(3)), LayerSlice(3, (), (1, 5))))
    assert FULL.contains(some)
    assert some.contains(some)
    assert some.contains(SubNetwork((LayerSlice(3, (), (5,)),)))
    assert some.contains(SubNetwork(()))
    for other in (FULL, SubNetwork.uniform([0], 1, 1), SubNetwork((LayerSlice(1, (1,), ()),))):
        assert not some.contains(other)
    assert not some.contains(SubNetwork((LayerSlice(1, (0, 2), range(4)),)))
