"""The pre-trained model of a training: whether it is on this machine, and how much would be fetched."""

from __future__ import annotations

from search.doctor.findings import OK, PROBLEM, Finding
from supernet.models.hub import bytes_to_fetch
from supernet.models.pretrained import Pretrained, locate
from supernet.options.model import ModelSource
from supernet.runtime.distributed import quietly
from supernet.runtime.errors import UserError
from supernet.runtime.hub import from_cache_only, is_not_here, why_unreachable

HUB_TIMEOUT_S = 5.0


def find_model(source: ModelSource) -> Pretrained | Finding:
    """The model if it is on this machine; else what would happen. Nothing is fetched.

    Raises:
        UserError: if it is here and cannot be used.
    """
    try:
        with from_cache_only(), quietly():
            return locate(source)
    except UserError as error:
        if not is_not_here(error):
            raise
    if (why := why_unreachable(HUB_TIMEOUT_S)) is not None:
        advice = "fetch it where there is a network, or give a local folder with model.name_or_path=FOLDER"
        return Finding(PROBLEM, f"{source.on_hub} is not on this machine, and {why}", advice)
    return Finding(OK, f"{source.on_hub} is not on this machine; a training fetches {_size(source)} first")


def _size(source: ModelSource) -> str:
    """What would be fetched, as far as that is known."""
    try:
        with quietly():
            return f"{bytes_to_fetch(str(source.on_hub), source.revision) / 1e6:.0f} MB"
    except UserError:
        return "it" if source.size_bytes is None else f"{source.size_bytes / 1e6:.0f} MB"
