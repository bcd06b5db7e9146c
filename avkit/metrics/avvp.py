# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing (LLP): F-scores of segments and of events, per modality and together.

Source:
    YapengTian/AVVP-ECCV20 at commit fde56118f2c2, `utils/eval_metrics.py` and `eval` of its main script.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.intervals import Floats

#: The four scores of a video, in the official order.
KINDS = ("A", "V", "Event", "AV")


def parse(segment: Tensor, video: Tensor | None = None, threshold: float = 0.5) -> Tensor:
    """The classes of each segment: its own probability and that of the video both reach the threshold.

    Args:
        segment: Probabilities, (..., T, K).
        video: Probabilities of the video, (..., K); None uses those of the segments alone.
        threshold: Equality passes. Compared in float32, to which half precision is converted.

    Returns:
        bool (..., T, K).
    """
    classes = segment.float() >= threshold
    if video is not None:
        classes &= (video.float() >= threshold)[..., None, :]
    return classes


def rows_to_segments(rows: Iterable[tuple[float, float, int]], steps: int, classes: int) -> Tensor:
    """Annotated rows of one video as segments, bool (T, K); rows that overlap or touch become one.

    Args:
        rows: Onset and offset in seconds, both rounded down as in the official code, and class.
        steps: Segments T of one second.
        classes: Number of classes K.

    Raises:
        ValueError: If a class is out of range, or a row is reversed or starts before 0.
    """
    segments = torch.zeros(steps, classes, dtype=torch.bool)
    for onset, offset, kind in rows:
        if not 0 <= kind < classes:
            raise ValueError(f"Row ({onset}, {offset}, {kind}) names class {kind}; classes go from 0 to {classes - 1}.")
        if onset < 0 or offset < onset:
            raise ValueError(f"Row ({onset}, {offset}, {kind}): give 0 <= onset <= offset in seconds.")
        segments[int(onset) : int(offset), kind] = True
    return segments


def segment_counts(preds: Tensor, target: Tensor) -> Tensor:
    """True positives, false positives and false negatives over segments: bool (N, T, K) each to int64 (N, K, 3)."""
    true_positive = (preds & target).sum(1)
    return torch.stack([true_positive, preds.sum(1) - true_positive, target.sum(1) - true_positive], -1)


def event_counts(preds: Tensor, target: Tensor) -> Tensor:
    """The same over events, which are maximal runs of segments: bool (N, T, K) each to int64 (N, K, 3).

    A predicted event is correct if a true one of its class has an intersection over union of at least 0.5 with it, and
    a true event is missed if no prediction has. There is at most one such partner, so no assignment is needed.
    """
    active = (preds | target).any(1)  # few classes occur in a video; the counts of the others are 0
    predicted = _find_runs(preds.transpose(1, 2)[active])
    true = _find_runs(target.transpose(1, 2)[active])
    correct = (predicted.start & _has_partner(predicted, true)).sum(1)
    extra = predicted.start.sum(1) - correct
    missed = (true.start & ~_has_partner(true, predicted)).sum(1)
    counts = torch.zeros(*active.shape, 3, dtype=torch.long, device=preds.device)
    counts[active] = torch.stack([correct, extra, missed], -1)
    return counts


@dataclass(frozen=True)
class _Runs:
    """Runs of M rows of T segments.

    Attributes:
        on: Segments inside a run, bool (M, T).
        start: First segments of runs, bool (M, T).
        begin: For every segment of a run the index of the run's first segment, int32 (M, T).
        end: Likewise the index after the run's last segment.
    """

    on: Tensor
    start: Tensor
    begin: Tensor
    end: Tensor


def _find_runs(on: Tensor) -> _Runs:
    steps = on.shape[1]
    index = torch.arange(steps, device=on.device, dtype=torch.int32).expand_as(on)
    off = torch.zeros_like(on[:, :1])
    start = on & ~torch.cat([off, on[:, :-1]], 1)
    last = on & ~torch.cat([on[:, 1:], off], 1)
    begin = (index * start).cummax(1).values
    end = steps - (index.flip(1) * last).flip(1).cummax(1).values.flip(1)
    return _Runs(on, start, begin, end)


