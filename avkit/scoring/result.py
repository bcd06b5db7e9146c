# SPDX-License-Identifier: Apache-2.0
"""The figures of a file of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avkit.errors import count_of
from avkit.metrics.intervals import ScoreRow
from avkit.tasks.base import Task


@dataclass
class Score:
    """The figures of a file of predictions.

    Attributes:
        task: The task.
        dataset: Name of the dataset.
        release: Release of its annotations; empty where there is none.
        split: Split that was scored.
        rows: Figures by name, those that the task is judged by first.
        n: Samples that have a prediction.
        listed: Samples of the list that was read.
        official_n: Samples of the official list; None where there is none.
        absent: How samples without a prediction were scored.
        faults: What could not be scored, one sentence each.
        more_faults: Further faults, which were counted only.
        notes: Remarks on the file and the metrics.
        format: Name of the form of the file.
        protocol: How the metrics are set, by name, and the size of true masks where there are some.
        annotations: Official files that were read.
        changed: Names of those that are others than their authors published.
        generated: Whether the samples are scenes, of which there is no official list.
    """

    task: Task
    dataset: str
    release: str
    split: str
    rows: Mapping[str, ScoreRow]
    n: int
    listed: int
    official_n: int | None
    absent: str = ""
    faults: list[str] = field(default_factory=list)
    more_faults: int = 0
    notes: list[str] = field(default_factory=list)
    format: str = ""
    protocol: Mapping[str, str] = field(default_factory=dict)
    annotations: Sequence[Path] = ()
    changed: Sequence[str] = ()
    generated: bool = False

    @property
    def complete(self) -> bool:
        """Whether each sample of the official list has exactly one prediction, and nothing else is in the file."""
        return not self.faults and self.n == self.listed == self.official_n

    @property
    def coverage(self) -> str:
        """How many samples have a prediction, of how many."""
        total = self.listed if self.official_n is None else self.official_n
        return f"{self.n:,} of {total:,}"


def describe_absent(result: Score) -> str:
    """What samples without a prediction mean for the figures; empty where there are none."""
    missing = result.listed - result.n
    if not missing:
        return ""
    samples = count_of(missing, "sample has", "samples have")
    verb = "was" if missing == 1 else "were"
    return f"{samples} no prediction and {verb} scored {result.absent}".replace("scored left", "left") + "."
