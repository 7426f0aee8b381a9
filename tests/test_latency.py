"""Latencies: what is measured, how blocks add up, and when a table is refused. No test asserts a time."""

import json
import time
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

from search.options.profile import ProfileConfig
from search.profile import profile
from supernet.artifact import Supernet, save_supernet
from supernet.console.config import load_config
from supernet.evaluation.latency import (
    RUNS_PER_TURN,
    Timing,
    measure_in_turns,
    measure_latency,
    random_inputs,
)
from supernet.evaluation.latency_share import clocks_of, measure_shares
from supernet.evaluation.latency_table import (
    Conditions,
    Curve,
    LatencyTable,
    load_table,
    prediction_errors,
)
from supernet.evaluation.table_building import build_table
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.runtime.files import write_json
from supernet.space.cost import Workload
from supernet.space.spaces import SpaceOptions, search_space
from supernet.space.subnetwork import LayerSlice, Sizes, SubNetwork
from tests.fake_supernets import info
from tests.machine import Machine
from tests.models import FAMILY_NAMES, tiny_model

SHORT = Workload(2, 8)
CONDITIONS = Conditions("some processor", 1, "2.13.0", "float32", SHORT, "abcd1234")
SIZES = Sizes(layers=3, heads=4, units=9)
TABLE = LatencyTable(
    CONDITIONS,
    around_ms=1.0,
    kinds=(0, 1, 1),
    attention=(Curve((1, 4), (2.0, 5.0)), Curve((1, 2, 4), (1.0, 3.0, 4.0))),
    feed_forward=(Curve((1, 5, 9), (0.5, 2.5, 4.5)), Curve((1, 9), (1.0, 1.0))),
)


def clock_of(*durations):
    """A clock by which runs take these seconds, again and again."""
    readings = iter(t for n in count() for t in (0.0, durations[n % len(durations)]))
    return lambda: next(readings)


def nets_of(model, *layers):
    """Makers of the nets of the first layers, and the full net."""
    *nets, whole = (partial(extract, model, SubNetwork.uniform(range(n), 4, 10), share=True) for n in (*layers, 4))
    return nets, whole()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Measuring


def test_a_timing_is_the_median_and_the_quartiles():
    timing = Timing.of([0.004, 0.001, 0.003, 0.002, 0.100])
    assert (timing.median_ms, timing.low_ms, timing.high_ms, timing.repeats) == pytest.approx((3, 2, 4, 5))
    assert timing.iqr_ms == pytest.approx(2)
    assert timing.uncertainty == pytest.approx(1.57 * 2 / 5**0.5 / 3)


def test_a_measured_timing_is_consistent_and_leaves_the_model():
    model = tiny_model("bert", dtype=torch.float32).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    timing = measure_latency(model, SHORT, repeats=7, tolerance=0.0)
    assert 0 < timing.low_ms <= timing.median_ms <= timing.high_ms
    assert timing.repeats == 7
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_repeats_end_when_the_median_is_known():
    model = tiny_model("bert", dtype=torch.float32)
    steady = measure_latency(model, SHORT, repeats=100, clock=clock_of(0.5))
    assert (steady.median_ms, steady.iqr_ms, steady.repeats) == (500, 0, 5)
    restless = measure_latency(model, SHORT, repeats=40, clock=clock_of(1.0, 1.1), tolerance=0.03)
    assert 5 < restless.repeats < 40
    assert restless.uncertainty <= 0.03
    assert measure_latency(model, SHORT, repeats=12, clock=clock_of(1.0, 9.0)).repeats == 12


def test_warm_up_runs_do_not_count():
    calls = []
    model = tiny_model("bert", dtype=torch.float32)
    model.register_forward_hook(lambda *_: calls.append(torch.is_inference_mode_enabled()))
    assert measure_latency(model, SHORT, warmup=4, repeats=6, tolerance=0.0).repeats == 6
    assert calls == [True] * 10


def test_models_take_turns():
    model, made = tiny_model("bert", dtype=torch.float32), []

    def maker(layers):
        return lambda: made.append(layers) or extract(model, SubNetwork.uniform(range(layers), 2, 5), share=True)

    timings = measure_in_turns([maker(0), maker(1), maker(2)], SHORT, device="cpu", turns=4, tolerance=0.0)
    assert [t.repeats for t in timings] == [4 * RUNS_PER_TURN] * 3
    turns = [made[i : i + 3] for i in range(0, 12, 3)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns)
    assert len(set(map(tuple, turns))) > 1  # not always in the same order
    steady = measure_in_turns([maker(0), maker(1)], SHORT, device="cpu", turns=9, clock=clock_of(1.0))
    assert [t.repeats for t in steady] == [2 * RUNS_PER_TURN] * 2


