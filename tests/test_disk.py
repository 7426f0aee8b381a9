"""A disk that is full, a folder that cannot be written: one line, nothing half-written, what was finished is kept."""

import errno
import os
import subprocess
import tempfile

import pytest
from safetensors import SafetensorError

import search.choice.select
import search.report.overlay
from search.options.profile import ProfileConfig
from search.options.search import SearchConfig
from search.profile import profile
from search.run import search as run_search
from search.trials import Trial, TrialFile
from supernet.console.config import load_config
from supernet.console.terminal import one_line_errors
from supernet.options.training import TrainConfig
from supernet.runtime.errors import UserError
from supernet.runtime.files import append_json_line, atomic_folder, atomic_path, folder_lock, prepare_folder
from supernet.runtime.reading import read_lines
from supernet.runtime.storage import StorageError, check_room, system_errors, writing
from supernet.training import epochs
from supernet.training import run as training
from supernet.training.train import train
from tests.fake_runs import make_run

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not os.path.exists("/proc/mounts"), reason="mounts a small disk"
)


class Disk:
    """A small disk of its own, which can be filled to the last block."""

    def __init__(self, folder):
        self.folder, self.ballast = folder, folder / "ballast"

    def fill(self, *, but=0):
        """Leaves `but` bytes free, in whole blocks."""
        space = os.statvfs(self.folder)
        with self.ballast.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(1, space.f_bavail * space.f_frsize - but))

    def empty(self):
        self.ballast.unlink()


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != ".lock")


def configure(disk, model_folder, data_folder, cache, *more):
    given = ["task=sst2", f"model.name_or_path={model_folder}", f"data.dir={data_folder}", f"data.cache_dir={cache}"]
    few = ["data.max_train_samples=32", "train.epochs=2", "train.batch_size=8", "train.checkpoint_every=2"]
    usual = [*given, *few, "train.mixed_precision=fp32", f"output_dir={disk.folder}/runs"]
    return load_config("train", TrainConfig, [*usual, *more])


@as_root
def test_a_training_that_has_no_room_does_not_begin(disk, model_folder, data_folder, tmp_path):
    config = configure(disk, model_folder, data_folder, tmp_path / "cache")
    disk.fill(but=16384)
    with pytest.raises(StorageError, match=r"too little room: 2 checkpoint\(s\) and the supernet may need .* are free"):
        train(config)
    assert files(disk.folder) == ["ballast"]
    disk.empty()
    assert (train(config) / "supernet.json").exists()


@pytest.mark.slow
@as_root
@pytest.mark.parametrize(("module", "at"), [(epochs, "save_checkpoint"), (training, "save_supernet")])
def test_a_training_whose_disk_becomes_full_keeps_its_last_checkpoint(
    module, at, disk, model_folder, data_folder, tmp_path, monkeypatch
):
    config = configure(disk, model_folder, data_folder, tmp_path / "cache")
    whole, saves = getattr(module, at), []

    def then_full(*arguments, **keywords):
        saves.append(arguments)
        if len(saves) == 2:
            disk.fill(but=8192)
        return whole(*arguments, **keywords)

    monkeypatch.setattr(module, at, then_full)
    with pytest.raises(
        StorageError, match=r"cannot be written \(the disk is full\); make room .* resumes after step"
    ) as e:
        train(config)
    assert str(e.value).count("cannot be written") == 1
    assert ".partial" not in str(e.value)
    left = files(config.folder)
    assert not [name for name in left if ".partial" in name]
    kept = f"checkpoints/step-{2 if at == 'save_checkpoint' else 6:08d}/manifest.json"
    assert kept in left
    disk.empty()
    monkeypatch.undo()
    went_on = (train(config) / "model.safetensors").read_bytes()
    other = configure(disk, model_folder, data_folder, tmp_path / "cache", f"output_dir={tmp_path}/other")
    assert went_on == (train(other) / "model.safetensors").read_bytes()


@pytest.mark.slow
@as_root
def test_a_search_whose_disk_becomes_full_keeps_its_trials(disk, supernet_folder, monkeypatch):
    overrides = [f"supernet={supernet_folder}", "searcher=random", "name=run", f"output_dir={disk.folder}"]
    config = load_config("search", SearchConfig, [*overrides, "max_evaluations=4"])
    append = TrialFile.append
    count = 0

    def full_after_two(self, subnet, outcome):
        nonlocal count
        count += 1
        if count == 3:
            disk.fill()
        return append(self, subnet, outcome)

    monkeypatch.setattr(TrialFile, "append", full_after_two)
    trials = disk.folder / "search" / "run" / "trials.jsonl"
    with pytest.raises(StorageError, match=r"cannot be written \(the disk is full\)"):
        run_search(config)
    assert 2 <= len(list(read_lines(trials, Trial, ""))) <= 4
    assert trials.read_bytes().endswith(b"\n")
    disk.empty()
    monkeypatch.undo()
    folder = run_search(config)
    assert len(list(read_lines(trials, Trial, ""))) == 4
    assert (folder / "front.json").exists()


