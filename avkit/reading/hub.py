# SPDX-License-Identifier: Apache-2.0
"""Weights and files from hubs: one quick attempt to reach a hub, and one clear error where it does not provide them."""

import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from avkit.errors import AvkitError

#: Seconds that a hub has to answer.
ANSWER_SECONDS = 3.0
#: Seconds without a byte after which a download by torch or open_clip has failed.
_SILENT_SECONDS = 20.0
#: Libraries whose exceptions tell of the network or of a hub.
_NETWORK_LIBRARIES = ("httpx", "httpcore", "requests", "urllib3", "huggingface_hub")


#: Why nothing may be downloaded; empty where it may.
_FORBIDDEN: ContextVar[str] = ContextVar("downloads are forbidden", default="")


@contextmanager
def no_downloads(*, wanted: bool, reason: str = "--offline forbids a download") -> Iterator[None]:
    """Take everything from caches within the block, if that is wanted.

    Args:
        wanted: Whether it is.
        reason: What an error says then.
    """
    token = _FORBIDDEN.set(reason if wanted else _FORBIDDEN.get())
    try:
        yield
    finally:
        _FORBIDDEN.reset(token)


class HubError(AvkitError, ValueError):
    """Weights or files of a hub are neither in the cache nor can they be downloaded."""


def hugging_face(repository: str) -> str:
    """Address of a repository of the Hugging Face hub, or of the mirror that `HF_ENDPOINT` names."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repository}"


@contextmanager
def from_hub(what: str, address: str, instead: str, parameters: Callable[[], int] | None = None) -> Iterator[bool]:
    """Have a library load something from its cache or from a hub while the block runs.

    The hub is asked once. If it does not answer, libraries of Hugging Face use their cache alone in the block, so that
    they do not try again for a minute.

    Args:
        what: What is loaded, such as `Weights of pvt_v2_b5`.
        address: Where it is from.
        instead: What to do without it, as a sentence.
        parameters: Gives the number of parameters, for the size in an error.

    Yields:
        Whether the hub answers.

    Raises:
        HubError: If the block fails for want of what it loads.
    """
    reason = _why_not_asked(address)
    try:
        if reason and not _may_be_cached(address):
            raise FileNotFoundError(address)
        with _only_cache() if reason else _bounded_downloads():
            yield not reason
    except Exception as error:
        if isinstance(error, HubError) or not _tells_of_network(error):
            raise
        size = ""
        if parameters:
            with _without_messages():
                size = f" ({_size_text(parameters())})"
        cause = reason if _FORBIDDEN.get() else f"{urlsplit(address).netloc} cannot be reached: {reason}"
        if not reason:
            cause = f"the download failed: {' '.join(str(error).split())[:200]}"
        raise HubError(
            f"{what}{size} are not in the cache here, and cannot be downloaded from {address}: {cause}. {instead}"
        ) from error


def _why_not_asked(address: str) -> str:
    """Why a hub is not asked or does not answer; empty if it does."""
    from huggingface_hub import constants

    if _FORBIDDEN.get():
        return _FORBIDDEN.get()
    if constants.HF_HUB_OFFLINE and address.startswith(constants.ENDPOINT):
        return "HF_HUB_OFFLINE is set"
    return why_unreachable(address)


def why_unreachable(address: str) -> str:
    """Why the server of an address does not answer within a few seconds; empty if it does."""
    reasons = [f"no answer within {ANSWER_SECONDS:g} s"]
    # looking up a name has no time limit of its own
    attempt = Thread(target=lambda: reasons.append(_ask(address)), daemon=True)
    attempt.start()
    attempt.join(ANSWER_SECONDS)
    return reasons[-1]


def _ask(address: str) -> str:
    """Ask the host of an address for its first page; returns why it does not answer, empty if it does."""
    parts = urlsplit(address)
    request = Request(f"{parts.scheme}://{parts.netloc}", method="HEAD")
    try:
        urlopen(request, timeout=ANSWER_SECONDS).close()
    except HTTPError:  # it answered
        return ""
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return "" if isinstance(reason, ssl.SSLError) else str(reason) or type(error).__name__
    return ""


def _may_be_cached(address: str) -> bool:
    """Whether files of an address may be in a cache; known before a large network is built for them."""
    from huggingface_hub import constants

    if not address.startswith(f"{constants.ENDPOINT}/"):
        return not _FORBIDDEN.get() or _is_in_file_caches(address)
    if "TRANSFORMERS_CACHE" in os.environ:
        return True
    repository = address.removeprefix(f"{constants.ENDPOINT}/")
    return Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}").exists()


def _is_in_file_caches(address: str) -> bool:
    """Whether a file of an address lies where torch, timm or open_clip keep what they downloaded."""
    import torch

    name = address.rpartition("/")[2]
    folders = (Path(torch.hub.get_dir(), "checkpoints"), Path("~/.cache/clip").expanduser())
    return any((folder / name).exists() for folder in folders)


@contextmanager
def _only_cache() -> Iterator[None]:
    """Have libraries of Hugging Face use their cache alone, without messages of their own."""
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        with _without_messages():
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def _without_messages() -> Iterator[None]:
    """Keep libraries from logging what an error says already."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _bounded_downloads() -> Iterator[None]:
    """Have downloads by torch and open_clip, which set no time limit, end when nothing comes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _tells_of_network(error: Exception) -> bool:
    """Whether an exception says that something could not be found or downloaded."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or library in _NETWORK_LIBRARIES or "download" in str(error).lower()


def _size_text(parameters: int) -> str:
    """Number of parameters, and size of a file of 32-bit numbers."""
    megabytes = 4 * parameters / 1e6
    size = f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
    return f"{parameters / 1e6:.1f} million parameters, about {size}"
