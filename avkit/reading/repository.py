# SPDX-License-Identifier: Apache-2.0
"""Repositories of the Hugging Face hub: their names, their files, and one clear line where a hub refuses them."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from avkit.reading.hub import HubError, from_hub, hugging_face

#: The owner and the name of a repository, and how long both may be together.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 96
_LOG_IN = "log in with 'hf auth login', or set HF_TOKEN"


def is_repository(name: str) -> bool:
    """Whether a name may be that of a repository, `owner/name`, and is no path here."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def check_repository(name: str) -> None:
    """Refuse a name that no repository can have.

    Raises:
        HubError: If it is no `owner/name`.
    """
    owner, _, repository = name.partition("/")
    parts_fit = _PART.fullmatch(owner) and _PART.fullmatch(repository)
    if parts_fit and len(name) <= _LONGEST and "--" not in name and ".." not in name:
        return
    raise HubError(
        f"{name!r} is no name of a repository. It is owner/name, each of letters, digits, '-', '_' and '.', at most "
        f"{_LONGEST} in all."
    )


def fetch_repository(
    name: str, patterns: Sequence[str], revision: str | None = None, folder: Path | None = None
) -> Path:
    """Files of a repository, from the cache where it has them.

    Args:
        name: `owner/name`.
        patterns: Paths of the files, or patterns of them.
        revision: A branch, tag or commit; the main branch where None.
        folder: Where to put the files; the cache where None.

    Returns:
        The folder with the files.

    Raises:
        HubError: If the hub cannot be reached, does not have the repository or revision, or does not give it.
    """
    from huggingface_hub import constants, snapshot_download

    check_repository(name)
    with from_hub(f"The files of {name}", hugging_face(name), "Name a folder here."), refused(name, revision):
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(patterns),
                endpoint=constants.ENDPOINT,
                local_dir=folder,
            )
        )


@contextmanager
def refused(name: str, revision: str | None = None) -> Iterator[None]:
    """Turn a hub's refusal within into one line that says what to do.

    Raises:
        HubError: If the hub does not have a repository or revision, or forbids what was asked.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    host = urlsplit(hugging_face(name)).netloc
    try:
        yield
    except GatedRepoError as error:
        raise HubError(
            f"{name} is given to those who have agreed to its terms. Agree at {hugging_face(name)} and {_LOG_IN}."
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(f"{name} has no revision {revision!r}. Leave the revision out for the main branch.") from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"{host} has no repository {name!r}, or it is private. Check the spelling; for a private one {_LOG_IN}."
        ) from error
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        if code not in (401, 403):
            raise
        raise HubError(
            f"{host} does not allow this token to do that with {name} ({code}). Use a token that may: {_LOG_IN}."
        ) from error
