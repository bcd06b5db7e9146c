# SPDX-License-Identifier: Apache-2.0
"""What arithmetic says about a published row."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    "impossible",  # figures of the row contradict each other on every release that is known
    "misprint",  # one figure contradicts the others
    "disputed",  # another place prints another value for the same method
    "identical",  # another paper prints the very same figures for a method of another name
    "mixed",  # the table compares it with rows of another release
    "elsewhere",  # another place prints another value, measured on another release or other features
    "release unknown",  # the figures fit no release that is known
    "release",  # the figures fit one release alone
]
#: The gravest first.
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Finding:
    """One thing that follows from figures alone.

    Attributes:
        row: Id of the printed row.
        kind: One of `KINDS`.
        text: The arithmetic in words.
        metric: The figure that is meant; empty for the whole row.
        release: For `release`, its name.
    """

    row: str
    kind: Kind
    text: str
    metric: str = ""
    release: str = ""
