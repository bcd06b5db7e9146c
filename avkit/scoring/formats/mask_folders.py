# SPDX-License-Identifier: Apache-2.0
"""Masks in the folders of a dataset's own layout that name no sample, such as Ref-AVS's `VID/fid_N`."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.official import Official
from avkit.scoring.formats.listed import other_splits
from avkit.scoring.truth import Truth

#: Names of a folder and of the one above it.
FolderName = tuple[str, str]


class OwnFolders:
    """Which samples the folders of a dataset's masks are of: all sentences about one object share its folder.

    Args:
        truth: The samples that are scored.
    """

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self._own: dict[FolderName, list[str]] = {}
        if isinstance(truth.dataset, Official):
            for name in truth.ids:
                annotation = truth.dataset.annotations[truth.dataset.samples[truth.place(name)].clip]
                for folder in _folders(truth.dataset, annotation):
                    self._own.setdefault(folder, []).append(name)

    def samples_of(self, path: Path) -> list[str] | None:
        """The samples that a file of masks is of; None where its folders are none of the dataset's."""
        return self._own.get((path.parent.parent.name, path.parent.name))

    def split_of(self, path: Path) -> str | None:
        """The other split that has the folder of a file; None where none has."""
        return self._others.get((path.parent.parent.name, path.parent.name)) if self._own else None

    @cached_property
    def _others(self) -> Mapping[FolderName, str]:
        splits: dict[FolderName, str] = {}
        for split, dataset in other_splits(self.truth):
            for annotation in dataset.annotations:
                for folder in _folders(dataset, annotation):
                    splits.setdefault(folder, split)
        return splits


def _folders(dataset: Official, annotation: Annotation) -> Iterable[FolderName]:
    """The folder of a sample's masks by each pattern whose last folder is not the sample's media."""
    for pattern in dataset.patterns.masks:
        above, _, last = pattern.rpartition("/")[0].rpartition("/")
        if "{" in last and "{media}" not in last:
            values = {"media": annotation.media, **annotation.placeholders}
            yield above.rpartition("/")[2].format_map(values), last.format_map(values)
