# SPDX-License-Identifier: Apache-2.0
"""A run uploaded to a repository of the hub, in one commit."""

from pathlib import Path

from avkit.reading.hub import HubError, from_hub, hugging_face
from avkit.reading.repository import check_repository, refused


def need_token() -> str:
    """The token that the user has logged in with.

    Raises:
        HubError: If there is none.
    """
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise HubError(
            "Uploading needs a token with the right to write, and there is none. Log in with 'hf auth login', or set "
            "HF_TOKEN; without --yes nothing is uploaded, and no token is needed."
        )
    return token


def upload(folder: Path, name: str, *, create: bool, private: bool, message: str) -> str:
    """Upload all files of a folder as one commit.

    Args:
        folder: The files.
        name: `owner/name`.
        create: Make the repository where there is none.
        private: Make it private.
        message: Of the commit.

    Returns:
        The address of the repository.

    Raises:
        HubError: If there is no token or no repository, or the hub does not allow it.
    """
    from huggingface_hub import HfApi, constants

    check_repository(name)
    api = HfApi(endpoint=constants.ENDPOINT, token=need_token())
    with from_hub(f"The repository {name}", hugging_face(name), "Nothing was uploaded."):
        with refused(name):
            exists = api.repo_exists(name)
        if not exists and not create:
            raise HubError(f"There is no repository {name} that this token can see. Make it with --create.")
        with refused(name):
            if not exists:
                api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    return hugging_face(name)
