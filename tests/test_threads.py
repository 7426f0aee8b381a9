"""torch's threads wait asleep, unless the user has chosen otherwise."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supernet.runtime.threads import SPIN_COUNT, sleep_while_waiting

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "chosen",
    [
        {"GOMP_SPINCOUNT": "30"},
        {"OMP_WAIT_POLICY": "ACTIVE"},
        {"LD_PRELOAD": "/usr/lib/libjemalloc.so:/opt/intel/libiomp5.so"},
        {"LD_PRELOAD": "/usr/lib/llvm/libomp.so.5"},
    ],
)
def test_what_the_user_has_chosen_stays(chosen):
    environment = dict(chosen)
    sleep_while_waiting(environment)
    assert environment == chosen


@pytest.mark.parametrize("others", [{}, {"KMP_BLOCKTIME": "1"}, {"LD_PRELOAD": "/usr/lib/libjemalloc.so"}])
def test_else_they_sleep(others):
    """Also under `accelerate launch --cpu`, which sets KMP_BLOCKTIME whether or not a library is there to read it."""
    environment = dict(others)
    sleep_while_waiting(environment)
    assert environment == others | {"GOMP_SPINCOUNT": SPIN_COUNT}


@pytest.mark.skipif(sys.platform != "linux", reason="torch has libgomp on Linux alone")
@pytest.mark.parametrize("package", ["supernet", "search"])
def test_the_openmp_of_torch_reads_it(package):
    """Importing either package is enough: libgomp, loaded afterwards as torch would load it, has the value."""
    torch = importlib.util.find_spec("torch")
    found = [str(file) for place in torch.submodule_search_locations for file in Path(place).glob("lib/libgomp*")]
    if not found:
        pytest.skip("this torch brings no libgomp along")
    code = f"import sys, {package}, ctypes; assert 'torch' not in sys.modules; ctypes.CDLL({found[0]!r})"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP_", "OMP_", "KMP_"))}
    environment["OMP_DISPLAY_ENV"] = "VERBOSE"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in done.stderr
