"""Commands in processes of their own, without the seconds that an interpreter takes to load torch and transformers.

The server of `multiprocessing` loads `tests/libraries.py` once; each process is a fork of it. The server computes
nothing itself, so a fork inherits no threads and no state of other tests.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from multiprocessing import connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

ROOT = Path(__file__).parent.parent
HIDDEN = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Variables of each process: the tests do not use a GPU."""

TIMEOUT_S = 200
GRACE_S = 1.0
"""How long a process may outlive another one that failed; longer than the launcher looks away on a busy machine."""

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.libraries"])


class Process:
    """A process that calls `main`, with the methods of `subprocess.Popen` that the tests use.

    Args:
        main: Function of a module, without parameters; it reads `sys.argv`.
        arguments: `sys.argv` from the second on.
        output: Files that standard output and standard error are appended to.
        env: The whole environment.
    """

    def __init__(self, main, arguments, *, output, cwd=ROOT, env=None):
        values = dict(os.environ | HIDDEN) if env is None else dict(env)
        given = ([main.__module__, *map(str, arguments)], str(cwd), values, [str(path) for path in output])
        self._process = _SERVER.Process(target=_begin, args=(main, *given), daemon=True)
        self._process.start()
        self.pid, self.sentinel = self._process.pid, self._process.sentinel

    def poll(self):
        """Exit status, -N after signal N; None before the end."""
        return self._process.exitcode

    returncode = property(poll)

    def wait(self, timeout=TIMEOUT_S):
        """Exit status."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def send_signal(self, number):
        """Does nothing after the end."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self):
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


def dies_after(calls):
    """A function for `sys.setprofile`: SIGKILL after that many calls and returns, the same moment on any machine."""
    left = calls

    def count(frame, event, arg):
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def run(main, *arguments, cwd=ROOT, env=None):
    """Like `subprocess.run` of a command whose function is `main`: exit status, standard output and error."""
    return _run([{}], main, arguments, cwd, env)


def run_two(main, *arguments, cwd=ROOT):
    """Like `run`, in two processes with the variables of `accelerate launch --multi_gpu --num_processes 2` on a CPU.

    Like the launcher it soon sends SIGTERM to the other process when one fails.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "no"}
    return _run([{"RANK": rank, "LOCAL_RANK": rank} | shared for rank in ("0", "1")], main, arguments, cwd, None)


def as_launched(*command):
    """What `accelerate launch` makes of a command for one process: its script and arguments, and the environment."""
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([str(part) for part in command]))
    (_, *started), environment = prepare_simple_launcher_cmd_env(arguments)
    return started, environment | HIDDEN


def _run(variables, main, arguments, cwd, env):
    base = dict(os.environ | HIDDEN) if env is None else dict(env)
    with TemporaryDirectory() as folder:
        output = [Path(folder) / name for name in ("stdout", "stderr")]
        ours = [Process(main, arguments, output=output, cwd=cwd, env=base | values) for values in variables]
        try:
            _wait_for_all(ours)
        finally:
            for process in ours:
                process.kill()
                process.wait()
        status = next((process.returncode for process in ours if process.returncode), 0)
        said = [path.read_text("utf-8") if path.exists() else "" for path in output]
    return subprocess.CompletedProcess([main.__module__, *arguments], status, *said)


def _wait_for_all(ours):
    running, failed = list(ours), False
    while running:
        ended = connection.wait([process.sentinel for process in running], GRACE_S if failed else TIMEOUT_S)
        if not ended and not failed:
            raise subprocess.TimeoutExpired("forked processes", TIMEOUT_S)
        for process in running if not ended else ():
            process.send_signal(signal.SIGTERM)
            process.wait()
        running = [process for process in running if process.poll() is None]
        failed = any(process.returncode for process in ours)


def _begin(main, argv, cwd, values, output):
    """In the new process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, path in enumerate(output, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    torch.set_num_threads(1)
    os.environ.clear()
    os.environ.update(values)
    os.chdir(cwd)
    sys.argv = argv
    main()
