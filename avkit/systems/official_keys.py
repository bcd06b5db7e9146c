# SPDX-License-Identifier: Apache-2.0
"""Keys of official weights: renaming and counting them, and what is wrong with those that do not fit."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from avkit.errors import DataError


def rename(key: str, prefixes: Mapping[str, str]) -> str:
    """The key with the first matching prefix replaced."""
    for ours, theirs in prefixes.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def count_numbers(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers, counted from 0, the first group of a pattern has among the keys."""
    matches = [re.match(pattern, key) for key in state]
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


def short(value: Any) -> str:
    """A value as text; for long lists their length."""
    if isinstance(value, list) and len(value) > 8:
        return f"({len(value)} of them)"
    return str(value)


def check_keys(name: str, shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    """Raise DataError unless a state dict has exactly the keys of these shapes."""
    common = [key for key in shapes if key in state]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {shapes[key]}"
        for key in common
        if tuple(state[key].shape) != shapes[key]
    ]
    parts = [
        *_list_some(sorted(shapes.keys() - state.keys()), "missing"),
        *_list_some(sorted(state.keys() - shapes.keys()), "unknown"),
        *_list_some(wrong, "of another shape"),
    ]
    if parts:
        raise DataError(
            f"These weights do not fit {name}, which has {len(shapes)} keys: {'; '.join(parts)}. Sizes are read from "
            "the weights unless they are given; pass those that they were trained with."
        )


def _list_some(keys: Sequence[str], what: str) -> list[str]:
    """`["3 missing (a, b, c)"]`, or nothing where there are none."""
    if not keys:
        return []
    more = ", ..." if len(keys) > 3 else ""
    return [f"{len(keys)} {what} ({', '.join(keys[:3])}{more})"]
