"""Folders of sub-networks of all families: what stock tools load, natively or with the modelling file."""

import ast
import json
import stat
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForMultipleChoice, AutoModelForSequenceClassification

from supernet.export import verify
from supernet.export.code import CODE_FILE, code_for, is_our_code
from supernet.export.folder import write_model
from supernet.export.plan import plan_of
from supernet.models.slicing import extract
from supernet.options.export import CODE, NATIVE
from supernet.runtime.errors import UserError
from supernet.space.cost import Workload
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.fixtures import read_task
from tests.models import FAMILY_NAMES, VARIANTS, tiny_model

TASK = read_task("sst2", max_length=30)

NOT_FIRST = SubNetwork(
    [
        LayerSlice(0, [1, 3], [0, 2, 9]),
        LayerSlice(1, [0, 1, 2], range(4)),
        LayerSlice(2, [2], range(10)),
        LayerSlice(3, range(4), [5]),
    ]
)
NO_ATTENTION = SubNetwork([LayerSlice(0, [], range(4)), LayerSlice(2, range(2), range(4))])
NO_FEED_FORWARD = SubNetwork(
    [LayerSlice(0, range(2), []), LayerSlice(1, range(2), range(6)), LayerSlice(3, [1, 2], [])]
)
SHALLOW = SubNetwork([LayerSlice(3, range(2), range(5))])
STOCK = SubNetwork([LayerSlice(i, range(4), range(6)) for i in range(2)])
NOTHING = SubNetwork([])
CASES = {
    "heads not first": NOT_FIRST,
    "absent attention": NO_ATTENTION,
    "absent feed-forward": NO_FEED_FORWARD,
    "shallow": SHALLOW,
    "native": STOCK,
    "nothing": NOTHING,
}
ROWS = [["tea"], ["a nice tree in the rain"], ["fog"], ["land"], ["what a long text this is, is it not, is it"]]
CHOICE_ROWS = [[["a tree", "in the rain"], ["a tree", "tea"]], [["fog", "is here"], ["fog", "no"]]]


def logits_of(model, rows, tokenizer):
    """Each row alone, without padding."""
    several = not isinstance(rows[0][0], str)
    with torch.no_grad():
        found = []
        for row in rows:
            texts = list(zip(*row, strict=True)) if several else [[text] for text in row]
            cut = {"truncation": True, "max_length": TASK.max_length}
            inputs = tokenizer(*map(list, texts), return_tensors="pt", padding=True, **cut)
            found.append(model(**{name: t[None] if several else t for name, t in inputs.items()}).logits)
    return torch.cat(found).numpy()


def differences(written, rows, tokenizer, work):
    """The difference of each folder's logits in a fresh process from those of its model."""
    names, folders = list(written), {name: folder for name, (folder, _) in written.items()}
    pairs = [(name, "torch") for name in names]
    seen = verify.observe(folders, pairs, rows, Workload(1, 4), threads=1, work=work)
    return {
        name: verify.difference(seen[name, "torch"].logits, logits_of(written[name][1], rows, tokenizer))
        for name in names
    }


def write_all(root, models, cases, tokenizer):
    """For each model and sub-network, a folder with code or native, and one that is padded if that is possible."""
    written = {}
    for family, model in models.items():
        for case, subnet in cases.items():
            small = extract(model, subnet)
            for layout in ("auto", NATIVE):
                folder = root / f"{family}-{case}-{layout}".replace(", ", "-").replace(" ", "-")
                folder.mkdir()
                try:
                    write_model(folder, small, tokenizer, TASK, layout=layout)
                except UserError:
                    assert layout == NATIVE
                    assert any(layer.absent or layer.norms for layer in plan_of(small).layers), (family, case)
                else:
                    written[folder.name] = (folder, small)
    return written