def test_shares_hold_on_a_machine_that_is_busy_at_times():
    model = tiny_model("bert", dtype=torch.float32)
    machine = Machine(model, load=lambda wall: 4.0 if wall % 1000 < 500 else 1.0)
    nets, whole = nets_of(model, 0, 1, 3)
    shares, timing = measure_shares(nets, whole, SHORT, clocks=[lambda: machine.wall])
    assert [share.median for share in shares] == pytest.approx([1 / 5, 2 / 5, 4 / 5])
    assert 5000 <= timing.median_ms <= 20000
    machine.wall = 0.0  # what came of measuring one after the other: the first one beside another program
    alone = measure_latency(nets[2](), SHORT, clock=lambda: machine.wall).median_ms
    machine.wall = 500.0
    assert alone / measure_latency(whole, SHORT, clock=lambda: machine.wall).median_ms == pytest.approx(16 / 5)


def test_where_the_time_that_passes_scatters_the_processors_counts():
    model, rng = tiny_model("bert", dtype=torch.float32), np.random.default_rng(0)
    machine = Machine(model, load=lambda wall: rng.uniform(1.0, 9.0))
    nets, whole = nets_of(model, 1, 3)
    shares, _ = measure_shares(nets, whole, SHORT, clocks=[lambda: machine.wall, lambda: machine.processor])
    assert [(share.median, share.high - share.low, share.turns) for share in shares] == [(0.4, 0, 10), (0.8, 0, 10)]
    (share,), _ = measure_shares(nets[:1], whole, SHORT, turns=8, clocks=[lambda: machine.wall])
    assert share.low < share.high
    assert share.turns == 8


def test_where_it_does_not_scatter_it_counts_itself():
    model = tiny_model("bert", dtype=torch.float32)
    machine, runs = Machine(model, load=lambda wall: 2.0), count()
    nets, whole = nets_of(model, 3)
    (share,), timing = measure_shares(nets, whole, SHORT, clocks=[lambda: machine.wall, lambda: float(next(runs))])
    assert (share.median, share.low, share.high, share.turns) == pytest.approx((4 / 5, 4 / 5, 4 / 5, 5))
    assert (timing.median_ms, timing.repeats) == pytest.approx((10000, 5))


def test_clocks_suit_the_device_and_the_threads():
    assert clocks_of("cuda") == (time.perf_counter,)
    assert clocks_of("cpu") == (time.thread_time,)  # in tests torch has one thread
    torch.set_num_threads(2)
    try:
        assert clocks_of("cpu") == (time.perf_counter, time.process_time)
    finally:
        torch.set_num_threads(1)


def test_lower_precision_is_that_of_the_evaluation():
    model, seen = tiny_model("bert", dtype=torch.float32), []
    model.base_model.encoder.layer[0].intermediate.dense.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    measure_latency(model, SHORT, warmup=0, repeats=1, mixed_precision="bf16")
    measure_latency(model, SHORT, warmup=0, repeats=1)
    assert seen == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_inputs_are_words_that_the_model_has(family):
    model = tiny_model(family, dtype=torch.float32)
    inputs = random_inputs(model, Workload(3, 38))
    ids = inputs["input_ids"]
    assert ids.shape == (3, 38)
    assert 0 <= ids.min() <= ids.max() < model.config.vocab_size
    assert model.config.pad_token_id not in ids
    assert model(**inputs).logits.isfinite().all()


def test_sequences_are_counted_in_multiple_choice_too():
    model = tiny_model("bert", dtype=torch.float32, auto=AutoModelForMultipleChoice)
    assert model(**random_inputs(model, Workload(3, 8))).logits.shape == (3, 1)


def test_impossible_workloads():
    with pytest.raises(UserError) as error:
        Workload(batch_size=0)
    assert one_line(error) == "workload.batch_size is 0; it must be 1 or more"
    with pytest.raises(UserError) as error:
        measure_latency(tiny_model("roberta"), Workload(1, 39))
    assert "workload.length is 39, but the model has positions for 38 tokens" in one_line(error)


# Predicting


def test_blocks_add_up():
    assert TABLE.predict(SubNetwork(())) == 1.0
    one, other = LayerSlice(0, range(4), range(9)), LayerSlice(2, range(2), range(0))
    assert TABLE.predict(SubNetwork((one,))) == pytest.approx(1 + 5 + 4.5)
    assert TABLE.predict(SubNetwork((other,))) == pytest.approx(1 + 3)
    assert TABLE.predict(SubNetwork((one, other))) == pytest.approx(1 + 9.5 + 3)


