# SPDX-License-Identifier: Apache-2.0
"""Annotation files of official datasets, downloaded where their licence allows it, and how to come by all else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avkit.datasets import find_dataset
from avkit.datasets.download import download, unwritable
from avkit.datasets.folder import Folder
from avkit.datasets.official import Official
from avkit.datasets.published_files import PublishedFile, files_of
from avkit.errors import DataError, unknown_name
from avkit.files import hold, release_lock
from avkit.reading.digests import has_digest
from avkit.reading.text import read_unpacked

#: Where files of repositories are served as they are.
GITHUB = "https://raw.githubusercontent.com"
#: Name of the file that says which process downloads into a folder.
_LOCK = ".avkit-get.lock"


@dataclass(frozen=True)
class Answer:
    """What `avkit get` knows about a dataset.

    Attributes:
        name: The dataset.
        title: Its name in print.
        release: Release of the annotations; empty where there is none.
        files: Its annotation files, as far as their addresses are known.
        how_to_get: How to come by the rest, and what to ask the authors.
    """

    name: str
    title: str
    release: str
    files: tuple[PublishedFile, ...]
    how_to_get: str

    @property
    def by_hand(self) -> tuple[PublishedFile, ...]:
        """Files that are not downloaded, since their authors state no licence."""
        return tuple(file for file in self.files if not file.licence)


def find_answer(name: str, release: str | None = None) -> Answer:
    """What is to be had of a dataset.

    Args:
        name: A name in `DATASETS`, or `package.module:Class`.
        release: Release of the annotations; the usual one where None.

    Raises:
        ValueError: If the dataset or its release is unknown.
    """
    dataset = find_dataset(name)
    if not issubclass(dataset, Official):
        if release is not None:
            raise ValueError(f"release is {release!r}; dataset {name!r} has no releases. Leave it out.")
        return Answer(name, name, "", (), dataset.how_to_get)
    if release is not None and release not in dataset.releases:
        raise unknown_name(f"release of {dataset.title}", release, dataset.releases)
    chosen = release or dataset.releases[0]
    how_to_get = dataset.how_to_get or f"Get {dataset.source}."
    return Answer(name, dataset.title, chosen, tuple(files_of(dataset.name, chosen)), how_to_get)


def get_annotations(
    answer: Answer, root: Path, mirror: str = GITHUB, tell: Callable[[PublishedFile, str], None] | None = None
) -> list[PublishedFile]:
    """Download the annotation files of a dataset that are not there yet.

    Args:
        answer: What is to be had.
        root: Folder of the dataset.
        mirror: Server that has the files, in place of GitHub's.
        tell: Is told of each file what became of it: `is there`, `downloaded` or `by hand`.

    Returns:
        The files that are still missing, since their authors state no licence.

    Raises:
        DataError: If a file is there with another content, cannot be downloaded, or another process downloads here.
        WriteError: If the disk is full.
    """
    missing = []
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = hold(root / _LOCK)
    except BlockingIOError as error:
        raise DataError(f"{root} is being filled by {error}. Wait until it is done, or take another folder.") from error
    except OSError as error:
        raise unwritable(root, error) from error
    try:
        for file in answer.files:
            state = _get(file, root, mirror)
            if state == "by hand":
                missing.append(file)
            if tell is not None:
                tell(file, state)
    finally:
        release_lock(lock)
    return missing


def _get(file: PublishedFile, root: Path, mirror: str) -> str:
    """Have one file under the root; returns what became of it."""
    path = Folder(root).find(file.name, file.name.rpartition("/")[2])
    if path is not None:
        content = read_unpacked(path)
        if not any(has_digest(form, file.digest) for form in (content, content.replace(b"\r\n", b"\n"))):
            raise DataError(
                f"{path} is not the file that its authors published ({file.page}). It is left as it is: move it away, "
                "or name another folder with --root."
            )
        return "is there"
    if not file.licence:
        return "by hand"
    address = f"{mirror.rstrip('/')}/{file.repository}/{file.commit}/{file.path}"
    download(address, root / file.name, file.digest, file.size)
    return "downloaded"
