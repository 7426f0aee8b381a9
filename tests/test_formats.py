"""Files of exported models: ONNX, int8, OpenVINO."""

import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultipleChoice

from supernet.export import formats, onnx
from supernet.export.formats import FORMATS, check_packages
from supernet.models.slicing import extract
from supernet.runtime.errors import UserError
from supernet.space.subnetwork import LayerSlice, SubNetwork
from tests.models import FAMILY_NAMES, VARIANTS, split_of, tiny_model

pytest.importorskip("nncf")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")
ov = pytest.importorskip("openvino")

POSITIONS = 140
PAD = 1

SUBNETS = {
    "full": SubNetwork.uniform(range(4), 4, 10),
    "heads not first": SubNetwork(
        [LayerSlice(0, (1, 3), (0, 2, 5)), LayerSlice(2, (2,), range(4)), LayerSlice(3, range(4), range(10))]
    ),
    "absent attention": SubNetwork(
        [LayerSlice(0, (), range(5)), LayerSlice(1, range(2), range(10)), LayerSlice(3, (), range(3))]
    ),
    "absent feed-forward": SubNetwork([LayerSlice(0, range(2), ()), LayerSlice(2, (0, 3), ())]),
    "shallow": SubNetwork([LayerSlice(3, (1,), range(3))]),
    "no layers": SubNetwork([]),
}

IN_EVERY_RUN = ("modernbert", "shallow")
CASES = [
    pytest.param(*case, marks=pytest.mark.slow if case == IN_EVERY_RUN else pytest.mark.nightly)
    for case in itertools.product([*FAMILY_NAMES, *VARIANTS], SUBNETS)
]
SHAPES = [(rows, length) for rows in (1, 2, 5) for length in (1, 2, 7, 8, 9, 128)]
"""Among them are those of the export's own example, and those that torch may take for constants."""


def small_model(family, subnet, **values):
    model = tiny_model(family, dtype=torch.float32, max_position_embeddings=POSITIONS, **values)
    return extract(model, SUBNETS[subnet]).eval()


