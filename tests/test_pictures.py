"""Pictures are files, whatever the environment says of windows."""

import os
import subprocess
import sys

import pytest

from supernet.runtime.pictures import new_figure, save_figure

DRAW = """
import os, sys
from pathlib import Path
from supernet.runtime.pictures import new_figure, save_figure
save_figure(new_figure(1, 1), Path(sys.argv[1]))
assert os.environ["MPLBACKEND"] == "nonsense"
"""


@pytest.mark.pictures
@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_the_name_says_the_format(kind, begins, tmp_path):
    for name in ("one", "two"):
        figure = new_figure(2, 1)
        figure.subplots().plot([1, 2])
        save_figure(figure, tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes().startswith(begins)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"one.{kind}", f"two.{kind}"]


def test_a_backend_that_there_is_not_does_no_harm(tmp_path):
    command = [sys.executable, "-c", DRAW, str(tmp_path / "picture.png")]
    done = subprocess.run(command, env=os.environ | {"MPLBACKEND": "nonsense"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").exists()
