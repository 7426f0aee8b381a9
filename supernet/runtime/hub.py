"""The Hugging Face hub: resolves revisions to commits, and explains in one line why something cannot be fetched.

A branch or tag is resolved to a commit before anything is fetched. So all files are of one commit, which can be
recorded. If the hub cannot be reached, the client's cache is used, but only for the same commit.
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
"""Longest wait for an answer or its next part. HF_HUB_DOWNLOAD_TIMEOUT may raise it."""

_NAMES = {"model": "model", "dataset": "data set"}
"""Kinds of repository, and their names in messages."""

LOG_IN = "log in with 'hf auth login' or set HF_TOKEN"


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, as the user names it.

    Attributes:
        kind: model or dataset.
        name: Owner and name.
        revision: Branch, tag or commit; None is the default branch.
        option: The revision's key in the configuration, for messages.
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
        """Address of its page."""
        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"


@dataclass(frozen=True)
class Commit:
    """The commit of a revision.

    Attributes:
        id: The commit: 40 hexadecimal digits.
        trouble: Why the hub did not answer, if the commit comes from the cache.
    """

    id: str
    trouble: Exception | None = None


def commit_of(repository: Repository) -> Commit:
    """Resolves a revision with the hub, or with the cache if the hub does not answer.

    Raises:
        Exception: of the client's libraries; `reason` explains it.
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
"""Meaning of an answer's status, and what to do."""

_ERRORS: list[tuple[tuple[type[Exception], ...], str, str]] = [
    ((RevisionNotFoundError,), "it has no branch, tag or commit '{revision}'", "check {option}"),
    ((GatedRepoError,), "access to it is granted on request", "ask for it at {page}, and " + LOG_IN),
    ((DisabledRepoError,), "it was disabled", "take another repository"),
    ((HFValidationError,), "'{name}' is no name of a repository", "check it: OWNER/NAME"),
    ((OfflineModeIsEnabled,), "HF_HUB_OFFLINE is set", "unset it to fetch what the cache lacks"),
    ((httpx.TimeoutException,), "the hub at {hub} does not answer", "try again"),
    ((httpx.ConnectError, httpx.ProxyError), "the hub at {hub} cannot be reached: {error}", "check the network"),
    ((httpx.TransportError,), "the connection to the hub at {hub} broke off: {error}", "try again"),
]
"""Meaning of an error, and what to do."""


def reason(error: BaseException, repository: Repository) -> tuple[str, str | None]:
    """Why something cannot be fetched from the hub, and what to do if that is known."""
    for cause in _chain(error):
        if explanation := _known(cause, repository):
            return explanation
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__, None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, implicit causes too. Missing optional files are left out."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, EntryNotFoundError) or isinstance(cause, LocalEntryNotFoundError):
            yield cause
        cause = cause.__cause__ or cause.__context__


def _known(error: BaseException, repository: Repository) -> tuple[str, str] | None:
    values = vars(repository) | {"page": repository.page, "hub": constants.ENDPOINT, "error": first_line(error)}
    for kinds, why, advice in _ERRORS:
        if isinstance(error, kinds):
            return why.format_map(values), advice.format_map(values)
    answer = getattr(error, "response", None)
    if answer is not None:
        if "Invalid credentials" in answer.headers.get("X-Error-Message", ""):  # even for public repositories
            return "the hub does not accept the token", f"{LOG_IN} again"
        unusual = (f"the hub at {constants.ENDPOINT} answers with status {answer.status_code}", "try again later")
        return _STATUS.get(answer.status_code, unusual)
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        return f"the cache cannot be written ({first_line(error)})", "make room, or set HF_HOME to another folder"
    return None


@contextmanager
def asking(repository: Repository, *, instead: str, doing: str = "fetched from") -> Iterator[None]:
    """For a block that uses the hub: quiet, with a time limit, and with one line for any error.

    Args:
        repository: What the block asks for.
        instead: What the user can do besides the advice of `reason`.
        doing: What cannot be done with it if there is an error: "fetched from" or "pushed to" the hub.

    Raises:
        UserError: for any error, since the client raises errors of several libraries.
    """
    try:
        with _quiet(repository), _limited():
            yield
    except UserError:
        raise
    except Exception as error:
        why, advice = reason(error, repository)
        what_to_do = instead if advice is None else f"{advice}, or {instead}"
        raise UserError(f"{repository} cannot be {doing} the hub: {why}; {what_to_do}") from error


# Time limits and output


@contextmanager
def _limited() -> Iterator[None]:
    """Ends every request after `HUB_TIMEOUT_S` without a byte. Some requests of the client would wait forever."""

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
    """Prints a single line when the client starts to retry, which may take a minute, and drops the rest of its log."""

    def __init__(self, repository: Repository) -> None:
        super().__init__()
        self.repository, self.printed = repository, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self.printed and re.search("thrown while requesting|Error while downloading", record.getMessage()):
            self.printed = True
            print_on_main(f"{self.repository.name}: the hub does not answer properly; retrying a few times")


@contextmanager
def _quiet(repository: Repository) -> Iterator[None]:
    """Shows the client's progress bars only on a terminal, and at most one line of its log."""
    log = logging.getLogger("huggingface_hub")
    handlers, log.handlers = log.handlers, [_FirstRetry(repository)]
    silent = not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    try:
        with disable_progress_bars() if silent else nullcontext():
            yield
    finally:
        log.handlers = handlers


# Looking without fetching


@contextmanager
def from_cache_only() -> Iterator[None]:
    """Nothing is fetched while the block runs: the clients look into their caches only.

    What the caches lack raises an error; `is_not_here` tells whether it is one.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_not_here(error: BaseException) -> bool:
    """Whether an error of `from_cache_only` means that something is not in the caches."""
    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _chain(error))


def why_unreachable(timeout_s: float) -> str | None:
    """Why the hub cannot be reached; None if it answers, whatever its answer is."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=timeout_s)
    except httpx.TimeoutException:
        return f"the hub at {constants.ENDPOINT} does not answer within {timeout_s:.0f} s"
    except (httpx.HTTPError, OSError) as error:
        return f"the hub at {constants.ENDPOINT} cannot be reached: {first_line(error)}"
    return None
