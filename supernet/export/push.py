"""Pushes an export folder to the Hugging Face hub: the files that were verified, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from rich.console import Console

from supernet.export.report import verified_files
from supernet.runtime.errors import UserError
from supernet.runtime.hub import LOG_IN, Repository, asking

_REFUSALS = {
    401: ("the hub does not accept the token", f"{LOG_IN} again"),
    402: ("the owner has to pay for it", "ask the owner, or take another one"),
    403: ("this user may not write there", "check OWNER in OWNER/NAME, and whether the token may write"),
}
"""Meaning of an answer's status, and what to do."""


def check_push(repo: str, *, dry_run: bool = False) -> None:
    """Checks, without the network, what would refuse a push: the name, and a missing token.

    Args:
        repo: OWNER/NAME.
        dry_run: Whether no token is needed.

    Raises:
        UserError: if it would be refused.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError:
        named = False
    else:
        named = "/" in repo
    if not named:
        raise UserError(f"push={repo} is no name of a repository on the hub; give OWNER/NAME")
    if not dry_run and get_token() is None:
        raise UserError(f"push={repo} needs a token of the hub; {LOG_IN}")


def push_folder(folder: Path, repo: str, *, private: bool = True, dry_run: bool = False, console: Console) -> None:
    """Creates a repository and puts the files of an export folder there, in one commit.

    A repository that is there already must be empty, as after an interrupted push, and as private as asked for.

    Args:
        folder: The export folder.
        repo: OWNER/NAME.
        private: Whether only its owner sees it.
        dry_run: Only says what would be pushed; the hub is not asked.
        console: Receives the lines.

    Raises:
        UserError: if a file has changed since it was verified, or the hub refuses or cannot be reached.
    """
    check_push(repo, dry_run=dry_run)
    files = verified_files(folder)
    total = sum((folder / name).stat().st_size for name in files)
    visibility = "private" if private else "public"
    for name in files:
        console.print(f"  {(folder / name).stat().st_size / 1e6:9.3f} MB  {name}")
    what = f"{len(files)} files, {total / 1e6:.1f} MB, to {constants.ENDPOINT}/{repo} ({visibility})"
    if dry_run:
        console.print(f"would push {what}; dry_run=false pushes")
        return
    repository = Repository("model", repo, None, "push")
    api = HfApi(endpoint=constants.ENDPOINT)
    later = f"push it later: hf upload {repo} {folder}{' --private' if private else ''}"
    with asking(repository, instead=later, doing="pushed to"), _refusals(repository):
        _create(api, repo, private=private)
        api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=files, commit_message="Add a model pruned by plm-supernet"
        )
    console.print(f"pushed {what}")


def _create(api: HfApi, repo: str, *, private: bool) -> None:
    """Creates the repository, or checks that the one there can be used."""
    try:
        api.create_repo(repo, private=private)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        there = api.model_info(repo)
        others = [file.rfilename for file in there.siblings or () if file.rfilename != ".gitattributes"]
        if others:
            raise UserError(
                f"'{repo}' is on the hub already, with {len(others)} files ({others[0]}, ...); push to another name, "
                "or delete it there"
            ) from error
        if bool(there.private) != private:
            now, wanted = ("public", "private=false") if private else ("private", "private=true")
            raise UserError(
                f"'{repo}' is on the hub already, and is {now}; change that there, or give {wanted}"
            ) from error


@contextmanager
def _refusals(repository: Repository) -> Iterator[None]:
    """Explains answers that mean something else here than where files are fetched."""
    try:
        yield
    except HfHubHTTPError as error:
        if error.response.status_code not in _REFUSALS:
            raise
        why, advice = _REFUSALS[error.response.status_code]
        raise UserError(f"{repository} cannot be pushed to the hub: {why}; {advice}") from error