@pytest.mark.slow
def test_folders_of_all_families_load_in_a_fresh_process(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(verify, "TURNS", 1)
    models = {name: tiny_model(name, dtype=torch.float32) for name in (*FAMILY_NAMES, *VARIANTS)}
    written = write_all(tmp_path, models, CASES, tokenizer)
    # Transformers writes such a configuration and refuses to read it; the check of an export says so.
    written = {name: value for name, value in written.items() if not name.startswith("modernbert-nothing")}
    written = {name: value for name, value in written.items() if not name.startswith("modernbert-biases-nothing")}
    (tmp_path / "work").mkdir()
    found = differences(written, ROWS, tokenizer, tmp_path / "work")
    assert len(found) >= len(models) * (len(CASES) + 2)
    assert {name: difference for name, difference in found.items() if not difference <= 1e-5} == {}


@pytest.mark.slow
def test_folders_of_multiple_choice_load_in_a_fresh_process(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(verify, "TURNS", 1)
    names = [name for name in FAMILY_NAMES if name != "deberta"]  # transformers has no such model
    models = {name: tiny_model(name, dtype=torch.float32, auto=AutoModelForMultipleChoice) for name in names}
    written = write_all(tmp_path, models, {"heads not first": NOT_FIRST}, tokenizer)
    (tmp_path / "work").mkdir()
    found = differences(written, CHOICE_ROWS, tokenizer, tmp_path / "work")
    assert len(found) == 2 * len(models)
    assert {name: difference for name, difference in found.items() if not difference <= 1e-5} == {}


@pytest.fixture
def written(tmp_path, tokenizer):
    def write(family="bert", subnet=NO_FEED_FORWARD, layout="auto", **values):
        model = extract(tiny_model(family, dtype=torch.float32, **values), subnet)
        folder = tmp_path / f"{family}-{layout}"
        folder.mkdir()
        return folder, model, write_model(folder, model, tokenizer, TASK, layout=layout)

    return write


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_without_the_code_nothing_loads_the_weights(written, family, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "n")  # transformers asks in a terminal
    folder, model, layout = written(family)
    assert layout == CODE
    for load in (
        AutoConfig.from_pretrained,
        AutoModelForSequenceClassification.from_pretrained,
        type(model).from_pretrained,
        lambda path: getattr(transformers, type(model.base_model).__name__).from_pretrained(path),
    ):
        with pytest.raises((ValueError, KeyError), match="trust_remote_code"):
            load(folder)


def test_stock_classes_load_what_needs_no_code(written):
    folder, model, layout = written(subnet=STOCK)
    assert layout == NATIVE
    assert not (folder / CODE_FILE).exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.randint(5, 49, (2, 9))
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_native_pads_with_zeros(written):
    folder, model, layout = written(subnet=NOT_FIRST, layout=NATIVE)
    assert layout == NATIVE
    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.randint(5, 49, (2, 9))
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, atol=1e-5, rtol=0)
    assert [layer.intermediate.dense.out_features for layer in loaded.bert.encoder.layer] == [10, 10, 10, 10]
    assert sum(p.numel() for p in loaded.parameters()) > sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("subnet", [NO_ATTENTION, NO_FEED_FORWARD])
def test_native_refuses_what_zeros_cannot_express(written, subnet):
    with pytest.raises(UserError, match=r"layout=native cannot express .* layer \d .* use layout=code"):
        written(subnet=subnet, layout=NATIVE)


def test_the_tokenizer_has_the_tasks_length(written):
    folder, *_ = written()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == TASK.max_length
    assert "local_files_only" not in settings


def test_everybody_may_read_the_files(written):
    folder, *_ = written()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_a_model_that_was_loaded_and_saved_again_still_needs_the_code(written, tmp_path):
    folder, model, _ = written()
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    loaded.save_pretrained(tmp_path / "again")
    with pytest.raises(KeyError, match="trust_remote_code"):
        type(model).from_pretrained(tmp_path / "again")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again", trust_remote_code=True)
    ids = torch.randint(5, 49, (2, 9))
    assert torch.equal(again.eval()(ids).logits, model(ids).logits)


def test_the_modelling_file_imports_torch_and_transformers_alone():
    code = code_for("modernbert", "ModernBertForSequenceClassification")
    found = {(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) for node in imports_in(code)}
    assert found == {"collections.abc", "copy", "typing", "torch", "transformers"}
    assert "Bert" not in code.replace("ModernBert", "")


def imports_in(code):
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / CODE_FILE).write_text((folder / CODE_FILE).read_text() + "\nprint()"),
        lambda folder: (folder / CODE_FILE).unlink(),
        lambda folder: edit(folder, model_type="pruned-other"),
        lambda folder: edit(folder, auto_map={"AutoConfig": "other.PrunedConfig"}),
        lambda folder: edit(folder, auto_map={"AutoConfig": "org/name--modeling_pruned.PrunedConfig"}),
        lambda folder: edit(folder, auto_map={"AutoConfig": "modeling_pruned.org/name--other.PrunedConfig"}),
        lambda folder: edit(folder, auto_map={"AutoConfig": ["modeling_pruned.PrunedConfig"]}),
        lambda folder: edit(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["other.Tokenizer", None]}),
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
    ],
)
def test_only_our_own_code_counts_as_ours(written, change):
    folder, *_ = written("distilbert")
    assert is_our_code(folder)
    change(folder)
    assert not is_our_code(folder)


def edit(folder, name="config.json", **values):
    path = Path(folder) / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
