"""Models by their address on the Hub, `hf:OWNER/NAME[@REVISION]`: pinned by a row of the user's own registry."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cratecli.errors import UsageError, WeightsError
from cratecli.model.config import CrateConfig
from cratecli.weights import fetch, registry
from cratecli.weights.download import OFFICIAL_HUB, DownloadError, Note, OnBytes, explained, unsaid
from cratecli.weights.pull import forbidden, pull
from cratecli.weights.registry import HUB, Checkpoint
from cratecli.weights.rows import CUSTOM, Hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

MODEL_FILE = "model.safetensors"
_SUFFIX = ".safetensors"
_LONGEST_HEADER = 1 << 24  # bytes of a safetensors file's header: names, shapes and metadata


class Address(NamedTuple):
    """A repository of models on the Hub, `OWNER/NAME`, and a branch, tag or commit of it if one is named."""

    repository: str
    revision: str | None


def parse_address(name: str) -> Address:
    """Read `hf:OWNER/NAME[@REVISION]`. Raises `UsageError`."""
    if not (match := re.fullmatch(HUB, name)):
        raise UsageError(f"{name!r} is no model on the Hub: write hf:OWNER/NAME or hf:OWNER/NAME@REVISION")
    return Address(match["repository"], match["revision"])


def hub_client() -> "HfApi":
    """Give the Hub's client. The user's token goes to the Hub alone, to no other endpoint."""
    from huggingface_hub import HfApi, constants

    if constants.ENDPOINT == OFFICIAL_HUB:
        return HfApi(endpoint=OFFICIAL_HUB)
    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = (
        True  # uploads of large files would send it, whatever they are told
    )
    return HfApi(endpoint=constants.ENDPOINT, token=False)


Watching = Callable[[Checkpoint], OnBytes]
"""Gives the progress function of a download that begins."""


def _unwatched(_row: Checkpoint) -> OnBytes:
    return lambda _done, _total: None


def pull_by_name(
    name: str, watch: Watching = _unwatched, *, offline: bool = False, note: Note = unsaid
) -> Path:
    """Download a model of the registry, or any CRATE on the Hub, as `pull`, and give its path.

    An address on the Hub is pinned when it is first pulled.

    Pinned means a row in the user's own registry: with the full commit that the revision stands for, the file's size
    and SHA-256, and the config that is stored in it. From then on the address means these bytes.
    Raises `UsageError` for an unknown name or a wrong address, `WeightsError` when the Hub cannot be
    reached or what it has is no safetensors file with the config of a CRATE.
    """
    known = registry.load_registry()
    if name in known.names or not name.startswith("hf:"):
        row = known.find(name)
        return pull(row, watch(row), offline=offline, note=note)
    address = parse_address(name)
    if why := forbidden(offline=offline):
        raise WeightsError(f"{name} is not on this machine, and {why} forbids to fetch it")
    with explained(f"cannot fetch {name}", "check the address; a private model wants: hf auth login"):
        try:
            info = hub_client().model_info(address.repository, revision=address.revision, files_metadata=True)
        except (KeyError, TypeError) as error:  # of the client, which reads the answer
            raise DownloadError("the server does not answer as the Hub does") from error
    row = _row_of(name, address, info)
    path = pull(row, watch(row), note=note)
    size, sha256 = fetch.fingerprint(path)
    registry.save_checkpoint(replace(row, bytes=size, sha256=sha256, config=_stored_config(path)))
    return path


def _row_of(name: str, address: Address, info: "ModelInfo") -> Checkpoint:
    files = {each.rfilename: each for each in info.siblings or () if each.rfilename.endswith(_SUFFIX)}
    file = MODEL_FILE if MODEL_FILE in files else next(iter(files), "")
    if not file or (len(files) > 1 and file != MODEL_FILE):
        found = ", ".join(sorted(files)[:6]) or "none"
        raise WeightsError(
            f"{name}: a CRATE's repository has {MODEL_FILE}, or one {_SUFFIX} file; this has {found}: "
            "a row of your own registry can name any file"
        )
    about = files[file]
    card = info.card_data
    return Checkpoint(
        name,
        CUSTOM,
        None,
        Hub(address.repository, file, info.sha),
        bytes=about.size,
        sha256=about.lfs.sha256 if about.lfs else None,
        licence=str(card.license) if card and card.license else None,
    )


def _stored_config(path: Path) -> CrateConfig:
    """Read the config in the metadata of a safetensors file, and nothing else. Raises `WeightsError`."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, os.fstat(stream.fileno()).st_size):
                raise ValueError("it is no safetensors file")
            header = json.loads(stream.read(length))
        stored = header.get("__metadata__", {}).get("config") if isinstance(header, dict) else None
        if not isinstance(stored, str):
            raise ValueError("it holds no config of a CRATE; a row of your own registry can give one")
        return CrateConfig.from_dict(dict(json.loads(stored)))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: refused as a CRATE: {reason}") from None
