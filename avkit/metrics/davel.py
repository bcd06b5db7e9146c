# SPDX-License-Identifier: Apache-2.0
"""Dense audio-visual event localisation (UnAV-100): mean average precision over temporal IoU thresholds.

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/utils/metrics.py` (`ANETdetection`), which CCNet shares.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import BLOCKS, ScoreMetric, clip_number
from avkit.metrics.event_precision import (
    THRESHOLDS,
    EventTable,
    Floats,
    Ints,
    Ties,
    Unknown,
    average_precision,
    resampled_precision,
    without_duplicates,
)
from avkit.metrics.event_rows import check_lists, event_rows, event_table, video_lengths
from avkit.metrics.inputs import ArrayLike, to_names
from avkit.metrics.intervals import resample_counts


class EventDetectionMAP(ScoreMetric):
    """mAP at temporal IoU 0.1 to 0.9 and their mean `Avg`, as published for UnAV-100.

    Classes are those of the targets; one without detections counts as 0. Videos are scored in the order of their names,
    so that ties are broken alike however the videos were batched or distributed over processes.

    Examples:
        >>> metric = EventDetectionMAP()
        >>> event = {"segments": [[1.0, 4.0]], "labels": [7]}
        >>> metric.update(["a"], [{**event, "scores": [0.9]}], [event])
        >>> metric.compute()["Avg"]
        1.0

    Args:
        ties: Which of detections with equal scores comes first, see `average_precision`.
        unknown: What happens to labels that no target has, likewise.
        thresholds: Temporal IoU thresholds.
        classes: Names of classes in index order, for labels that are names.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown rule or thresholds outside (0, 1].
    """

    #: Rows (N, 4) of each update: start, end, label, score.
    preds: list[Tensor]
    target: list[Tensor]
    #: Number of the video of each row, (N,).
    preds_video: list[Tensor]
    target_video: list[Tensor]
    #: Numbers of all videos, those without events too.
    videos: list[Tensor]

    counted = "videos"

    def __init__(
        self,
        ties: Ties = "later_first",
        unknown: Unknown = "official",
        thresholds: Sequence[float] | Floats = THRESHOLDS,
        *,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self._known: set[int] = set()
        if ties not in ("later_first", "earlier_first"):
            raise unknown_name("rule for ties", ties, ("later_first", "earlier_first"))
        if unknown not in ("official", "drop"):
            raise unknown_name("rule for unknown labels", unknown, ("official", "drop"))
        self.thresholds = np.asarray(thresholds, np.float64)
        inside = (self.thresholds > 0) & (self.thresholds <= 1)
        if self.thresholds.ndim != 1 or not len(self.thresholds) or not inside.all():
            raise ValueError(f"thresholds={thresholds}; give a list of temporal IoUs above 0 and up to 1.")
        self.ties: Ties = ties
        self.unknown: Unknown = unknown
        for name in ("preds", "target"):
            self.add_list_state(name, torch.zeros(0, 4, dtype=torch.double))
        for name in ("preds_video", "target_video", "videos"):
            self.add_list_state(name, torch.zeros(0, dtype=torch.long))

    def update(
        self,
        videos: Sequence[str],
        preds: Sequence[Mapping[str, ArrayLike]],
        target: Sequence[Mapping[str, ArrayLike]],
        durations: ArrayLike | None = None,
    ) -> None:
        """Add videos; each may be added once.

        Args:
            videos: Names.
            preds: Detections of each video: `segments` (N, 2) start and end in seconds, `labels` (N,), numbers or
                names, `scores` (N,) of any range, for only their order counts.
            target: Events of each video: `segments` (N, 2) and `labels` (N,). Duplicates are left out, see
                `without_duplicates`.
            durations: Length of each video in seconds, which shows times that are no seconds. None checks nothing.

        Raises:
            ValueError: If lengths differ, a video was added before, a segment is reversed, starts before 0 or lies
                behind the end of its video, a label is negative or unknown or a value is not finite.
            TypeError: If something is no array of numbers or names of `classes`.
        """
        check_lists(videos, preds, target)
        names = to_names("videos", videos, len(videos))
        lengths = video_lengths(durations, len(names))
        rows = []
        numbers: set[int] = set()
        for name, detections, events, length in zip(names, preds, target, lengths, strict=True):
            number = clip_number(name)
            if number in self._known or number in numbers:
                raise ValueError(f"Video {name!r} was added before; each is scored once.")
            numbers.add(number)
            detected = event_rows(f"preds[{name!r}]", detections, self.classes, length, scored=True)
            true = event_rows(f"target[{name!r}]", events, self.classes, length, scored=False)
            keep = without_duplicates(true[:, :2].cpu().numpy(), true[:, 2].long().cpu().numpy())
            rows.append((number, detected, true[torch.from_numpy(keep).to(true.device)]))
        self._known |= numbers
        for number, detected, true in rows:
            self.preds.append(detected.to(self.device))
            self.preds_video.append(torch.full((len(detected),), number, device=self.device))
            self.target.append(true.to(self.device))
            self.target_video.append(torch.full((len(true),), number, device=self.device))
            self.videos.append(torch.tensor([number], device=self.device))

    def compute(self) -> dict[str, float]:
        """`mAP@0.1` to `mAP@0.9` and `Avg` in [0, 1]; NaN where there is no target.

        Raises:
            ValueError: If two processes were given the same video, as a sampler that pads does.
        """
        videos = self.joined("videos")
        twice = len(videos) - len(videos.unique())
        if twice:
            raise ValueError(f"{twice} videos were added twice, in two processes; give each to one.")
        preds, target = self.events()
        table, _ = average_precision(preds, target, self.thresholds, self.ties, self.unknown)
        means = table.mean(1) if table.shape[1] else np.full(len(self.thresholds), np.nan)
        values = {}
        for threshold, mean in zip(self.thresholds, means, strict=True):
            values[f"mAP@{threshold:g}"] = float(mean)
        values["Avg"] = float(means.mean())
        return values

    def sizes(self) -> Mapping[str, int]:
        """Videos."""
        return {"": len(self.joined("videos"))}

    def draws(self) -> Mapping[str, Floats]:
        """The same of drawn videos; matches within a video are those of the whole set."""
        blocks = np.unique(self.joined("videos").cpu().numpy() % BLOCKS)
        preds, target = self.events()
        if len(blocks) < 2 or not len(target.video):
            return {}
        counts = resample_counts(len(blocks))

        def unit_of(video: Ints) -> Ints:
            return np.searchsorted(blocks, video % BLOCKS)

        means = resampled_precision(preds, target, counts, unit_of, self.thresholds, self.ties, self.unknown)
        draws = {f"mAP@{threshold:g}": mean for threshold, mean in zip(self.thresholds, means, strict=True)}
        return {**draws, "Avg": means.mean(0)}

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._known.clear()

    def events(self) -> tuple[EventTable, EventTable]:
        """All detections and all targets so far, in the order of the names of videos."""
        return self._table("preds"), self._table("target")

    def _table(self, name: str) -> EventTable:
        return event_table(self.joined(name).cpu().numpy(), self.joined(f"{name}_video").cpu().numpy())
