"""What a user sees of a command that ends: one line, whatever the terminal, the environment or the pipe."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import search.choice.select
import supernet.cli
from supernet.console import start, terminal
from supernet.console.environment import check_environment
from supernet.console.terminal import one_line_errors, prepare_terminal
from supernet.runtime.errors import UserError
from tests.fake_runs import make_run

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("rank", "together", "said"),
    [("0", False, "error: no\n"), ("0", True, "error: no\n"), ("3", False, ""), ("3", True, "process 3: error: no\n")],
)
def test_an_error_of_one_process_is_told_with_its_number(rank, together, said, monkeypatch, capsys):
    """The first one speaks at once, another only if the launcher has not ended it because the first one has failed."""
    slept = []
    monkeypatch.setattr(terminal.time, "sleep", slept.append)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(terminal, "in_group", lambda: together)
    with pytest.raises(SystemExit), one_line_errors():
        raise UserError("no")
    assert capsys.readouterr().err == said
    assert len(slept) == (rank != "0" and together)


def test_a_rank_without_a_launcher_keeps_no_error_back(monkeypatch, capsys):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit), one_line_errors():
        raise UserError("no")
    assert capsys.readouterr().err == "error: no\n"


WRONG = [
    ({"RANK": "1"}, "RANK=1 without WORLD_SIZE: a launcher sets both; start with 'accelerate launch', or"),
    ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK=2 with WORLD_SIZE=2, and must be less"),
    ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK='one'; it must be a whole number, from 0: set it right or 'unset RANK'"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE='0'; it must be a whole number, from 1"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2, but not RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT: each process would work"),
    ({"OMP_NUM_THREADS": "abc"}, "OMP_NUM_THREADS='abc'; it must be a number of threads"),
    ({"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS='0'"),
    ({"OMP_NUM_THREADS": "-2"}, "OMP_NUM_THREADS='-2'"),
    ({"ACCELERATE_USE_CPU": "maybe"}, "ACCELERATE_USE_CPU='maybe'; it must be true or false"),
    ({"HF_HUB_OFFLINE": "maybe"}, "HF_HUB_OFFLINE='maybe'; it must be 1 or 0"),
]


@pytest.mark.parametrize(("environment", "message"), WRONG)
def test_an_environment_that_cannot_be_is_told(environment, message):
    with pytest.raises(UserError) as error:
        check_environment(environment)
    assert message in str(error.value)


def test_an_environment_as_launchers_make_it_is_right():
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "::1", "MASTER_PORT": "29500"}
    for environment in (
        {},
        launched,
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"OMP_NUM_THREADS": "4,2", "HF_HUB_OFFLINE": "1"},
    ):
        check_environment(environment)


def test_a_command_that_computes_looks_at_its_environment(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(sys, "argv", ["train"])
    with pytest.raises(SystemExit):
        supernet.cli.main()
    assert "error: the environment says RANK=1" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["abc", "0", "-5", "²", "9" * 30, "1e3"])
def test_a_width_that_no_terminal_has_is_ignored(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    prepare_terminal()
    assert "COLUMNS" not in os.environ


def test_a_width_that_is_one_stays(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    prepare_terminal()
    assert os.environ["COLUMNS"] == "120"


@pytest.mark.parametrize(("encoding", "word"), [("ascii", r"gr\xf6\xdfe"), ("utf-8", "größe")])
def test_what_has_no_letters_in_the_terminal_is_escaped(encoding, word, monkeypatch):
    """Umlauts where the language is C; and half a surrogate, which no encoding has."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding=encoding, errors="strict"))
    prepare_terminal()
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise UserError("class 'größe\ud83d' is unknown")
    assert end.value.code == 1
    assert written.getvalue().decode(encoding) == f"error: class '{word}\\ud83d' is unknown\n"


def in_child(action, *, stdout=1):
    """What a forked process that does it ends with, and what it prints on stderr."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 2)
        os.dup2(stdout, 1)
        status = 99
        with os.fdopen(2, "w") as sys.stderr, os.fdopen(1, "w") as sys.stdout:
            try:
                action()
                status = 0
            except SystemExit as end:
                status = end.code
            except BaseException as error:
                sys.stderr.write(repr(error))
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(status or 0)
    os.close(write)
    with open(read) as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def closed_pipe():
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path / "run").folder


COMMANDS = [["--help"], ["--cfg", "job", "max_params=1"], ["max_params=1"], ["max_params=1", "format=json"]]


def select(run_folder, arguments):
    def action():
        sys.argv = ["select", f"run={run_folder}", *arguments]
        search.choice.select.main()

    return action


@pytest.mark.parametrize("arguments", COMMANDS, ids=str)
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(run_folder, arguments):
    status, said = in_child(select(run_folder, arguments), stdout=closed_pipe())
    assert (status, said) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=str)
def test_output_on_a_full_disk_is_told(run_folder, arguments):
    status, said = in_child(select(run_folder, arguments), stdout=os.open("/dev/full", os.O_WRONLY))
    assert (status, said) == (
        1,
        "error: standard output cannot be written (No space left on device); direct it elsewhere\n",
    )


def test_a_broken_pipe_that_is_not_the_terminal_s_is_an_error(capsys):
    """A server's, say: that the command ends has to be told."""
    with pytest.raises(BrokenPipeError), one_line_errors():
        raise BrokenPipeError(32, "Broken pipe")


def test_an_interrupt_while_libraries_are_loaded_is_one_line():
    def action():
        start.leave_at_interrupt()
        os.kill(os.getpid(), signal.SIGINT)

    assert in_child(action) == (130, "interrupted\n")


def test_after_that_an_interrupt_is_python_s():
    with start.loading():
        assert signal.getsignal(signal.SIGINT) is start._leave
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "command",
    ["train_supernet.py", "search.py", "-m supernet report", "-m search.choice.select", "-m supernet profile"],
)
def test_so_is_one_in_the_first_moments_of_each_command(command, tmp_path):
    """The first library that a command loads is one that interrupts it."""
    for library in ("hydra", "rich", "numpy", "omegaconf"):
        (tmp_path / f"{library}.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *command.split(), "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
