"""Pushing an export folder, with the real client, to a small hub in this process (`tests/local_hub.py`)."""

import io

import pytest
from huggingface_hub import ModelCard, constants
from rich.console import Console

from supernet.export.push import check_push, push_folder
from supernet.export.report import read_report
from supernet.runtime.errors import UserError
from supernet.runtime.files import file_sha256
from tests.exports import change_report, exported

REPO = "someone/tiny-50"
NAME = f"models/{REPO}"


@pytest.fixture
def folder(tokenizer, tmp_path):
    """An export folder with checksums, a card, and a file that is none of it."""
    exported(tmp_path / "tiny-50", tokenizer)
    (tmp_path / "tiny-50" / "README.md").write_text("---\nlibrary_name: transformers\n---\n# tiny-50\n")
    names = [p.name for p in (tmp_path / "tiny-50").iterdir() if p.name != "export.json"]
    change_report(tmp_path / "tiny-50", sha256={name: file_sha256(tmp_path / "tiny-50" / name) for name in names})
    (tmp_path / "tiny-50" / "notes.txt").write_text("private")
    return tmp_path / "tiny-50"


@pytest.fixture
def writer(hub, monkeypatch):
    """The hub, with a user who may write, and without the client's own storage protocol."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    return hub


def push(folder, repo=REPO, **values):
    """What is printed, without line breaks."""
    console = Console(file=io.StringIO(), width=200)
    push_folder(folder, repo, console=console, **values)
    return console.file.getvalue()


def refused(folder, repo=REPO, **values):
    """The one line of the user's mistake."""
    with pytest.raises(UserError) as caught:
        push(folder, repo, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder):
    names = {*read_report(folder).sha256, "export.json"}
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("private", [True, False])
def test_the_verified_files_are_pushed_and_no_others(writer, folder, private):
    said = push(folder, private=private)
    repository = writer.repositories[NAME]
    assert repository.files == contents(folder) | {".gitattributes": b""}
    assert repository.private == private
    assert len(repository.commits) == 2
    assert f"({'private' if private else 'public'})" in said
    assert ModelCard(repository.files["README.md"].decode()).data.library_name == "transformers"


def test_a_dry_run_says_what_would_go_and_asks_nobody(hub, folder):
    said = push(folder, dry_run=True)
    assert hub.asked == []
    assert f"would push {len(contents(folder))} files" in said
    assert f"{hub.url}/{REPO} (private)" in said
    assert all(name in said for name in contents(folder))
    assert "notes.txt" not in said


def test_a_push_that_broke_off_goes_on(writer, folder, monkeypatch):
    def fails(handler):
        if "/lfs/" not in handler.path or handler.command != "PUT":
            return False
        handler.send(500, b"", {})
        return True

    writer.trouble = fails
    assert "cannot be pushed to the hub: the hub at" in (line := refused(folder))
    assert f"hf upload {REPO} {folder} --private" in line
    writer.trouble = None
    push(folder)
    assert writer.repositories[NAME].files == contents(folder) | {".gitattributes": b""}


def test_a_taken_name_is_refused_and_stays_as_it_was(writer, folder):
    writer.put(NAME, {".gitattributes": b"", "config.json": b"{}"})
    assert "is on the hub already, with 1 files (config.json, ...)" in refused(folder)
    assert writer.repositories[NAME].files == {".gitattributes": b"", "config.json": b"{}"}


def test_what_should_be_private_is_not_put_into_a_public_repository(writer, folder):
    writer.put(NAME, {".gitattributes": b""})
    assert "is public; change that there, or give private=false" in refused(folder)
    assert [*writer.repositories[NAME].files] == [".gitattributes"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept the token; log in"),
        (403, "this user may not write there"),
        (402, "has to pay"),
        (418, "status 418"),
    ],
)
def test_a_refusal_is_one_line(writer, folder, status, said):
    writer.trouble = lambda handler: handler.send(status, b"{}", {}) is None
    assert said in refused(folder)


def test_without_token_or_network_it_is_one_line(hub, folder, monkeypatch):
    assert "needs a token of the hub; log in with 'hf auth login' or set HF_TOKEN" in refused(folder)
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "an-expired-one")
    assert "does not accept the token" in refused(folder)
    hub.stop()
    assert "cannot be reached" in refused(folder)


@pytest.mark.parametrize("repo", ["tiny", "a/b/c", "some one/x", "", "a/.b--c"])
def test_a_name_that_is_none_is_refused_at_once(repo):
    with pytest.raises(UserError, match="give OWNER/NAME"):
        check_push(repo, dry_run=True)


def test_only_what_was_verified_is_pushed(writer, folder):
    (folder / "README.md").write_text("# my own words")
    (folder / "config.json").write_text("{}")
    assert "config.json is not the file that was verified" in refused(folder)
    (folder / "config.json").unlink()
    assert "config.json is gone" in refused(folder)
    assert writer.asked == []
