"""The Hugging Face hub: which commit of a repository is meant, and one line for each reason that it cannot be had.

A branch or a tag is resolved to a commit before anything is fetched, so that all files are of one commit, and its name
can be kept. What the client has in its cache is used if the hub cannot be reached, but only that very commit.
"""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import huggingface_hub
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import disable_progress_bars, httpx

from supernet.runtime.distributed import print_on_main
from supernet.runtime.errors import UserError, first_line

HUB_TIMEOUT_S = 10.0
"""Longest wait for an answer, or for the next piece of one; HF_HUB_DOWNLOAD_TIMEOUT may allow more."""

_NAMES = {"model": "model", "dataset": "data set"}
"""What the hub's kinds of repository are called in messages."""

LOG_IN = "log in with 'hf auth login' or set HF_TOKEN"


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, as the user names it.

    Attributes:
        kind: model or dataset.
        name: Owner and name.
        revision: Branch, tag or commit; None is the default branch.
        option: Key of the revision, for messages.
    """

    kind: str
    name: str
    revision: str | None
    option: str

    def __str__(self) -> str:
        at = "" if self.revision is None else f" at {self.revision}"
        return f"{_NAMES[self.kind]} '{self.name}'{at}"

    @property
    def page(self) -> str:
        """Where people find it."""
        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"


@dataclass(frozen=True)
class Commit:
    """What a revision was resolved to.

    Attributes:
        id: The commit: 40 hexadecimal digits.
        trouble: Why the hub did not say so itself, if the cache had to.
    """

    id: str
    trouble: Exception | None = None


def commit_of(repository: Repository) -> Commit:
    """Asks the hub what a revision is; if it gives no answer, what it last was according to the cache.

    Raises:
        Exception: of the client's libraries, for `reason`.
    """
    api = HfApi(endpoint=constants.ENDPOINT)
    name, kind, revision = repository.name, repository.kind, repository.revision
    resolve = partial(api.resolve_revision, name, repo_type=kind, revision=revision)
    try:
        api.repo_info(name, repo_type=kind, revision=revision)
    except (RevisionNotFoundError, HFValidationError):
        raise
    except Exception as error:
        try:
            return Commit(resolve(local_files_only=True).resolved, error)
        except RevisionResolutionError:
            raise error from None
    return Commit(resolve().resolved)


# Errors


_STATUS = {
    401: ("there is no such repository, or it is private", f"check the name, or {LOG_IN}"),
    403: ("this user may not read it", LOG_IN),
    404: ("there is no such repository, or it is private", f"check the name, or {LOG_IN}"),
    429: ("the hub was asked too often", "wait some minutes"),
}
"""What an answer of the hub means, and what to do."""

_KINDS: list[tuple[tuple[type[Exception], ...], str, str]] = [
    ((RevisionNotFoundError,), "it has no branch, tag or commit '{revision}'", "check {option}"),
    ((GatedRepoError,), "access to it is granted on request", "ask for it at {page}, and " + LOG_IN),
    ((DisabledRepoError,), "it was disabled", "take another"),
    ((HFValidationError,), "'{name}' is no name of a repository", "check it: OWNER/NAME"),
    ((OfflineModeIsEnabled,), "HF_HUB_OFFLINE is set", "unset it to fetch what the cache lacks"),
    ((httpx.TimeoutException,), "the hub at {hub} does not answer", "try again"),
    ((httpx.ConnectError, httpx.ProxyError), "the hub at {hub} cannot be reached: {error}", "check the network"),
    ((httpx.TransportError,), "the connection to the hub at {hub} broke off: {error}", "try again"),
]
"""What an error means that is no answer's alone, and what to do."""


def reason(error: BaseException, repository: Repository) -> tuple[str, str | None]:
    """Why something cannot be had from the hub, and what to do if that is known."""
    for each in _chain(error):
        if found := _known(each, repository):
            return found
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__, None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, also where a library leaves that out; but for a file that need not be there."""
    each: BaseException | None = error
    while each is not None:
        if not isinstance(each, EntryNotFoundError) or isinstance(each, LocalEntryNotFoundError):
            yield each
        each = each.__cause__ or each.__context__


def _known(error: BaseException, repository: Repository) -> tuple[str, str] | None:
    values = vars(repository) | {"page": repository.page, "hub": constants.ENDPOINT, "error": first_line(error)}
    for kinds, why, advice in _KINDS:
        if isinstance(error, kinds):
            return why.format_map(values), advice.format_map(values)
    answer = getattr(error, "response", None)
    if answer is not None:
        if "Invalid credentials" in answer.headers.get("X-Error-Message", ""):  # also for what all may read
            return "the hub does not know the token that is sent", f"{LOG_IN}, anew"
        unusual = (f"the hub at {constants.ENDPOINT} answers with status {answer.status_code}", "try again later")
        return _STATUS.get(answer.status_code, unusual)
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        return f"the cache cannot be written ({first_line(error)})", "make room, or set HF_HOME to another folder"
    return None


@contextmanager
def asking(repository: Repository, *, instead: str) -> Iterator[None]:
    """For a block that asks the hub: quiet, without endless waiting, and with one line for what goes wrong.

    Args:
        repository: What it is asked for.
        instead: What the user might do instead of what `reason` says.

    Raises:
        UserError: for whatever goes wrong, since the client raises from several libraries.
    """
    try:
        with _quiet(repository), _limited():
            yield
    except UserError:
        raise
    except Exception as error:
        why, advice = reason(error, repository)
        what_to_do = instead if advice is None else f"{advice}, or {instead}"
        raise UserError(f"{repository} cannot be had from the hub: {why}; {what_to_do}") from error


# Waiting and talking


@contextmanager
def _limited() -> Iterator[None]:
    """Every request ends after `HUB_TIMEOUT_S` without a byte: some of the client's own would wait for ever."""

    def limit(request: Any) -> None:
        seconds = max(HUB_TIMEOUT_S, float(constants.HF_HUB_DOWNLOAD_TIMEOUT))
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), seconds)

    session = huggingface_hub.get_session()
    before = session.event_hooks
    session.event_hooks = {**before, "request": [*before["request"], limit]}
    try:
        yield
    finally:
        session.event_hooks = before


class _FirstRetry(logging.Handler):
    """Says once that the client tries again, which it may do for a minute; the rest of its talk is kept back."""

    def __init__(self, repository: Repository) -> None:
        super().__init__()
        self.repository, self.said = repository, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.said and re.search("thrown while requesting|Error while downloading", record.getMessage()):
            self.said = True
            print_on_main(f"{self.repository.name}: the hub does not answer as it should; trying again a few times")


@contextmanager
def _quiet(repository: Repository) -> Iterator[None]:
    """The client's progress bars on a terminal only, of its log one line at most."""
    log = logging.getLogger("huggingface_hub")
    handlers, log.handlers = log.handlers, [_FirstRetry(repository)]
    silent = not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    try:
        with disable_progress_bars() if silent else nullcontext():
            yield
    finally:
        log.handlers = handlers
