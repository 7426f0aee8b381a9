"""Latencies in a search: stated in terms of the full net, whatever else the machine does. No test asserts a time."""

import json

import pytest
import torch

from search.folder import conditions_line, read_run
from search.latencies import Latencies
from search.objectives import LATENCY
from search.options import SearchConfig
from search.run import search
from supernet.config import load_config
from supernet.cost import Workload
from supernet.errors import UserError
from supernet.runs import write_json
from supernet.slicing import extract
from supernet.subnetwork import SubNetwork
from tests.fake_runs import make_run
from tests.models import tiny_model
from tests.test_latency import Machine

FULL = SubNetwork.uniform(range(4), 4, 10)
THREE_LAYERS = SubNetwork.uniform(range(3), 4, 10)


def run(supernet_folder, output, *overrides):
    fixed = [f"supernet={supernet_folder}", f"output_dir={output}", "searcher=random", "max_evaluations=4"]
    chosen = ["objectives=[error,latency_ms]", "workload.batch_size=2", "workload.length=16"]
    return search(load_config("search", SearchConfig, [*fixed, *chosen, *overrides]))


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
    found, slower = latencies.again([THREE_LAYERS, FULL], lambda subnet: extract(model, subnet, share=True))
    assert slower == pytest.approx(3)
    assert {subnet: latency["latency_ms"] for subnet, latency in found.items()} == pytest.approx(
        {THREE_LAYERS: 4000, FULL: 5000}
    )
    later = latencies_of(model, machine, full=latencies.full)
    assert later(THREE_LAYERS, net)["latency_ms"] == pytest.approx(4000)


def test_quartiles_and_share_are_in_the_file_of_trials(supernet_folder, tmp_path):
    record = read_run(run(supernet_folder, tmp_path))
    full_ms = record.info.reference["latency_ms"]
    assert set(record.info.reference) == {"error", *LATENCY}
    assert record.trials[0].outcome.metrics["latency_share"] == 1
    for trial in record.trials:
        metrics = trial.outcome.metrics
        assert 0 < metrics["latency_low_ms"] <= metrics["latency_ms"] <= metrics["latency_high_ms"]
        assert metrics["latency_ms"] == pytest.approx(metrics["latency_share"] * full_ms)


def test_a_search_that_goes_on_states_latencies_as_it_began(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path)
    values = json.loads((folder / "run.json").read_text())
    values["reference"] |= {"latency_ms": 1e6, "latency_low_ms": 9e5, "latency_high_ms": 2e6}  # as on a slow day
    write_json(folder / "run.json", values)
    run(supernet_folder, tmp_path, "max_evaluations=6")
    for trial in read_run(folder).trials[4:]:
        metrics = trial.outcome.metrics
        assert metrics["latency_ms"] == pytest.approx(metrics["latency_share"] * 1e6)
    assert json.loads((folder / "run.json").read_text()) == values
    run(supernet_folder, tmp_path, "overwrite=true")
    assert read_run(folder).info.reference["latency_ms"] < 1e6


def test_trials_that_were_measured_otherwise_are_not_gone_on_with(supernet_folder, tmp_path):
    folder = run(supernet_folder, tmp_path)
    values = json.loads((folder / "run.json").read_text())
    del values["settings"]["conditions"]["measured"]  # as before latencies were measured in turns
    write_json(folder / "run.json", values)
    with pytest.raises(UserError, match=r"conditions\.measured is in turns with the full net, was not set; start anew"):
        run(supernet_folder, tmp_path)


@pytest.mark.parametrize("objectives", ["[error,flops]", "[error,memory_mb]", "[error,latency_ms]"])
def test_a_workload_that_the_model_has_no_positions_for_is_refused_first(objectives, supernet_folder, tmp_path):
    with pytest.raises(UserError, match=r"workload\.length is 161, but the model has positions for 160 tokens; give"):
        run(supernet_folder, tmp_path, f"objectives={objectives}", "workload.length=161")
    assert not list(tmp_path.iterdir())
    run(supernet_folder, tmp_path, "objectives=[error,params]", "workload.length=161")


def test_what_costs_hold_for_is_told(supernet_folder, tmp_path):
    said = conditions_line(read_run(run(supernet_folder, tmp_path)).info)
    assert ", 1 threads, torch " in said
    assert said.endswith(", float32, batch x length 2x16")
    for name, line in (("flops", "batch x length 1x128"), ("params", "")):
        assert conditions_line(make_run(tmp_path / name, objectives=("error", name), evaluations=2).info) == line
