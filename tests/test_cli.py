"""The commands in processes of their own; each script and the program in a new interpreter, as a user types them."""

import os
import subprocess
import sys
import types

import pytest

import search.cli
import supernet.cli
from supernet import __version__
from supernet.__main__ import main
from supernet.runtime.commands import COMMANDS, typed_command
from tests.launched import HIDDEN, ROOT, run


def command(script, *arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, *(["-m", "supernet"] if script is None else [str(ROOT / script)]), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | HIDDEN,
    )


def one_line(done):
    """The single line of an error, which is all that is printed."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert not done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.slow
def test_train_then_search_from_any_folder(model_folder, data_folder, tmp_path):
    """Relative folders are those of the working folder, and Hydra leaves nothing of its own behind."""
    (tmp_path / "model").symlink_to(model_folder)
    (tmp_path / "glue").symlink_to(data_folder)
    few = ["task=sst2", "model.name_or_path=model", "data.dir=glue", "data.cache_dir=cache", "train.epochs=1"]
    done = run(supernet.cli.main, *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "supernet saved in runs/train/sst2-" in done.stderr
    done = command("search.py", "searcher=random", "max_evaluations=5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "supernet runs/train/sst2-" in done.stdout
    assert "Pareto front of sst2" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "glue", "model", "runs"]


@pytest.mark.slow
def test_a_sweep_runs_every_combination(model_folder, data_folder, tmp_path):
    few = [f"model.name_or_path={model_folder}", f"data.dir={data_folder}", "data.cache_dir=cache", "train.epochs=1"]
    done = run(supernet.cli.main, "-m", "task=sst2,stsb", "seed=0,1", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/train/*/supernet/supernet.json"))) == 4


@pytest.mark.slow
def test_mistakes_give_one_line_and_no_traceback(data_folder, tmp_path):
    assert "task 'mnil' is unknown" in one_line(command("train_supernet.py", "task=mnil"))
    assert "there is no trained supernet" in one_line(run(search.cli.main, f"output_dir={tmp_path}"))
    missing = run(supernet.cli.main, "task=rte", f"data.dir={data_folder}", f"output_dir={tmp_path}")
    assert "no file of task 'rte' for the split train" in one_line(missing)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["train_supernet.py", "search.py"])
def test_help_can_be_read(script):
    done = command(script, "--help")
    assert done.returncode == 0
    assert "Options (key=value)" in done.stdout
    assert "Hydra" not in done.stdout


@pytest.mark.parametrize(
    ("started", "train", "select"),
    [
        ("/usr/bin/plm-supernet", "plm-supernet train", "plm-supernet select"),
        ("search.py", "python train_supernet.py", "python -m supernet select"),
        ("../search.py", "python ../train_supernet.py", "python -m supernet select"),
        (str(ROOT / "supernet" / "__main__.py"), "python -m supernet train", "python -m supernet select"),
        ("notebook.py", "plm-supernet train", "plm-supernet select"),
    ],
)
def test_messages_name_commands_as_the_user_typed_them(started, train, select, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert (typed_command("train"), typed_command("select")) == (train, select)


def test_one_program_has_every_command(capsys, monkeypatch):
    def printed(*arguments):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/plm-supernet", *arguments])
        main()
        return capsys.readouterr().out

    assert printed("-V") == printed("--version") == f"plm-supernet {__version__}\n"
    assert printed() == printed("--help") == printed("-h")
    for name, row in COMMANDS.items():
        assert f"{name:<8}  {row.description}\n" in printed()
        name_of_module, _, function = row.main.partition(":")
        module, ran = types.ModuleType(name_of_module), []
        setattr(module, function, lambda ran=ran: ran.append(list(sys.argv)))
        monkeypatch.setitem(sys.modules, name_of_module, module)
        printed(name, "a=1", "--help")
        assert ran == [["/usr/bin/plm-supernet", "a=1", "--help"]]


def test_scripts_have_the_same_version(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search.py", "searcher=random", "--version"])
    search.cli.main()
    assert capsys.readouterr().out == f"plm-supernet {__version__}\n"


def test_an_unknown_command_is_one_line_with_the_nearest(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["plm-supernet", "serch"])
    with pytest.raises(SystemExit) as end:
        main()
    line = f"error: command 'serch' is unknown; allowed: {', '.join(sorted(COMMANDS))} (did you mean search"
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.slow
def test_the_program_runs_as_a_module(tmp_path):
    told = one_line(command(None, "select", "max_params=0.5", f"output_dir={tmp_path}"))
    first = "run 'python -m supernet search' first, or name a run with run=FOLDER"
    assert told == f"error: there is no run in {tmp_path}/search; {first}"
