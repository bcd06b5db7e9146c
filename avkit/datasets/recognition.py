# SPDX-License-Identifier: Apache-2.0
"""Which official dataset a folder looks like."""

from avkit.datasets.folder import Folder


def other_dataset(root: Folder, name: str) -> str:
    """A sentence that names the dataset that a root looks like; empty if it looks like none, or like that of a name."""
    from avkit.datasets import DATASETS, find_dataset
    from avkit.datasets.official import Official

    for known in DATASETS:
        other = find_dataset(known)
        if not issubclass(other, Official) or other.name == name:
            continue
        for file in other.marker_files:
            if root.find(file):
                return f" It holds {file}: it looks like {other.title} (dataset {known!r})."
    return ""
