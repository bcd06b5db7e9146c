# SPDX-License-Identifier: Apache-2.0
"""Which splits a dataset has."""

from collections.abc import Sequence

from avkit.errors import EmptySplitError, unknown_name


def check_split(title: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that an official dataset does not have.

    Args:
        title: The dataset in print.
        split: The split that is wanted.
        splits: Those that there are.

    Raises:
        EmptySplitError: If it is a usual one, which others have.
        ValueError: If nobody has it.
    """
    if split in splits:
        return
    if split in ("train", "val", "test"):
        raise EmptySplitError(
            f"{title} has no split {split!r}, only {', '.join(splits)}. Train on other data and test on this: avkit "
            "test RUN --data.dataset NAME, or avkit test zero_shot --dataset NAME."
        )
    raise unknown_name(f"split of {title}", split, splits)
