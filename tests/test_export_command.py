"""`plm-supernet export`: which sub-network it takes, where it goes, and what happens the second time."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from search.choice.choose import choose
from search.choice.select import select
from search.export.chosen import chosen_for
from search.export.export import export, identity_of
from search.export.place import check_same, only_one
from search.export.weights import model_of
from search.options.export import ExportConfig
from search.options.search import SearchConfig
from search.options.select import SelectConfig
from search.rows import load_texts
from search.run import search
from search.run_folder import read_run, supernet_of
from search.trials import read_trials
from supernet.artifact import load_supernet
from supernet.console.config import load_config
from supernet.evaluation.evaluator import Evaluator
from supernet.export import verify
from supernet.export.report import read_report
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from tests.test_exporting import forked


@pytest.fixture(autouse=True)
def _forks_instead_of_interpreters(monkeypatch):
    monkeypatch.setattr(verify, "TURNS", 2)
    monkeypatch.setattr(verify, "run_fresh", forked)


@pytest.fixture(scope="module")
def output(supernet_folder, tmp_path_factory):
    """A folder of all runs: a search, and a baseline that changes weights."""
    output = tmp_path_factory.mktemp("output")
    same = [f"supernet={supernet_folder}", f"output_dir={output}"]
    ways = ["searcher=random", "max_evaluations=8", "name=run"], ["baseline=kwon2022", "baseline.budgets=[0.6,0.3]"]
    for more in ways:
        search(load_config("search", SearchConfig, [*same, *more]))
    return output


@pytest.fixture
def run(output):
    return read_run(output / "search" / "run")


def config(output, *overrides):
    given = [] if any(text.startswith("run=") for text in overrides) else [f"run={output / 'search' / 'run'}"]
    return load_config("export", ExportConfig, [f"output_dir={output}", "workload.length=16", *given, *overrides])


def logits_of(folder, texts, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.no_grad():
        return model(**tokenizer(texts, return_tensors="pt", padding=True)).logits


# Which sub-network


def test_limits_choose_as_select_does(output, run):
    chosen = chosen_for(config(output, "max_params=0.5"))
    assert chosen.subnet == choose(run, {"params": "0.5"}, None).chosen.subnet
    assert chosen.weights == load_supernet(chosen.supernet).weights


def test_a_trial_is_taken_by_its_number(output, run):
    assert chosen_for(config(output, "trial=0")).subnet == run.trials[0].subnet
    assert chosen_for(config(output, "trial=7")).trial == 7


def test_what_select_printed_is_taken_with_its_run(output, run, tmp_path, capsys):
    select(load_config("select", SelectConfig, [f"run={run.folder}", "max_params=0.5", "format=json"]))
    file = tmp_path / "chosen.json"
    file.write_text(capsys.readouterr().out)
    given = load_config("export", ExportConfig, [f"subnet={file}", f"output_dir={tmp_path}"])
    assert chosen_for(given).run.folder == run.folder
    assert chosen_for(given).subnet == chosen_for(config(output, "max_params=0.5")).subnet


def test_a_file_with_a_sub_network_alone_needs_a_place_for_its_weights(output, run, supernet_folder, tmp_path):
    file = tmp_path / "subnet.json"
    file.write_text(json.dumps({"subnet": run.trials[2].subnet.to_json()}))
    alone = load_config("export", ExportConfig, [f"subnet={file}"])
    with pytest.raises(UserError, match="names no run and no supernet; name one of them with run=FOLDER or supernet="):
        chosen_for(alone)
    of_supernet = chosen_for(replace(alone, supernet=str(supernet_folder)))
    assert (of_supernet.subnet, of_supernet.run, of_supernet.weights) == (run.trials[2].subnet, None, None)
    assert chosen_for(replace(alone, run=str(run.folder))).trial == 2


def test_a_file_outlives_its_run_only_if_the_supernet_has_the_weights(run, supernet_folder, tmp_path):
    file = tmp_path / "chosen.json"
    values = {"subnet": run.trials[2].subnet.to_json(), "run": str(tmp_path / "gone"), "weights": run.info.weights}
    file.write_text(json.dumps(values | {"supernet": str(supernet_folder), "kind": "search"}))
    given = load_config("export", ExportConfig, [f"subnet={file}"])
    assert (chosen_for(given).run, chosen_for(given).weights) == (None, run.info.weights)
    file.write_text(json.dumps(values | {"supernet": str(supernet_folder), "kind": "baseline"}))
    with pytest.raises(
        UserError, match=r"needs the weights of run .*gone, which is not there; name it with run=FOLDER"
    ):
        chosen_for(given)


def test_a_file_of_a_run_is_not_taken_for_one_of_another_mode(output, run, tmp_path):
    file, (pruned,) = tmp_path / "chosen.json", output.glob("search/*kwon2022*")
    values = {"subnet": read_run(pruned).trials[0].subnet.to_json(), "weights": run.info.weights}
    file.write_text(json.dumps(values | {"kind": "baseline"}))
    with pytest.raises(UserError, match=r"about a run of mode baseline, but .*run is of mode search, where .*other w"):
        chosen_for(config(output, f"subnet={file}"))
    assert chosen_for(config(output, f"subnet={file}", f"run={pruned}")).run.folder == pruned


def test_folders_that_were_moved_together_are_found(output, run, supernet_folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run.folder, moved / "search" / "run")
    shutil.copytree(supernet_folder.parent, moved / "train" / supernet_folder.parent.name)
    told = json.loads((moved / "search" / "run" / "run.json").read_text())
    told["supernet"] = str(tmp_path / "gone" / supernet_folder.parent.name / "supernet")
    (moved / "search" / "run" / "run.json").write_text(json.dumps(told))
    found = chosen_for(load_config("export", ExportConfig, [f"output_dir={moved}", "trial=1"]))  # the newest run
    assert found.supernet == moved / "train" / supernet_folder.parent.name / "supernet"
    shutil.rmtree(moved / "train")
    with pytest.raises(UserError, match=r"the supernet of .* is gone"):
        chosen_for(load_config("export", ExportConfig, [f"output_dir={moved}", "trial=1"]))
    named = load_config("export", ExportConfig, [f"output_dir={moved}", "trial=1", f"supernet={supernet_folder}"])
    assert chosen_for(named).supernet == supernet_folder


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], r"no budget is given; for example max_params=0.5 .*trial=N or subnet=FILE.json"),
        (["max_params=0.5", "trial=1"], r"max_params=0.5 and trial=1 choose in different ways; give limits, or"),
        (["subnet=a.json", "trial=1"], r"subnet=a.json and trial=1 choose in different ways"),
        (["trial=-1"], r"trial is -1; it must be 0 or more"),
        (["max_params=half"], r"max_params is 'half'; it must be a positive number"),
        (["max_params=0.5", "layout=stock"], r"layout 'stock' is unknown; allowed: auto, code, native"),
        (["max_params=0.5", "formats=onyx"], r"formats 'onyx' is unknown; allowed: .*did you mean onnx"),
        (["max_params=0.5", "formats=[onnx,onnx]"], r"formats names a format twice"),
        (["max_params=0.5", "name=.."], r"name is '..'; it must name a folder"),
        (["max_params=0.5", "threads=0"], r"threads is 0; it must be 1 or more"),
        (["max_params=0.5", "workload.length=0"], r"workload.length is 0; it must be 1 or more"),
        (["max_params=0.5", "finetune.targets=all"], r"finetune.targets 'all' is unknown"),
    ],
)
def test_options_that_cannot_be_are_one_line(overrides, line):
    with pytest.raises(UserError, match=line):
        load_config("export", ExportConfig, overrides)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trial=8"], r"run has no trial 8; its trials have the numbers 0 to 7"),
        (["max_latency_ms=5"], r"latency_ms"),
        (["subnet=nowhere.json"], r"nowhere.json cannot be used \(No such file .*; give what .*select max_params=0.5 "),
        (["trial=1", "workload.length=500"], r"workload.length is 500, but the model has positions for 160 tokens"),
        (["trial=1", "supernet=nowhere"], r"supernet=nowhere: there is no such folder"),
        (["trial=1", "data.dir=nowhere"], r"nowhere"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_no_folder(overrides, line, output):
    before = sorted(output.glob("export/**"))
    with pytest.raises(UserError, match=line):
        export(config(output, *overrides))
    assert [path for path in output.glob("export/*") if path not in before] == []


def test_a_failed_trial_and_a_sub_network_of_another_model_are_refused(output, run, supernet_folder, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    failed = json.loads(lines[1]) | {"metrics": None, "failure": "RuntimeError: out of memory"}
    (folder / "trials.jsonl").write_text("".join([lines[0], json.dumps(failed) + "\n", *lines[2:]]))
    with pytest.raises(UserError, match=r"trial 1 of .* failed: RuntimeError: out of memory; take another one"):
        chosen_for(config(output, f"run={folder}", "trial=1"))
    file = tmp_path / "large.json"
    file.write_text('{"subnet": [[7, 4, 10]]}')
    with pytest.raises(UserError, match=r"does not fit the supernet in .*: it has layers up to number 8"):
        export(config(output, f"subnet={file}", f"supernet={supernet_folder}"))


# Where it goes, and what is in it


def test_the_folder_has_the_sub_network_and_says_where_it_is_from(output, run, supernet_folder, capsys):
    folder = export(config(output, "trial=2"))
    said = capsys.readouterr().out
    report, supernet = read_report(folder), load_supernet(supernet_folder)
    rows, data = load_texts(supernet, config(output, "trial=2").data)
    texts = rows.test.columns[0][:10]
    inputs = supernet.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = extract(supernet.model, run.trials[2].subnet)(**inputs).logits
    torch.testing.assert_close(logits_of(folder, texts, supernet.tokenizer), expected, atol=1e-5, rtol=0)
    share = run.trials[2].outcome.metrics["params_share"]
    assert folder.parent == output / "export"
    assert folder.name.startswith(f"run-{100 * share:.0f}pct-")
    origin = {"supernet": supernet_folder.parent.name, "weights": supernet.weights, "run": "run", "trial": 2}
    assert origin.items() <= report.origin.items()
    assert report.files[0].metric == Evaluator(data.test, data.task, supernet.tokenizer).score(
        extract(supernet.model, run.trials[2].subnet)
    )
    assert str(output) not in (folder / "export.json").read_text()  # it may be published
    assert "model.safetensors" in said
    assert f"the model is in {folder}" in said
    assert {path.name for path in (output / "export").iterdir() if path.name.startswith(".")} == set()


def test_the_same_command_again_finds_the_folder(output, monkeypatch, capsys):
    folder = export(config(output, "trial=3"))
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    monkeypatch.setattr("search.export.export.export_model", None)
    capsys.readouterr()
    assert export(config(output, "trial=3")) == folder
    said = capsys.readouterr().out
    assert f"{folder} is there already; overwrite=true exports it again" in said
    assert "model.safetensors" in said
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    chosen = chosen_for(config(output, "trial=3"))
    file = output / "same.json"
    file.write_text(json.dumps({"subnet": chosen.subnet.to_json()}))
    assert export(config(output, f"subnet={file}")) == folder  # another way to choose the same
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"model.safetensors is not the file that was verified; export .* overwrite="):
        export(config(output, "trial=3"))


@pytest.mark.slow
def test_another_choice_under_the_same_name_is_refused(output, tmp_path):
    folder = export(config(output, "trial=2", "name=mine"))
    assert folder == output / "export" / "mine"
    with pytest.raises(UserError, match=r"mine holds another export: subnet is .*, was .*; export it again with over"):
        export(config(output, "trial=3", "name=mine"))
    with pytest.raises(UserError, match=r"mine holds another export: threads is 1, was null; export it again"):
        export(config(output, "trial=2", "name=mine", "threads=1"))
    with pytest.raises(
        UserError, match=r": formats is \[onnx\], was \[\]; finetune.epochs is 2, was 0; export it again"
    ):
        export(config(output, "trial=2", "name=mine", "formats=[onnx]", "finetune.epochs=2"))
    export(config(output, "trial=3", "name=mine", "overwrite=true"))
    assert read_report(folder).origin["trial"] == 3


def test_a_folder_that_is_no_export_is_never_replaced(output):
    folder = output / "export" / "photographs"
    folder.mkdir(parents=True)
    (folder / "tree.jpg").write_text("a tree")
    for more in ([], ["overwrite=true"]):
        with pytest.raises(UserError, match="is not an export folder, so it is not replaced; give another name=NAME"):
            export(config(output, "trial=2", "name=photographs", *more))
    assert (folder / "tree.jpg").read_text() == "a tree"


def test_several_processes_are_refused(output, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="export runs in one process; start it without accelerate launch"):
        export(config(output, "trial=2"))


@pytest.mark.slow
def test_names_differ_with_all_that_the_files_depend_on(output, monkeypatch):
    names = set()
    monkeypatch.setattr("search.export.export.export_model", lambda folder, *_: names.add(folder.name))
    monkeypatch.setattr("search.export.export.check_same", lambda *_, **__: False)
    monkeypatch.setattr("search.export.export._show", lambda *_: None)
    different = [["trial=2"], ["trial=3"], ["trial=2", "layout=code"], ["trial=2", "threads=1"]]
    different += [["trial=2", "workload.batch_size=2"]]
    for overrides in different:
        export(config(output, *overrides))
    assert len(names) == len(different)
    export(config(output, "trial=2", "seed=4", "max_format_loss=0.5"))  # nothing is trained, and there is no format
    assert len(names) == len(different)


@pytest.mark.slow
def test_the_weights_of_a_baseline_are_those_that_it_evaluated(output, supernet_folder):
    (folder,) = (path for path in (output / "search").iterdir() if path.name != "run")
    supernet, trial = load_supernet(supernet_folder), read_trials(folder / "trials.jsonl")[1]
    exported = export(config(output, f"run={folder}", "trial=1"))
    report, texts = read_report(exported), ["nice tree", "rain land fog"]
    assert 1 - report.files[0].validation == pytest.approx(trial.outcome.metrics["error"])
    model = model_of(read_run(folder), trial.subnet, supernet)
    inputs = supernet.tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        tuned, plain = model(**inputs).logits, extract(supernet.model, trial.subnet)(**inputs).logits
    found = logits_of(exported, texts, supernet.tokenizer)
    torch.testing.assert_close(found, tuned, atol=1e-5, rtol=0)
    assert (found - plain).abs().max() > 1e-3
    assert report.origin["identity"]["own_weights"] is not None


def test_a_push_is_checked_first_and_made_last(output, monkeypatch, capsys):
    for wrong, line in (("mine", "push=mine is no name of a repository"), ("me/mine", "needs a token of the hub")):
        monkeypatch.setattr("supernet.export.push.get_token", lambda: None)
        with pytest.raises(UserError, match=line):
            export(config(output, "trial=9", f"push={wrong}"))
    with pytest.raises(UserError, match="dry_run=true shows what would be uploaded; say where to with push=OWNER/NAME"):
        config(output, "trial=2", "dry_run=true")
    folder = export(config(output, "trial=2", "push=me/mine", "dry_run=true"))
    said = capsys.readouterr().out
    assert said.index(f"the model is in {folder}") < said.index("would push")
    assert "me/mine (private)" in said


TRAINING = ["trial=2", "finetune.epochs=2", "finetune.learning_rate=1e-2", "finetune.batch_size=8"]


def test_what_was_trained_alone_is_exported_if_it_is_better(output, run, supernet_folder):
    folder, texts = export(config(output, *TRAINING)), ["nice tree", "rain land fog"]
    report, finished = read_report(folder), read_report(folder).origin["finished"]
    assert finished["better"]
    assert finished["epoch"] > 0
    assert finished["error_before"] == run.trials[2].outcome.metrics["error"] >= finished["error_after"]
    assert report.files[0].validation == pytest.approx(1 - finished["error_after"])
    untrained, supernet = export(config(output, "trial=2")), load_supernet(supernet_folder)
    assert read_report(untrained).origin["finished"] is None
    trained, plain = (logits_of(path, texts, supernet.tokenizer) for path in (folder, untrained))
    assert (trained - plain).abs().max() > 0.01
    assert list((output / "export").glob(".*")) == []


@pytest.mark.slow
def test_the_best_finalist_after_training_is_exported(output, run, capsys):
    limit, training = "max_params=0.9", ["finetune.epochs=1", "finetune.batch_size=8", "finetune.finalists=3"]
    choice = choose(run, {"params": "0.9"})
    shares = [e.metrics["params_share"] for e in choice.finalists]
    assert choice.finalists[0] == choice.chosen
    assert len(shares) > 1
    assert max(shares) == choice.largest.metrics["params_share"]
    folder = export(config(output, limit, *training))
    report = read_report(folder)
    told = report.origin["finalists"]
    assert [one["params_share"] for one in told] == pytest.approx(shares)
    best = min(one["error_after"] for one in told)
    assert report.origin["finished"]["error_after"] == best
    assert report.params_share in [one["params_share"] for one in told if one["error_after"] == best]
    assert f"finalist {len(shares)} of {len(shares)}" in capsys.readouterr().out
    assert export(config(output, limit, *training)) == folder
    assert "is there already" in capsys.readouterr().out
    assert export(config(output, limit, *training, "finetune.finalists=1")) != folder


def test_a_larger_limit_of_the_error_is_another_export(run):
    """It may decide otherwise among the same finalists."""
    supernet, keys, found = load_supernet(supernet_of(run)), [], []
    for limit in ("0.6", "0.61"):
        options = config(run.folder.parent.parent, f"max_error_increase={limit}", "finetune.epochs=1")
        chosen = chosen_for(options)
        full = chosen.choice.full
        finalists = [chosen.choice.chosen, full]
        chosen = replace(chosen, choice=replace(chosen.choice, finalists=finalists))
        options = replace(options, finetune=replace(options.finetune, finalists=2))
        keys.append(identity_of(options, chosen, supernet))
        found.append(finalists)
    assert found[0] == found[1]
    assert keys[0] != keys[1]


@pytest.mark.slow
def test_a_training_that_has_ended_is_not_repeated_if_the_export_fails(output, monkeypatch):
    given = config(output, *TRAINING, "seed=1", "name=again")

    def fails(*_):
        raise UserError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("search.export.export.export_model", fails)
        with pytest.raises(UserError, match="the disk is full"):
            export(given)
    assert not (output / "export" / "again").exists()
    assert (output / "export" / ".work-again").is_dir()
    monkeypatch.setattr("supernet.training.finish._Job.train", fails)
    folder = export(given)
    assert read_report(folder).origin["finished"]["better"]
    assert not (output / "export" / ".work-again").exists()


# The work folder


def make_twice(folder):
    """Makes the folder, then fails."""
    for _ in range(2):
        folder.mkdir()


def test_an_unfinished_training_stays_and_everything_else_goes(tmp_path):
    folder = tmp_path / "export" / "mine"
    with pytest.raises(UserError, match="stop"), only_one(folder):
        raise UserError("stop")
    assert list(folder.parent.iterdir()) == []
    with pytest.raises(FileExistsError), only_one(folder) as work:
        make_twice(work)
    with only_one(folder) as work:
        assert work.exists()
    assert list(folder.parent.iterdir()) == []


def test_two_processes_do_not_export_to_the_same_folder(tmp_path):
    folder = tmp_path / "mine"
    with (
        only_one(folder),
        pytest.raises(UserError, match=r"another process is writing in .*work-mine; wait until it has ended"),
        only_one(folder),
    ):
        pass
    with only_one(folder), only_one(tmp_path / "other"):
        pass


def test_what_a_killed_export_left_is_removed_and_not_what_others_write(tmp_path):
    ours = [tmp_path / ".mine.a1b2c3d4.partial", tmp_path / ".mine.a1b2c3d4.old"]
    theirs = [tmp_path / f".mine.{name}.a1b2c3d4.partial" for name in ("too", "20261125")]  # of exports mine.too, ...
    for folder in (*ours, *theirs):
        folder.mkdir()
    with only_one(tmp_path / "mine"):
        assert not any(folder.exists() for folder in ours)
    assert all(folder.exists() for folder in theirs)


@pytest.mark.slow
def test_an_export_without_its_identity_is_another_one(output):
    folder = export(config(output, "trial=2", "name=old"))
    values = json.loads((folder / "export.json").read_text())
    identity = values["origin"].pop("identity")
    assert check_same(folder, identity, overwrite=False)
    (folder / "export.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"old holds another export: weights is .*, was null"):
        check_same(folder, identity, overwrite=False)
