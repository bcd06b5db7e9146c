# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing (LLP): F-scores of segments and of events, per modality and together.

Source:
    YapengTian/AVVP-ECCV20 at commit fde56118f2c2, `utils/eval_metrics.py` and `eval` of its main script.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric

#: The four scores of a video, in the official order.
KINDS = ("A", "V", "Event", "AV")


def parse(segment: Tensor, video: Tensor | None = None, threshold: float = 0.5) -> Tensor:
    """Which classes a segment has: its own probability and the video's both reach the threshold.

    Args:
        segment: Probabilities, (..., T, K).
        video: Probabilities of the video, (..., K); None leaves the segments alone.
        threshold: Reached by equality too. Compared in float32, half precision being widened first.

    Returns:
        bool (..., T, K).
    """
    found = segment.float() >= threshold
    return found if video is None else found & (video.float() >= threshold)[..., None, :]


def rows_to_segments(rows: Iterable[tuple[float, float, int]], steps: int, classes: int) -> Tensor:
    """Annotated rows of one video to segments, bool (T, K); rows that overlap or touch become one.

    Args:
        rows: Onset and offset in seconds, both cut to whole seconds as in the official code, and class.
        steps: Segments T of one second.
        classes: Number of classes K.

    Raises:
        ValueError: If a class is out of range, or a row is reversed or starts before 0.
    """
    out = torch.zeros(steps, classes, dtype=torch.bool)
    for onset, offset, kind in rows:
        if not 0 <= kind < classes:
            raise ValueError(f"Row ({onset}, {offset}, {kind}) names class {kind}; classes go from 0 to {classes - 1}.")
        if onset < 0 or offset < onset:
            raise ValueError(f"Row ({onset}, {offset}, {kind}): give 0 <= onset <= offset in seconds.")
        out[int(onset) : int(offset), kind] = True
    return out


def segment_counts(predicted: Tensor, target: Tensor) -> Tensor:
    """True positives, false positives and false negatives over segments: bool (N, T, K) each to int64 (N, K, 3)."""
    both, found, true = (x.sum(1) for x in (predicted & target, predicted, target))
    return torch.stack([both, found - both, true - both], -1)


def event_counts(predicted: Tensor, target: Tensor) -> Tensor:
    """The same over events, maximal runs of segments: bool (N, T, K) each to int64 (N, K, 3).

    A predicted event is right if a true one of its class has an intersection over union of at least 0.5 with it, and a
    true event is missed if no prediction does. Such a partner is unique, so no assignment is needed.
    """
    active = (predicted | target).any(1)  # few classes occur in a video; the others count nothing
    one, other = (_runs(x.transpose(1, 2)[active]) for x in (predicted, target))
    found, right = one["start"].sum(1), (one["start"] & _matched(one, other)).sum(1)
    missed = (other["start"] & ~_matched(other, one)).sum(1)
    counts = torch.zeros(*active.shape, 3, dtype=torch.long, device=predicted.device)
    counts[active] = torch.stack([right, found - right, missed], -1)
    return counts


def _runs(x: Tensor) -> dict[str, Tensor]:
    """For bool (M, T): where runs start, and for every segment where its run begins and ends (exclusive)."""
    steps = x.shape[1]
    index = torch.arange(steps, device=x.device, dtype=torch.int32).expand_as(x)
    edge = torch.zeros_like(x[:, :1])
    start = x & ~torch.cat([edge, x[:, :-1]], 1)
    end = x & ~torch.cat([x[:, 1:], edge], 1)
    begin = (index * start).cummax(1).values
    stop = steps - (index.flip(1) * end).flip(1).cummax(1).values.flip(1)
    return {"on": x, "start": start, "begin": begin, "stop": stop}


def _matched(own: dict[str, Tensor], other: dict[str, Tensor]) -> Tensor:
    """Whether the run of each segment has a partner, at the run's first segment: bool (M, T).

    A partner of an IoU of a half covers some segment of the run, so it is enough to ask at each segment for the run of
    the other that is on there, and to carry a yes back to the run's start.
    """
    both = own["on"] & other["on"]
    low, high = torch.maximum(own["begin"], other["begin"]), torch.minimum(own["stop"], other["stop"])
    union = torch.maximum(own["stop"], other["stop"]) - torch.minimum(own["begin"], other["begin"])
    good = both & (2 * (high - low) >= union)
    out = torch.zeros_like(own["begin"])
    return out.scatter_add_(1, own["begin"].long(), good.int()) > 0


