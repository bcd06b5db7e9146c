# SPDX-License-Identifier: Apache-2.0
"""Weights of public models: a path that was given, a folder of weights, a cache, or a download that is announced."""

import os
import sys
from pathlib import Path

import torch

from avkit.encoders.pretrained import released_file
from avkit.errors import AvkitError
from avkit.reading.hub import HubError, from_hub, hugging_face
from avkit.systems.zero_shot.catalogue import FREE_LICENCES, STAGES, Part

#: Environment variable that names a folder of weights: files such as yamnet.safetensors, and folders of models.
WEIGHTS_FOLDER = "AVKIT_WEIGHTS"
#: Files of a repository that are downloaded.
_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors", "*.jinja"]
#: Endings under which a single file may lie in the folder of weights.
_ENDINGS = (".safetensors", ".h5", ".pt", ".pth")


class MissingPart(AvkitError):
    """A model is not here and was not, or may not be, downloaded."""


def find_weights(part: Part, given: str | None, *, offline: bool, accepted: str) -> Path:
    """The weights of a part on this machine; downloaded where they are not here, after a line that announces it.

    Args:
        part: The model.
        given: A path that the user names; None to look in the folder of weights and in the cache.
        offline: Whether nothing may be downloaded.
        accepted: Licences that the user accepts, separated by commas.

    Returns:
        A file, or a folder that `save_pretrained` wrote.

    Raises:
        MissingPart: If the weights are not here and cannot or may not be downloaded.
    """
    if given:
        path = Path(given)
        if not path.exists():
            raise MissingPart(f"{given}, the weights for {part.stage}, does not exist. Check the path.")
        return path
    return _in_folder(part) or _in_cache(part) or _download(part, offline=offline, accepted=accepted)


def advice(part: Part) -> str:
    """How to get the weights of a part."""
    here = f"name them with --weights {part.stage}=PATH, or put them into the folder that {WEIGHTS_FOLDER} names"
    if part.is_file:
        return f"get it from {part.repository} and {here}"
    return f"get it with 'hf download {part.repository}' where there is a network, or {here}"


def _in_folder(part: Part) -> Path | None:
    """Weights in the folder of weights."""
    folder = os.environ.get(WEIGHTS_FOLDER)
    if not folder:
        return None
    names = [part.repository.rpartition("/")[2], part.name]
    for name in names:
        for candidate in (Path(folder, name), *(Path(folder, f"{name}{ending}") for ending in _ENDINGS)):
            if candidate.is_file() or (candidate / "config.json").is_file():
                return candidate
    return None


def _in_cache(part: Part) -> Path | None:
    """Weights in torch's cache, or in that of the hub."""
    if part.is_file:
        path = Path(torch.hub.get_dir(), "checkpoints", part.repository.rpartition("/")[2])
        return path if path.exists() else None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(part.repository, local_files_only=True, allow_patterns=_PATTERNS))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def _download(part: Part, *, offline: bool, accepted: str) -> Path:
    if offline:
        raise _missing(part, "--offline forbids a download")
    if part.licence not in FREE_LICENCES and part.licence not in accepted.split(","):
        raise MissingPart(
            f"{part.stage}: not run, {part.description} is not here, and its licence has not been accepted. Read it at "
            f"https://huggingface.co/{part.repository}, and add --accept_licence {part.licence} if you accept it."
        )
    where = part.repository if part.is_file else hugging_face(part.repository)
    announced = f"{part.stage}: downloading {part.description} from {where}"
    try:
        return _fetch(part, where, announced)
    except HubError as error:
        raise _missing(part, _cause(error)) from error
    except Exception as error:
        if type(error).__name__ == "GatedRepoError":
            raise MissingPart(
                f"{part.stage}: not run, the authors of {part.description} ask you to accept their licence first. Do "
                f"so at {where}, and log in with 'hf auth login'."
            ) from error
        raise


def _fetch(part: Part, where: str, announced: str) -> Path:
    from huggingface_hub import snapshot_download

    with from_hub(part.title, where, f"{advice(part)}.") as is_reachable:
        if not is_reachable:
            raise FileNotFoundError(where)
        print(announced, file=sys.stderr, flush=True)
        if part.is_file:
            return released_file(part.title, part.repository, f"{advice(part)}.", 0)
        return Path(snapshot_download(part.repository, allow_patterns=_PATTERNS))


def _cause(error: HubError) -> str:
    """Why a hub gave nothing, out of the sentence of the error."""
    text = str(error)
    _, found, rest = text.partition("cannot be downloaded from ")
    if not found:
        return text
    _, _, cause = rest.partition(": ")
    return cause.partition(". ")[0]


def _missing(part: Part, why: str) -> MissingPart:
    return MissingPart(
        f"{part.stage}: not run, {part.description}, which {STAGES[part.stage]}, is not here ({why}); {advice(part)}."
    )
