# SPDX-License-Identifier: Apache-2.0
"""Annotation files as their authors published them: where each is, what its content is, and what its licence is.

`published_files.csv` has a row for each file: the releases that read it, where it lies under the root, and the address
by repository, commit and path. Its content is told by its SHA-256, or, for files that only git has listed so far, by
the id that git gives a content (`git hash-object`). `licence` is what the repository states; it is empty where there is
none.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from avkit.datasets.official import Official
from avkit.reading.digests import has_digest
from avkit.reading.text import read_unpacked


@dataclass(frozen=True)
class PublishedFile:
    """An annotation file of a dataset.

    Attributes:
        dataset: Name of the dataset.
        releases: Releases that read it.
        name: Its path under the root of the dataset.
        repository: `owner/name` on GitHub.
        commit: Commit of that repository, all 40 digits.
        path: Its path there.
        size: Its bytes; None where they are not known.
        digest: SHA-256 of its content, 64 digits, or git's id of it, 40 digits.
        licence: SPDX name of the licence that the repository states; empty where it states none.
    """

    dataset: str
    releases: tuple[str, ...]
    name: str
    repository: str
    commit: str
    path: str
    size: int | None
    digest: str
    licence: str

    @property
    def page(self) -> str:
        """Address of the page that shows it."""
        return f"https://github.com/{self.repository}/blob/{self.commit}/{self.path}"


@cache
def published_files() -> tuple[PublishedFile, ...]:
    """All rows of the table."""
    text = files("avkit.datasets").joinpath("published_files.csv").read_text(encoding="utf-8")
    return tuple(_read_row(row) for row in csv.DictReader(text.splitlines()))


def files_of(dataset: str, release: str) -> list[PublishedFile]:
    """The annotation files of one release of a dataset; empty where none is known."""
    return [file for file in published_files() if file.dataset == dataset and release in file.releases]


def _read_row(row: Mapping[str, str]) -> PublishedFile:
    return PublishedFile(
        dataset=row["dataset"],
        releases=tuple(row["releases"].split()),
        name=row["name"],
        repository=row["repository"],
        commit=row["commit"],
        path=row["path"],
        size=int(row["bytes"]) if row["bytes"] else None,
        digest=row["sha256"] or row["git_blob"],
        licence=row["licence"],
    )


def _digests() -> dict[tuple[str, str], dict[str, str]]:
    digests: dict[tuple[str, str], dict[str, str]] = {}
    for file in published_files():
        for release in file.releases:
            digests.setdefault((file.dataset, release), {})[file.name.rpartition("/")[2]] = file.digest
    return digests


#: Digests by dataset and release, and by the name of the file; files that are not named here were not at hand.
PUBLISHED_FILES: Mapping[tuple[str, str], Mapping[str, str]] = _digests()


def changed_files(dataset: Official) -> list[str]:
    """Names of the annotation files of a dataset that are others than those which its authors published.

    Files of which no digest is known are not judged; line ends of Windows make no difference.

    Raises:
        FileError: If a file cannot be read.
    """
    published = PUBLISHED_FILES.get((dataset.name, dataset.release), {})
    changed = []
    for path in dataset.annotation_files:
        name = path.name.removesuffix(".gz")
        if name not in published:
            continue
        content = read_unpacked(path)
        forms = (content, content.replace(b"\r\n", b"\n"))
        if not any(has_digest(form, published[name]) for form in forms):
            changed.append(name)
    return changed