def f_scores(counts: Tensor) -> Tensor:
    """F per video: mean over the classes that are predicted or true, 1 where there is none; int64 (N, K, 3) to (N,)."""
    true, extra, missed = counts.double().unbind(-1)
    total = 2 * true + extra + missed
    f = torch.where(total > 0, 2 * true / total.clamp(min=1), 0)
    present = (total > 0).sum(1)
    return torch.where(present > 0, f.sum(1) / present.clamp(min=1), 1.0)


class ParsingF1(ScoreMetric):
    """The ten F-scores of LLP: A, V, AV, Type@AV and Event@AV, over segments and over events.

    `official`: F of each class in a video, mean over the classes that occur in it (1 if none does), mean over videos.
    `micro`: counts of all videos and classes together. `macro`: counts of each class over all videos, then the mean
    over the classes that occur. Event counts those of both modalities together; Type is the mean of A, V and AV.
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
        self.num_classes, self.variant, self.threshold = num_classes, variant, threshold
        self.add_state("scores", default=torch.zeros(2, 4, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("counts", default=torch.zeros(2, 4, num_classes, 3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("videos", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        audio: Tensor,
        visual: Tensor,
        target_audio: Tensor,
        target_visual: Tensor,
        video: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> None:
        """Add videos.

        Args:
            audio: Probability of every class in every segment by sound, (B, T, K).
            visual: The same by sight.
            target_audio: Classes truly heard, 0 or 1, (B, T, K).
            target_visual: Classes truly seen.
            video: Probability of every class in the video, (B, K); segments of classes below the threshold do not
                count, as in the official code. None leaves the segments alone.
            valid: bool (B, T), False on padding. None keeps all.

        Raises:
            ValueError: If shapes do not fit, or a value is no probability or no 0 or 1.
        """
        self._check(audio, visual, target_audio, target_visual, video, valid)
        keep = torch.ones_like(audio[..., :1], dtype=torch.bool) if valid is None else valid.bool()[..., None]
        a, v = (parse(x, video, self.threshold) & keep for x in (audio, visual))
        true_a, true_v = (x.bool() & keep for x in (target_audio, target_visual))
        for level, count in enumerate((segment_counts, event_counts)):
            heard, seen, both = count(a, true_a), count(v, true_v), count(a & v, true_a & true_v)
            for kind, counts in enumerate((heard, seen, heard + seen, both)):
                self.scores[level, kind] += f_scores(counts).sum()
                self.counts[level, kind] += counts.sum(0)
        self.videos += len(audio)

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

    def _level(self, level: int) -> list[float]:
        if not self.videos:
            return [float("nan")] * len(KINDS)
        if self.variant == "official":
            found: list[float] = (self.scores[level] / self.videos).tolist()
            return found
        counts = self.counts[level].sum(1, keepdim=True) if self.variant == "micro" else self.counts[level]
        micro: list[float] = f_scores(counts).tolist()
        return micro

    def _check(
        self,
        audio: Tensor,
        visual: Tensor,
        target_audio: Tensor,
        target_visual: Tensor,
        video: Tensor | None,
        valid: Tensor | None,
    ) -> None:
        given = {"audio": audio, "visual": visual, "target_audio": target_audio, "target_visual": target_visual}
        shape = tuple(audio.shape)
        if audio.ndim != 3 or shape[2] != self.num_classes or any(tuple(x.shape) != shape for x in given.values()):
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in given.items())
            raise ValueError(f"Shapes are {shapes}; all four must be (B, T, {self.num_classes}).")
        if video is not None and tuple(video.shape) != (shape[0], shape[2]):
            raise ValueError(f"video has shape {tuple(video.shape)}; give {(shape[0], shape[2])}, one row per video.")
        if valid is not None and tuple(valid.shape) != shape[:2]:
            raise ValueError(f"valid has shape {tuple(valid.shape)}; give {shape[:2]}, one flag per segment.")
        for name, x in {"audio": audio, "visual": visual, **({} if video is None else {"video": video})}.items():
            if not bool(((x >= 0) & (x <= 1)).all()):
                raise ValueError(f"{name} has values outside [0, 1] or NaN; give probabilities, not logits.")
        for name in ("target_audio", "target_visual"):
            x = given[name]
            if x.dtype != torch.bool and not bool(((x == 0) | (x == 1)).all()):
                raise ValueError(f"{name} has values other than 0 and 1.")
