# SPDX-License-Identifier: Apache-2.0
"""Files of another release or split than was asked for, told by their number of rows."""

from collections.abc import Mapping
from typing import NamedTuple

from avkit.errors import DataError


class ReleasePart(NamedTuple):
    """A split of a release.

    Attributes:
        release: The release.
        split: The split.
    """

    release: str
    split: str


def check_release(title: str, counts: Mapping[str, Mapping[str, int]], asked: ReleasePart, total: int) -> None:
    """Refuse files of another release or split.

    Args:
        title: Name of the dataset.
        counts: Number of samples by release and split.
        asked: What was asked for.
        total: Number of rows in the files.

    Raises:
        DataError: If another release or split has as many rows, and the one asked for has not.
    """
    expected = counts.get(asked.release, {}).get(asked.split)
    if expected is None or total == expected:
        return
    for release, splits in counts.items():
        for split, count in splits.items():
            if total == count and (release, split) != asked:
                raise DataError(
                    f"{title}: release {asked.release!r} has {expected} samples in split {asked.split!r}; the file "
                    f"found has {total}, as split {split!r} of release {release!r} has. Take files of one release and "
                    f"split, or ask for release={release!r}."
                )
