# SPDX-License-Identifier: Apache-2.0
"""Recall of true events by their duration: figure 3 of CCNet (AAAI 2025)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from avkit.metrics.base import ScoreMetric
from avkit.metrics.event_precision import duration_bins, localised, without_duplicates
from avkit.metrics.event_rows import check_lists, event_rows, event_table, video_lengths
from avkit.metrics.inputs import ArrayLike, to_names
from avkit.metrics.intervals import Floats

#: Ends of the ranges of durations, in seconds.
DURATIONS = (0.0, 5.0, 20.0, 60.0)


class EventRecall(ScoreMetric):
    """Share of true events that are found, for events of each range of durations.

    A true event is found if a detection of its class in its video has a temporal IoU above the threshold. The paper
    calls the share a precision; it divides by the number of true events, so it is a recall. It does not say which
    detections count: here all that are given do, so a long list of guesses scores high.

    Examples:
        >>> metric = EventRecall()
        >>> event = {"segments": [[1.0, 4.0]], "labels": [7]}
        >>> metric.update(["a"], [{**event, "scores": [0.9]}], [event])
        >>> metric.compute()["(0, 5] s"]
        1.0

    Args:
        edges: Ends of the ranges in seconds, ascending; each range leaves out its lower end and holds its upper one.
        threshold: Temporal IoU that has to be exceeded.
        classes: Names of classes in index order, for labels that are names.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: If there are fewer than two ends, they do not ascend, or the threshold is outside [0, 1).
    """

    counted = "events"

    def __init__(
        self,
        edges: Sequence[float] = DURATIONS,
        threshold: float = 0.5,
        *,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(edges) < 2 or any(high <= low for low, high in pairwise(edges)):
            raise ValueError(f"edges={list(edges)}; give two or more ascending durations in seconds.")
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold={threshold}; give a temporal IoU from 0 to below 1.")
        self.edges = tuple(edges)
        self.threshold = threshold
        self.classes = classes
        #: Names of the ranges.
        self.ranges = [f"({low:g}, {high:g}] s" for low, high in pairwise(edges)]
        self.add_blocks(2 * len(self.ranges))

    def update(
        self,
        videos: Sequence[str],
        preds: Sequence[Mapping[str, ArrayLike]],
        target: Sequence[Mapping[str, ArrayLike]],
        durations: ArrayLike | None = None,
    ) -> None:
        """Add videos; arguments and errors as of `EventDetectionMAP.update`, duplicates are left out as there."""
        check_lists(videos, preds, target)
        names = to_names("videos", videos, len(videos))
        lengths = video_lengths(durations, len(names))
        sums = torch.zeros(len(names), 2 * len(self.ranges), dtype=torch.double)
        for row, (name, detections, events, length) in enumerate(zip(names, preds, target, lengths, strict=True)):
            predicted = event_rows(f"preds[{name!r}]", detections, self.classes, length, scored=True).cpu().numpy()
            true = event_rows(f"target[{name!r}]", events, self.classes, length, scored=False).cpu().numpy()
            true = true[without_duplicates(true[:, :2], true[:, 2].astype(np.int64))]
            sums[row] = torch.from_numpy(self._count(predicted, true))
        self.add_clips(sums, names)

    def _count(self, predicted: Floats, true: Floats) -> Floats:
        """Localised events of each range, then all events of each range, of one video."""
        preds = event_table(predicted, np.zeros(len(predicted), np.int64))
        target = event_table(true, np.zeros(len(true), np.int64))
        number = duration_bins(target.span, self.edges)
        inside = number >= 0
        hit = localised(preds, target, self.threshold)
        right = np.bincount(number[inside & hit], minlength=len(self.ranges))
        total = np.bincount(number[inside], minlength=len(self.ranges))
        return np.concatenate([right, total]).astype(np.float64)

    def compute(self) -> dict[str, float]:
        """Recall in [0, 1] by range, such as `(0, 5] s`; NaN where no true event has such a duration."""
        sums = self.blocks.sum(0, keepdim=True).cpu().numpy()
        return {name: float(values[0]) for name, values in self.scores_of_sums(sums).items()}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of R sets."""
        count = len(self.ranges)
        right = sums[:, 1 : 1 + count]
        total = sums[:, 1 + count :]
        share = np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)
        return {name: share[:, number] for number, name in enumerate(self.ranges)}

    def sizes(self) -> Mapping[str, int]:
        """True events of each range."""
        total = self.units()[:, 1 + len(self.ranges) :].sum(0)
        return {name: round(float(total[number])) for number, name in enumerate(self.ranges)}
