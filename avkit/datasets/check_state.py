# SPDX-License-Identifier: Apache-2.0
"""The result of a check of a dataset on disk."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: Maximum number of examples given of each kind of problem.
_MAX_EXAMPLES = 3


@dataclass
class Problem:
    """One kind of fault.

    Attributes:
        split: Split that has it; empty where it concerns all splits.
        what: The fault, as a sentence.
        count: Number of clips or files that have it.
        examples: Some of their names.
        fatal: Whether the dataset cannot be used as it is; else the fault is only worth knowing.
        faults: Every single fault with file, line and field, where they differ.
    """

    split: str
    what: str
    count: int
    examples: list[str] = field(default_factory=list)
    fatal: bool = True
    faults: list[str] = field(default_factory=list)


def problem_of(
    split: str, what: str, names: Sequence[str], *, fatal: bool = True, faults: Sequence[str] = ()
) -> Problem:
    """The problem that clips or files of some names have, the first of them as examples."""
    return Problem(split, what, len(names), list(names[:_MAX_EXAMPLES]), fatal, list(faults))


@dataclass
class SplitState:
    """What is present of a split.

    Attributes:
        split: Its name.
        listed: Samples in the annotation files.
        official: Samples that the official files have, or None where that is not known.
        present: Samples whose media, or features, are all present.
        missing: Number of samples by what they lack.
    """

    split: str
    listed: int
    official: int | None
    present: int
    missing: dict[str, int] = field(default_factory=dict)


@dataclass
class DatasetState:
    """The result of a check.

    Attributes:
        dataset: Name of the dataset.
        root: Its folder.
        release: Release of the annotations.
        splits: What is present of each split.
        features: Number of clips, as text, that have each kind of features.
        problems: What is wrong or worth knowing.
        source: Where to get what is missing.
    """

    dataset: str
    root: str
    release: str
    splits: list[SplitState] = field(default_factory=list)
    features: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    source: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything is present and readable."""
        return not any(problem.fatal for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return {"ok": self.ok, **asdict(self)}
