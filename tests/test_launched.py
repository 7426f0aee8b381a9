"""Processes forked from a server are as good as new interpreters."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch

from tests.launched import Process, run, run_two

pytestmark = pytest.mark.slow


def tell():
    tasks = len(list(Path("/proc/self/task").iterdir())) if sys.platform == "linux" else threading.active_count()
    print(*sys.argv[1:], os.environ.get("ANSWER"), tasks, "tests.libraries" in sys.modules, os.getcwd())
    print("warned", file=sys.stderr)
    sys.exit(int(sys.argv[1]))


def test_a_process_has_its_arguments_its_environment_its_folder_and_no_threads(tmp_path):
    done = run(tell, "3", "four", cwd=tmp_path, env={"ANSWER": "42"})
    assert (done.returncode, done.stderr) == (3, "warned\n")
    assert done.stdout == f"3 four 42 1 True {tmp_path}\n"


def fail():
    raise ValueError("a mistake of this program")


def test_an_error_is_a_traceback_and_status_1():
    done = run(fail)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: a mistake of this program\n")


def wait():
    print("waiting", flush=True)
    signal.pause()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(number, tmp_path):
    process = Process(wait, [], output=[tmp_path / "out", tmp_path / "err"])
    assert process.poll() is None
    process.send_signal(number)
    assert process.wait() == -number
    process.kill()  # too late, and no error


def first_fails():
    if os.environ["RANK"] == "0":
        sys.exit(5)
    signal.pause()


def test_of_two_processes_the_other_is_ended_when_one_fails():
    assert run_two(first_fails).returncode == 5


def add_up():
    torch.distributed.init_process_group("gloo")
    total = torch.tensor([10.0 ** int(os.environ["RANK"])])
    torch.distributed.all_reduce(total)
    print(total.item())
    torch.distributed.destroy_process_group()


def test_two_processes_find_each_other():
    done = run_two(add_up)
    assert (done.returncode, done.stdout.count("11.0")) == (0, 2), done.stderr  # two writers may share a line
