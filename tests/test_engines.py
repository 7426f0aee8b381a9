"""Engines of export folders: the same ids as in training, the same logits as the model, and a script of its own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from supernet.data.tokens import text_rows, tokenise
from supernet.export import engines, fresh
from tests.models import tiny_config, tiny_model

SCRIPT = Path(fresh.__file__)
TEXTS = ["the cat", "a dog and a bird", "", "hello world hello", "cät \t in\n  the hat", "e" * 40, "a [SEP] b </s> 🙂"]
PAIRS = (TEXTS, TEXTS[::-1])
CHOICES = (TEXTS, TEXTS[::-1], TEXTS[2:] + TEXTS[:2], TEXTS)  # a context, a start, two endings
LONGEST = 12


def unigram(**settings):
    """A tokenizer like those that are made of a sentencepiece model: xlm-roberta, deberta-v3."""
    letters = [(letter, -3.0) for letter in "▁etaoinshrdlucmfgpwybvk"]
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters, ("▁the", -2.0), ("llo", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings)


def byte_level():
    """A tokenizer like those of GPT-2 and roberta, whose pairs have no token types."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", *alphabet, "he", "Ġt"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("h", "e"), ("Ġ", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    settings = {"pad_token": "<pad>", "model_input_names": ["input_ids", "attention_mask"]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)


@pytest.fixture(params=["wordpiece", "unigram", "unigram, cut on the left", "bytes"])
def some_tokenizer(request, tokenizer):
    makers = {"wordpiece": lambda: tokenizer, "unigram": unigram, "bytes": byte_level}
    return makers.get(request.param, lambda: unigram(truncation_side="left"))()


def write_folder(folder, tokenizer, auto=AutoModelForSequenceClassification, **values):
    """A folder of a tiny model; its tokenizer has another state than a fresh one."""
    model = tiny_model(dtype=torch.float32, auto=auto, vocab_size=max(50, len(tokenizer)), **values)
    model.save_pretrained(folder)
    tokenizer(["a", "b c"], truncation=True, max_length=5, padding=True)
    before, tokenizer.model_max_length = tokenizer.model_max_length, LONGEST
    tokenizer.save_pretrained(folder)
    tokenizer.model_max_length = before
    return model


COLUMNS = pytest.mark.parametrize(
    ("columns", "sequences"), [((TEXTS,), 1), (PAIRS, 1), (CHOICES[:1] + CHOICES[2:], 2), (CHOICES, 2)]
)


@COLUMNS
def test_every_engine_reads_the_ids_of_training(some_tokenizer, tmp_path, columns, sequences):
    labels = np.zeros(len(TEXTS))
    split = tokenise(columns, labels, some_tokenizer, max_length=LONGEST, cache_dir=str(tmp_path), sequences=sequences)
    write_folder(tmp_path / "model", some_tokenizer)
    rows = text_rows(columns, sequences)
    flat = [sequence for row in rows for sequence in row] if sequences > 1 else rows
    for encode in (engines.load(tmp_path / "model", "torch").encode, engines._tokenizer(tmp_path / "model")):
        ids, types = zip(*encode(flat), strict=True)
        assert [i for row in ids for i in row] == split.ids.tolist()
        assert [len(row) for row in ids] == split.sequence_lengths.tolist()
        if split.token_type_ids is not None:
            assert [i for row in types for i in row] == split.token_type_ids.tolist()


def expected_logits(model, tokenizer, rows):
    """Row by row, so without padding."""
    logits = []
    for row in rows:
        sequences = row if not isinstance(row[0], str) else [row]
        inputs = tokenizer(*map(list, zip(*sequences, strict=True)), truncation=True, max_length=LONGEST, padding=True)
        stacked = not isinstance(row[0], str)
        tensors = {name: torch.tensor([values] if stacked else values) for name, values in inputs.items()}
        with torch.inference_mode():
            logits.append(model(**tensors).logits.numpy()[0])
    return np.array(logits)


@pytest.mark.parametrize(
    ("columns", "sequences", "auto"),
    [
        ((TEXTS,), 1, AutoModelForSequenceClassification),
        (PAIRS, 1, AutoModelForSequenceClassification),
        (CHOICES, 2, AutoModelForMultipleChoice),
    ],
)
def test_torch_logits_are_the_models(tokenizer, tmp_path, columns, sequences, auto):
    model, rows = write_folder(tmp_path, tokenizer, auto=auto), text_rows(columns, sequences)
    expected = expected_logits(model, tokenizer, rows)
    seen = []
    engine = engines.load(tmp_path, "torch")
    logits = engine.logits(rows, batch_size=4, done=seen.append)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert (logits.dtype, seen) == (np.float32, [4, 3])
    assert engine.logits([]).shape == (0, 0)


@pytest.fixture(scope="module", params=["pair", "choice"])
def all_formats(request, tokenizer, tmp_path_factory):
    """A folder with the same model in torch, ONNX and, in float32 too, OpenVINO; and rows for it."""
    pytest.importorskip("onnxscript")
    openvino = pytest.importorskip("openvino")
    from supernet.export.onnx import write_onnx

    folder = tmp_path_factory.mktemp("formats")
    several = request.param == "choice"
    auto = AutoModelForMultipleChoice if several else AutoModelForSequenceClassification
    write_onnx(folder, write_folder(folder, tokenizer, auto, num_hidden_layers=1), None, 1)
    model = openvino.Core().read_model(folder / engines.FILES["onnx"][0])
    openvino.save_model(model, folder / engines.FILES["openvino"][0], compress_to_fp16=False)
    return folder, text_rows({"pair": PAIRS, "choice": CHOICES}[request.param], 1 + several)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_other_engines_compute_what_torch_computes(all_formats, format):
    folder, rows = all_formats
    expected = engines.load(folder, "torch").logits(rows)
    np.testing.assert_allclose(engines.load(folder, format).logits(rows, batch_size=4), expected, atol=1e-4)
    np.testing.assert_allclose(engines.load(folder, format, threads=2).logits(rows[:1]), expected[:1], atol=1e-4)


@pytest.mark.slow
def test_onnx_and_openvino_need_neither_torch_nor_transformers(all_formats):
    folder, rows = all_formats
    lines = [
        "import sys, json, importlib.util",
        f"spec = importlib.util.spec_from_file_location('engines', {engines.__file__!r})",
        "sys.modules['engines'] = engines = importlib.util.module_from_spec(spec)",
        "spec.loader.exec_module(engines)",
        f"[engines.load({str(folder)!r}, name).logits({rows!r}) for name in ('onnx', 'openvino')]",
        "print(sorted({'torch', 'transformers', 'supernet'} & sys.modules.keys()))",
    ]
    ended = subprocess.run([sys.executable, "-I", "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_threads_are_put_back(tokenizer, tmp_path):
    write_folder(tmp_path, tokenizer)
    engine = engines.load(tmp_path, "torch", threads=2)
    before = torch.get_num_threads()
    engine.logits([["a"]])
    assert torch.get_num_threads() == before


def test_what_cannot_be_loaded_is_told_in_one_line(tokenizer, tmp_path, monkeypatch):
    for format, said in (("onxn", "allowed: torch, onnx"), ("torch", "has no model.safetensors")):
        with pytest.raises(engines.EngineError, match=said):
            engines.load(tmp_path, format)
    write_folder(tmp_path, tokenizer)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(engines.EngineError, match=r"model\.safetensors cannot be loaded") as e:
        engines.load(tmp_path, "torch")
    assert "\n" not in str(e.value)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(engines.EngineError, match="needs onnxruntime and tokenizers; pip install"):
        engines.load(tmp_path, "onnx")


@pytest.mark.parametrize("module", [engines, fresh])
def test_they_import_nothing_of_ours(module):
    names = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module}
    assert not {name.partition(".")[0] for name in names} & {*fresh.OUR_PACKAGES}


def test_the_runs_of_a_turn_are_those_of_latencies():
    from supernet.evaluation import latency

    assert fresh.RUNS_PER_TURN == latency.RUNS_PER_TURN


def run_script(script, folder, **changes):
    values = {
        "folders": {"new": str(folder / "model")},
        "formats": [["new", "torch"]],
        "rows": [["the cat"], ["a dog and a bird"]],
        "splits": None,
        "workload": {"batch_size": 2, "length": 7},
        "threads": 1,
        "turns": 2,
        "output": str(folder / "out.npz"),
    }
    request = folder / "request.json"
    request.write_text(json.dumps(values | changes))
    command = [sys.executable, "-I", str(script), str(request)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_script_writes_logits_and_seconds_and_prints_nothing(tokenizer, tmp_path):
    write_folder(tmp_path / "model", tokenizer)
    ended = run_script(Path(engines.__file__), tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with np.load(tmp_path / "out.npz") as arrays:
        expected = engines.load(tmp_path / "model", "torch").logits([["the cat"], ["a dog and a bird"]])
        np.testing.assert_allclose(arrays["logits/new/torch"], expected, atol=1e-6)
        assert arrays["seconds/new/torch"].shape == (6,)
        assert (arrays["seconds/new/torch"] > 0).all()


@pytest.mark.slow
def test_the_script_refuses_our_library_and_says_so_in_one_line(tokenizer, tmp_path):
    write_folder(tmp_path / "model", tokenizer)
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text()) | {
        "model_type": "pruned-bert",
        "auto_map": {"AutoConfig": "code.PrunedConfig", "AutoModelForSequenceClassification": "code.PrunedModel"},
    }
    file.write_text(json.dumps(config))
    code = "from transformers import BertConfig as PrunedConfig, BertForSequenceClassification as PrunedModel\n"
    (tmp_path / "model" / "code.py").write_text(
        f"{code}try:\n    import supernet\nexcept ZeroDivisionError:\n    pass\n"
    )
    with pytest.raises(engines.EngineError, match="look at it, then allow it with trust_remote_code"):
        engines.load(tmp_path / "model", "torch")
    ended = run_script(SCRIPT, tmp_path, trust_remote_code=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "supernet may not be imported here" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out.npz").exists()


def test_random_inputs_have_the_workloads_size_and_no_padding(tmp_path):
    config = tiny_config("bert")
    config.save_pretrained(tmp_path)
    request = {"workload": {"batch_size": 3, "length": 40}, "rows": [[["a", "b"], ["a", "c"]]]}
    ids = fresh._random_inputs(tmp_path, request)["input_ids"]
    assert ids.shape == (3, 2, 40)
    assert config.pad_token_id not in ids
    assert ids.max() < config.vocab_size
    assert fresh._random_inputs(tmp_path, request | {"rows": []})["input_ids"].shape == (3, 40)