def padded_inputs(model, *shape):
    """Random tokens. Each row is padded more than the row before it; no row is empty."""
    rng = np.random.default_rng(0)
    kept = [max(1, shape[-1] - row * shape[-1] // shape[0]) for row in range(shape[0])]
    mask = np.stack([np.broadcast_to(np.arange(shape[-1]) < n, shape[1:]) for n in kept]).astype(np.int64, order="C")
    ids = np.where(mask, rng.integers(5, 50, shape), PAD)
    values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": rng.integers(0, 2, shape)}
    return {name: values[name] for name in onnx.input_names(model)}


def torch_logits(model, inputs):
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()


def session_of(file):
    return ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def difference(session, model, *shape):
    inputs = padded_inputs(model, *shape)
    got, wanted = session.run(None, inputs)[0], torch_logits(model, inputs)
    assert got.shape == wanted.shape
    return np.abs(got - wanted).max()


@pytest.mark.parametrize(("family", "subnet"), CASES)
def test_onnx_computes_what_torch_computes_at_every_batch_and_length(tmp_path, family, subnet):
    model = small_model(family, subnet)
    FORMATS["onnx"].write(tmp_path, model, split_of(), PAD)
    session = session_of(tmp_path / FORMATS["onnx"].file)
    worst = max(difference(session, model, *shape) for shape in SHAPES)
    assert worst <= FORMATS["onnx"].tolerance


@pytest.mark.nightly
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_onnx_of_multiple_choice_takes_any_number_of_choices(tmp_path, family):
    model = small_model(family, "heads not first", auto=AutoModelForMultipleChoice)
    FORMATS["onnx"].write(tmp_path, model, split_of(choices=3), PAD)
    session = session_of(tmp_path / FORMATS["onnx"].file)
    shapes = itertools.product((1, 2, 5), (1, 2, 3, 4), (1, 7, 8, 128))
    assert max(difference(session, model, *shape) for shape in shapes) <= FORMATS["onnx"].tolerance


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A sub-network of BERT and a folder with all its formats."""
    folder, model = tmp_path_factory.mktemp("export"), small_model("bert", "absent feed-forward")
    for row in FORMATS.values():
        row.write(folder, model, split_of(rows=40), PAD)
    return model, folder


@pytest.mark.slow
def test_formats_are_close_to_torch(exported):
    model, folder = exported
    session = session_of(folder / FORMATS["onnx"].file)
    assert max(difference(session, model, *shape) for shape in SHAPES) <= FORMATS["onnx"].tolerance
    inputs = padded_inputs(model, 5, 20)
    wanted = torch_logits(model, inputs)
    for got in (session_of(folder / FORMATS["int8"].file).run(None, inputs)[0], openvino_of(folder)(inputs)[0]):
        assert 0 < np.abs(got - wanted).mean() < 0.35 * np.abs(wanted).mean()


def openvino_of(folder):
    return ov.Core().compile_model(folder / FORMATS["openvino"].file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.slow
def test_padding_changes_nothing_in_openvino(exported):
    """A mask whose range came from rows without padding would let rows see their padding."""
    model, folder = exported
    run = openvino_of(folder)
    inputs = padded_inputs(model, 1, 9)
    longer = {name: np.pad(array, ((0, 0), (0, 30))) for name, array in inputs.items()}
    assert np.abs(run(inputs)[0] - run(longer)[0]).max() < 1e-5


@pytest.mark.slow
def test_openvino_refuses_more_tokens_than_there_are_positions(exported):
    model, folder = exported
    run = openvino_of(folder)
    assert run(padded_inputs(model, 2, POSITIONS))[0].shape == (2, 3)
    with pytest.raises(RuntimeError, match=r"140"):
        run(padded_inputs(model, 2, POSITIONS + 1))


@pytest.mark.slow
def test_files_hold_nothing_of_the_machine(exported):
    model, folder = exported
    assert model.config._attn_implementation == "sdpa"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {*(row.file for row in FORMATS.values()), "openvino/openvino_model.bin"}
    for name in names:
        content = (folder / name).read_bytes()
        assert not [trace for trace in (b"site-packages", b"modeling_", str(folder).encode()) if trace in content]


@pytest.mark.slow
def test_weights_that_do_not_fit_into_a_file_of_onnx_lie_beside_it(exported, tmp_path, monkeypatch, capfd):
    """The ONNX file that int8 is made of is not kept here, nor is anything else."""
    model, folder = exported
    small, temporary = tmp_path / "small", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(onnx, "LARGEST", 0)
    FORMATS["int8"].write(small, model, split_of(), PAD)
    assert {path.name for path in (small / "onnx").iterdir()} == {"model_int8.onnx", "model_int8.onnx.data"}
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    inputs = padded_inputs(model, 2, 9)
    parted, whole = (session_of(where / FORMATS["int8"].file).run(None, inputs)[0] for where in (small, folder))
    np.testing.assert_allclose(parted, whole, atol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named_before_any_work(monkeypatch):
    check_packages(FORMATS)
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name in ("openvino", "nncf") else "there")
    check_packages(["onnx", "int8"])
    with pytest.raises(UserError) as caught:
        check_packages(["onnx", "openvino"])
    assert str(caught.value) == (
        "formats=openvino needs openvino and nncf, which this Python does not have; install them with: "
        'pip install "plm-supernet[openvino]"'
    )
    with pytest.raises(UserError, match="format 'onx' is unknown; allowed: int8, onnx, openvino"):
        check_packages(["onx"])


@pytest.mark.slow
def test_engines_do_not_report_to_their_makers(tmp_path):
    """Each writes an identifier of the machine into the home directory before it reports."""
    code = "from supernet.export.engines import no_telemetry; no_telemetry(); import onnxruntime, openvino"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **home}, timeout=100)
    assert not list(tmp_path.iterdir())