def _has_partner(own: _Runs, other: _Runs) -> Tensor:
    """Whether each run has a partner, given at the run's first segment: bool (M, T).

    A partner with an IoU of a half shares a segment with the run, so it suffices to compare the two runs of each
    segment, and to carry the result to the run's first segment.
    """
    intersection = torch.minimum(own.end, other.end) - torch.maximum(own.begin, other.begin)
    union = torch.maximum(own.end, other.end) - torch.minimum(own.begin, other.begin)
    partners = own.on & other.on & (2 * intersection >= union)
    count = torch.zeros_like(own.begin)
    return count.scatter_add_(1, own.begin.long(), partners.int()) > 0


def f_scores(counts: Tensor) -> Tensor:
    """F of each video: mean over the classes predicted or true, 1 where there is none; int64 (N, K, 3) to (N,)."""
    correct, extra, missed = counts.double().unbind(-1)
    total = 2 * correct + extra + missed
    f = torch.where(total > 0, 2 * correct / total.clamp(min=1), 0)
    present = (total > 0).sum(1)
    return torch.where(present > 0, f.sum(1) / present.clamp(min=1), 1.0)


class ParsingF1(ScoreMetric):
    """The ten F-scores of LLP: A, V, AV, Type@AV and Event@AV, over segments and over events.

    `official`: F of each class in a video, mean over the classes that occur in it (1 if none does), mean over videos.
    `micro`: counts of all videos and classes together. `macro`: counts of each class over all videos, then the mean
    over the classes that occur. Event adds the counts of both modalities; Type is the mean of A, V and AV.
    Tables show percent; values are fractions.

    Args:
        num_classes: Number of classes K.
        variant: `official`, `micro` or `macro`.
        threshold: See `parse`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or no class.
    """

    scores: Tensor
    counts: Tensor
    videos: Tensor

    def __init__(
        self,
        num_classes: int = 25,
        variant: Literal["official", "micro", "macro"] = "official",
        threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if variant not in ("official", "micro", "macro"):
            raise unknown_name("variant", variant, ("official", "micro", "macro"))
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; give 1 or more; LLP has 25.")
        self.num_classes = num_classes
        self.variant = variant
        self.threshold = threshold
        self.add_state("scores", default=torch.zeros(2, 4, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("counts", default=torch.zeros(2, 4, num_classes, 3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("videos", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(self.scores.numel() if variant == "official" else self.counts.numel())

    def update(
        self,
        audio: Tensor,
        visual: Tensor,
        target_audio: Tensor,
        target_visual: Tensor,
        video: Tensor | None = None,
        valid: Tensor | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add videos.

        Args:
            audio: Probability that each class is audible in each segment, (B, T, K).
            visual: Probability that it is visible.
            target_audio: Audible classes, 0 or 1, (B, T, K).
            target_visual: Visible classes.
            video: Probability of each class in the video, (B, K); classes below the threshold are removed from all
                segments, as in the official code. None uses the segments alone.
            valid: bool (B, T), False on padding. None keeps all.
            clips: Names of the videos, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes do not fit, or a value is no probability or no 0 or 1.
        """
        self._check(audio, visual, target_audio, target_visual, video, valid)
        keep = torch.ones_like(audio[..., :1], dtype=torch.bool) if valid is None else valid.bool()[..., None]
        audio = parse(audio, video, self.threshold) & keep
        visual = parse(visual, video, self.threshold) & keep
        target_audio = target_audio.bool() & keep
        target_visual = target_visual.bool() & keep
        rows = []
        for level, count in enumerate((segment_counts, event_counts)):
            of_audio = count(audio, target_audio)
            of_visual = count(visual, target_visual)
            of_both = count(audio & visual, target_audio & target_visual)
            for kind, counts in enumerate((of_audio, of_visual, of_audio + of_visual, of_both)):
                scores = f_scores(counts)
                self.scores[level, kind] += scores.sum()
                self.counts[level, kind] += counts.sum(0)
                rows.append(scores[:, None] if self.variant == "official" else counts.flatten(1))
        self.videos += len(audio)
        self.add_clips(torch.cat(rows, 1), clips)

    def compute(self) -> dict[str, float]:
        """`segment/A`, `segment/V`, `segment/AV`, `segment/Type`, `segment/Event`, and the same of `event/`.

        Fractions in [0, 1], NaN before the first video.
        """
        values: dict[str, float] = {}
        for level, name in enumerate(("segment", "event")):
            f = dict(zip(KINDS, self._level(level), strict=True))
            f["Type"] = (f["A"] + f["V"] + f["AV"]) / 3
            values |= {f"{name}/{kind}": f[kind] for kind in ("A", "V", "AV", "Type", "Event")}
        return values

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn videos."""
        values: dict[str, Floats] = {}
        levels = self._levels_of_sums(sums)
        for level, name in enumerate(("segment", "event")):
            f = dict(zip(KINDS, levels[level], strict=True))
            f["Type"] = (f["A"] + f["V"] + f["AV"]) / 3
            values |= {f"{name}/{kind}": f[kind] for kind in f}
        return values

    def _levels_of_sums(self, sums: Floats) -> Floats:
        """The four scores of both levels in each of R sets, (2, 4, R)."""
        if self.variant == "official":
            means = (sums[:, 1:] / sums[:, :1]).T
            return np.asarray(means.reshape(2, len(KINDS), -1))
        counts = sums[:, 1:].reshape(-1, 2, len(KINDS), self.num_classes, 3).transpose(1, 2, 0, 3, 4)
        if self.variant == "micro":
            counts = counts.sum(3, keepdims=True)
        rows = torch.from_numpy(np.ascontiguousarray(counts))
        return f_scores(rows.flatten(0, 2)).view(2, len(KINDS), -1).numpy()

    def _level(self, level: int) -> list[float]:
        if not self.videos:
            return [float("nan")] * len(KINDS)
        if self.variant == "official":
            means: list[float] = (self.scores[level] / self.videos).tolist()
            return means
        counts = self.counts[level]
        if self.variant == "micro":
            counts = counts.sum(1, keepdim=True)
        scores: list[float] = f_scores(counts).tolist()
        return scores

    def _check(
        self,
        audio: Tensor,
        visual: Tensor,
        target_audio: Tensor,
        target_visual: Tensor,
        video: Tensor | None,
        valid: Tensor | None,
    ) -> None:
        inputs = {"audio": audio, "visual": visual, "target_audio": target_audio, "target_visual": target_visual}
        shape = tuple(audio.shape)
        if audio.ndim != 3 or shape[2] != self.num_classes or {tuple(x.shape) for x in inputs.values()} != {shape}:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in inputs.items())
            raise ValueError(f"Shapes are {shapes}; all four must be (B, T, {self.num_classes}).")
        if video is not None and tuple(video.shape) != (shape[0], shape[2]):
            raise ValueError(f"video has shape {tuple(video.shape)}; give {(shape[0], shape[2])}, one row per video.")
        if valid is not None and tuple(valid.shape) != shape[:2]:
            raise ValueError(f"valid has shape {tuple(valid.shape)}; give {shape[:2]}, one flag per segment.")
        for name, x in (("audio", audio), ("visual", visual), ("video", video)):
            if x is not None and not bool(((x >= 0) & (x <= 1)).all()):
                raise ValueError(f"{name} has values outside [0, 1] or NaN; give probabilities, not logits.")
        for name in ("target_audio", "target_visual"):
            x = inputs[name]
            if x.dtype != torch.bool and not bool(((x == 0) | (x == 1)).all()):
                raise ValueError(f"{name} has values other than 0 and 1.")