def test_layers_have_the_curves_of_their_kind_and_only_numbers_count():
    at = [TABLE.predict(SubNetwork.uniform([i], 1, 1)) for i in range(3)]
    assert at == pytest.approx([1 + 2.5, 1 + 2, 1 + 2])
    some = SubNetwork((LayerSlice(1, (1, 3), (2, 4, 7)),))
    assert TABLE.predict(some) == TABLE.predict(SubNetwork.uniform([1], 2, 3))


def test_curves_are_exact_where_measured_and_linear_between():
    curve = TABLE.attention[1]
    assert [curve(n) for n in (0, 1, 2, 3, 4)] == pytest.approx([0, 1, 3, 3.5, 4])
    assert [TABLE.feed_forward[0](n) for n in range(10)] == pytest.approx([0, *(0.5 * n for n in range(1, 10))])


def test_more_never_takes_less_where_the_curves_rise():
    for layers in range(4):
        for heads in range(4):
            for units in range(9):
                here = TABLE.predict(SubNetwork.uniform(range(layers), heads, units))
                wider = TABLE.predict(SubNetwork.uniform(range(layers), heads + 1, units + 1))
                assert here <= wider


def test_errors_are_shares_of_the_measured():
    subnets = [SubNetwork(()), SubNetwork.uniform([1], 2, 0)]
    timings = [Timing(2.0, 1.0, 3.0, 9), Timing(3.2, 3.0, 4.0, 9)]
    assert prediction_errors(TABLE, subnets, timings) == pytest.approx([-0.5, 0.25])


# Building


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_family_builds_a_table(family):
    model = tiny_model(family, dtype=torch.float32)
    space = search_space(SpaceOptions("medium"), layers=4, heads=4, units=10)
    table, timings = build_table(model, SHORT, device="cpu", turns=1, check=[space.middle])
    assert table.conditions == Conditions.of(model, SHORT, device="cpu")
    assert len(table.kinds) == 4
    assert all(curve.widths == (1, 2, 3, 4) for curve in table.attention)
    assert all((curve.widths[0], curve.widths[-1]) == (1, 10) for curve in table.feed_forward)
    assert 0 < table.predict(space.smallest) <= table.predict(space.middle) < float("inf")
    assert [t.repeats for t in timings] == [RUNS_PER_TURN]


def test_kinds_of_layers():
    """ModernBERT: the first layer has no norm before attention; others see all tokens, or neighbours only."""

    def kinds(family, **values):
        model = tiny_model(family, dtype=torch.float32, **values)
        return build_table(model, SHORT, device="cpu", turns=1)[0].kinds

    assert kinds("bert") == (0, 0, 0, 0)
    types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    assert kinds("modernbert", layer_types=types) == (0, 1, 1, 2)


def test_a_block_is_its_share_of_what_all_layers_take():
    """By a clock that knows what is in the model: 1 s, and for each layer 2 s a head and 0.5 s a unit."""
    model, now = tiny_model("bert", dtype=torch.float32), [0.0]

    def tick(seconds):
        now[0] += seconds

    for layer in model.base_model.encoder.layer:
        layer.attention.self.query.register_forward_hook(lambda m, a, out: tick(2.0 * out.shape[-1] / 4))
        layer.intermediate.dense.register_forward_hook(lambda m, a, out: tick(0.5 * out.shape[-1]))
    model.classifier.register_forward_hook(lambda *_: tick(1.0))
    table, _ = build_table(model, SHORT, device="cpu", turns=2, clock=lambda: now[0])
    assert table.around_ms == pytest.approx(1000)
    subnet = SubNetwork((LayerSlice(0, range(3), range(7)), LayerSlice(3, range(0), range(2))))
    assert table.predict(subnet) == pytest.approx(1000 + 3 * 2000 + 9 * 500)
    assert table.predict(SubNetwork.uniform(range(4), 4, 10)) == pytest.approx(1000 + 4 * (8000 + 5000))


# Files


def test_a_table_comes_back_as_it_was(tmp_path):
    TABLE.save(tmp_path / "latency.json")
    assert load_table(tmp_path / "latency.json", CONDITIONS, sizes=SIZES) == TABLE
    assert [p.name for p in tmp_path.iterdir()] == ["latency.json"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"device": "another"}, "device some processor (here another)"),
        ({"threads": 2}, "threads 1 (here 2)"),
        ({"torch_version": "2.14.0"}, "torch version 2.13.0 (here 2.14.0)"),
        ({"dtype": "bfloat16"}, "dtype float32 (here bfloat16)"),
        ({"workload": Workload(1, 128)}, "workload 2x8 (here 1x128)"),
        ({"architecture": "00000000"}, "architecture abcd1234 (here 00000000)"),
    ],
)
def test_a_table_of_other_conditions_is_refused(tmp_path, values, said):
    TABLE.save(tmp_path / "latency.json")
    with pytest.raises(UserError) as error:
        load_table(tmp_path / "latency.json", replace(CONDITIONS, **values), sizes=SIZES)
    threads = "OMP_NUM_THREADS=2 " if "threads" in values else ""
    assert f"latency.json is for {said}; build a table with '{threads}plm-supernet profile" in one_line(error)