@pytest.mark.pictures
@as_root
def test_a_report_on_a_full_disk_leaves_nothing(disk, monkeypatch, capsys):
    run = make_run(disk.folder / "search" / "run").folder
    disk.fill()
    before = files(disk.folder)
    monkeypatch.setattr("sys.argv", ["report", f"output_dir={disk.folder}"])
    with pytest.raises(SystemExit) as end:
        search.report.overlay.main()
    line = capsys.readouterr().err
    assert end.value.code == 1
    assert line.startswith("error: ")
    assert "cannot be written (the disk is full); make room and give the same command again, or" in line
    assert line.count("\n") == 1
    assert files(disk.folder) == before
    monkeypatch.setattr("sys.argv", ["select", f"run={run}", "max_params=1", "format=json"])
    search.choice.select.main()  # it writes nothing there
    assert capsys.readouterr().out.startswith("{")


@as_root
def test_a_latency_table_on_a_full_disk(disk, supernet_folder):
    short = ["turns=1", "check_subnets=0", "workload.length=16", f"output={disk.folder}/table.json"]
    config = load_config("profile", ProfileConfig, [f"supernet={supernet_folder}", *short])
    disk.fill()
    with pytest.raises(StorageError, match=r"table.json cannot be written \(the disk is full\).* with output=FILE"):
        profile(config)
    assert files(disk.folder) == ["ballast"]


@as_root
def test_tokenised_rows_on_a_full_disk(disk, model_folder, data_folder, tmp_path):
    config = configure(disk, model_folder, data_folder, disk.folder / "cache", f"output_dir={tmp_path}")
    disk.fill()
    with pytest.raises(StorageError, match=r"cache folder .* \(the disk is full\).* with data.cache_dir=FOLDER"):
        train(config)
    assert files(disk.folder) == ["ballast"]


@as_root
def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(disk):
    path = disk.folder / "lines.jsonl"
    append_json_line(path, {"a": 1})
    disk.fill()
    with pytest.raises(StorageError):
        append_json_line(path, {"a": "x" * 8192})
    assert list(read_lines(path, dict[str, int], "")) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n'


NUMBERS = ["ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "EIO", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "EMFILE"]


@pytest.mark.parametrize("name", NUMBERS)
def test_each_error_of_the_system_is_a_line(name, capsys):
    error = OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "/some/file")
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    assert capsys.readouterr().err.startswith("error: /some/file cannot be used (")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),  # of tokenizers
    ],
)
def test_whoever_meets_a_full_disk(error):
    words = r"^folder cannot be written \(the disk is full\); .*output_dir=FOLDER$"
    with pytest.raises(StorageError, match=words), writing("folder"), writing("file in it", "other=FILE"):
        raise error
    words = r"^a file, perhaps a temporary one in .* \(the disk is full\); make room"
    with pytest.raises(StorageError, match=words), system_errors():
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), OSError("no number"), FileNotFoundError(2, "none", "file")])
def test_another_error_stays_what_it_is(error):
    with pytest.raises(type(error)) as caught, system_errors():
        raise error
    assert caught.value is error


def test_no_folder_for_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(StorageError, match=r"No usable temporary directory .*TMPDIR=FOLDER"), system_errors():
        tempfile._get_default_tempdir()


def test_places_that_cannot_be_written(tmp_path):
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    long = tmp_path / ("x" * 300)
    with pytest.raises(StorageError, match="name is too long"), atomic_path(long) as partial:
        partial.touch()
    with pytest.raises(StorageError, match=r"part of its path is a file"), atomic_folder(file / "folder"):
        pass
    for path, words in ((loop / "x", "lead in a circle"), (file / "x", "part of its path is a file")):
        with pytest.raises(StorageError, match=words):
            prepare_folder(path)
        with pytest.raises(StorageError, match=words), folder_lock(path):
            pass
    assert files(tmp_path) == ["file"]


def test_a_model_in_a_circle_of_links_is_told(tmp_path):
    (tmp_path / "model").symlink_to(tmp_path / "model")
    config = load_config("train", TrainConfig, [f"model.name_or_path={tmp_path}/model", f"output_dir={tmp_path}/runs"])
    with pytest.raises(UserError, match="/model: there is no such folder"):
        train(config)


def test_what_is_there_counts_as_room(tmp_path):
    with pytest.raises(
        StorageError, match=r"too little room: all may need 1048576.0 GiB, and .* are free; make room, or wait"
    ):
        check_room(tmp_path / "new", 2**50, what="all", advice="wait")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    check_room(tmp_path, 2**40, what="all", advice="wait")