def test_files_that_are_no_tables_are_refused(tmp_path):
    path = tmp_path / "latency.json"
    with pytest.raises(UserError, match="there is no such file; build a table"):
        load_table(path, CONDITIONS, sizes=SIZES)
    for content in ("", "[]", "{}", '{"format": 0}', '{"format": 1}', "\x00"):
        path.write_text(content)
        with pytest.raises(UserError) as error:
            load_table(path, CONDITIONS, sizes=SIZES)
        assert "cannot be used" in one_line(error)
    TABLE.save(path)
    values = json.loads(path.read_text())
    write_json(path, values | {"kinds": None})
    with pytest.raises(UserError, match="cannot be used"):
        load_table(path, CONDITIONS, sizes=SIZES)


def test_conditions_tell_models_apart():
    bert, other = tiny_model("bert"), tiny_model("bert", num_labels=2)
    here = Conditions.of(bert, SHORT, device="cpu")
    assert here == Conditions.of(bert, SHORT, device="cpu")
    assert here.threads == torch.get_num_threads()
    assert here.differences(Conditions.of(bert, SHORT, device="cpu")) == []
    changed = Conditions.of(other.float(), SHORT, device="cpu").differences(here)
    assert [text.split()[0] for text in changed] == ["dtype", "architecture"]
    assert Conditions.of(bert, SHORT, device="cpu", mixed_precision="bf16").dtype == "bfloat16"


# The command


@pytest.fixture(scope="module")
def supernet_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("supernets") / "supernet"
    model = tiny_model("bert", num_labels=2, dtype=torch.float32)
    save_supernet(folder, Supernet(model, tokenizer, info(layer_importance=[4.0, 3.0, 2.0, 1.0])))
    return folder


def run(*overrides):
    few = ["workload.batch_size=2", "workload.length=8", "turns=1", "check_subnets=3"]
    return profile(load_config("profile", ProfileConfig, [*few, *overrides]))


def test_the_command_writes_a_table_that_the_search_can_load(supernet_folder, capsys):
    path = run(f"supernet={supernet_folder}")
    said = capsys.readouterr().out
    assert path.parent == supernet_folder
    assert path.name.startswith("latency-")
    assert path.name.endswith("-2x8.json")
    assert "error of the prediction: median" in said
    assert f"objectives=[error,latency_ms] latency_table={path}" in said
    model = tiny_model("bert", num_labels=2, dtype=torch.float32)
    table = load_table(path, Conditions.of(model, SHORT, device="cpu"), sizes=Sizes(4, 4, 10))
    assert table.predict(SubNetwork.uniform(range(4), 4, 10)) > 0
    with pytest.raises(UserError, match="workload 2x8"):
        load_table(path, Conditions.of(model, Workload(), device="cpu"), sizes=Sizes(4, 4, 10))


def test_another_file_and_no_check(supernet_folder, tmp_path, capsys):
    path = run(f"supernet={supernet_folder}", f"output={tmp_path}/new/table.json", "check_subnets=0")
    assert path == tmp_path / "new" / "table.json"
    assert path.exists()
    assert "error of the prediction" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("turns=0", "turns is 0; it must be 1 or more"),
        ("check_subnets=-1", "check_subnets is -1; it must be 0 or more"),
        ("seed=-1", "seed is -1; it must be from 0"),
        ("mixed_precision=fp8", "mixed_precision 'fp8' is unknown"),
        ("workload.length=0", "workload.length is 0; it must be 1 or more"),
        ("workload.lenght=8", "key 'workload.lenght' is unknown; did you mean workload.length"),
        ("workload.length=64", "workload.length is 64, but the model has positions for 40 tokens"),
        ("output=FOLDER", "is a folder; name a file in it"),
        ("output=FOLDER/supernet.json/table.json", "cannot be written; name a file elsewhere with output=FILE"),
        ("supernet=/nowhere", "supernet=/nowhere: there is no such folder"),
    ],
)
def test_mistakes_of_the_command(supernet_folder, override, said):
    with pytest.raises(UserError) as error:
        run(f"supernet={supernet_folder}", override.replace("FOLDER", str(supernet_folder)))
    assert said in one_line(error)
