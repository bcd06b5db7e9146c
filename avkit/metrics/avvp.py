# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing (LLP): F-scores of segments and of events, per modality and together.

Source: see `avkit.metrics.parsing_scores`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.inputs import ArrayLike, check_one_hot, class_count, clip_names, to_tensor, valid_flags
from avkit.metrics.intervals import Floats
from avkit.metrics.parsing_scores import KINDS, event_counts, f_scores, parse, rows_to_segments, segment_counts
from avkit.metrics.score_forms import Form, check_form

__all__ = ["ParsingF1", "event_counts", "f_scores", "parse", "rows_to_segments", "segment_counts"]


class ParsingF1(ScoreMetric):
    """The ten F-scores of LLP: A, V, AV, Type@AV and Event@AV, over segments and over events.

    `official`: F of each class in a video, mean over the classes that occur in it (1 if none does), mean over videos.
    `micro`: counts of all videos and classes together. `macro`: counts of each class over all videos, then the mean
    over the classes that occur. Event adds the counts of both modalities; Type is the mean of A, V and AV.
    Tables show percent; values are fractions.

    Examples:
        >>> metric = ParsingF1(num_classes=2)
        >>> scores = [[[0.9, 0.1], [0.8, 0.1]]]
        >>> metric.update(scores, scores, [[[1, 0], [1, 0]]], [[[1, 0], [0, 0]]])
        >>> metric.compute()["segment/A"]
        1.0

    Args:
        num_classes: Number of classes K; 25 where neither it nor `classes` is given.
        variant: `official`, `micro` or `macro`.
        threshold: See `parse`.
        classes: Names of classes in index order; sets `num_classes`.
        form: What scores are: `probabilities`, as the official evaluation takes them, `logits`, or `labels` of 0 and 1.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: For an unknown variant or no class.
    """

    scores: Tensor
    counts: Tensor
    videos: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        variant: Literal["official", "micro", "macro"] = "official",
        threshold: float = 0.5,
        *,
        classes: Sequence[str] | None = None,
        form: Form = "probabilities",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_form(form)
        num_classes = class_count(num_classes, classes, 25)
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}; give a probability above 0 and up to 1.")
        if variant not in ("official", "micro", "macro"):
            raise unknown_name("variant", variant, ("official", "micro", "macro"))
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; give 1 or more; LLP has 25.")
        self.num_classes = num_classes
        self.variant = variant
        self.threshold = threshold
        self.form: Form = form
        self.add_state("scores", default=torch.zeros(2, 4, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("counts", default=torch.zeros(2, 4, num_classes, 3, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("videos", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(self.scores.numel() if variant == "official" else self.counts.numel())

    def update(
        self,
        audio: ArrayLike,
        visual: ArrayLike,
        target_audio: ArrayLike,
        target_visual: ArrayLike,
        video: ArrayLike | None = None,
        valid: ArrayLike | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add videos.

        Args:
            audio: Score of each class being audible in each segment, (B, T, K), of the form that the metric was told.
            visual: Likewise visible.
            target_audio: Audible classes, 0 or 1, (B, T, K).
            target_visual: Visible classes.
            video: Score of each class in the video, (B, K); classes below the threshold are removed from all
                segments, as in the official code. None uses the segments alone.
            valid: bool (B, T), False on padding. None keeps all.
            clips: Names of the videos, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes do not fit, or a value is not of the form, or a target is not 0 or 1.
            TypeError: If something is no array of numbers.
        """
        given = {"audio": audio, "visual": visual, "target_audio": target_audio, "target_visual": target_visual}
        inputs = {name: to_tensor(name, values) for name, values in given.items()}
        whole = None if video is None else to_tensor("video", video)
        self._check(inputs, whole)
        device = inputs["audio"].device
        names = clip_names(clips, len(inputs["audio"]))
        keep = valid_flags(valid, inputs["audio"])[..., None]
        in_video = None if whole is None else self._probabilities("video", whole.to(device))
        heard = parse(self._probabilities("audio", inputs["audio"]), in_video, self.threshold) & keep
        seen = parse(self._probabilities("visual", inputs["visual"].to(device)), in_video, self.threshold) & keep
        audible = inputs["target_audio"].to(device).bool() & keep
        visible = inputs["target_visual"].to(device).bool() & keep
        rows = []
        for level, count in enumerate((segment_counts, event_counts)):
            of_audio = count(heard, audible)
            of_visual = count(seen, visible)
            of_both = count(heard & seen, audible & visible)
            for kind, counts in enumerate((of_audio, of_visual, of_audio + of_visual, of_both)):
                scores = f_scores(counts)
                self.scores[level, kind] += scores.sum()
                self.counts[level, kind] += counts.sum(0)
                rows.append(scores[:, None] if self.variant == "official" else counts.flatten(1))
        self.videos += len(heard)
        self.add_clips(torch.cat(rows, 1), names)

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

    def _probabilities(self, name: str, scores: Tensor) -> Tensor:
        """Scores as probabilities, checked to be what the metric was told."""
        if self.form == "logits":
            if not scores.is_floating_point() or bool(scores.isnan().any()):
                raise ValueError(f"{name} is {scores.dtype} or has NaN; logits are finite floats.")
            return scores.float().sigmoid()
        if not bool(((scores >= 0) & (scores <= 1 + 1e-6)).all()):
            raise ValueError(f"{name} has values outside [0, 1] or NaN; give probabilities, not logits.")
        if self.form == "labels" and not bool(((scores == 0) | (scores == 1)).all()):
            raise ValueError(f"{name} has values other than 0 and 1; they are said to be labels.")
        return scores

    def _check(self, inputs: Mapping[str, Tensor], video: Tensor | None) -> None:
        shape = tuple(inputs["audio"].shape)
        if len(shape) != 3 or shape[2] != self.num_classes or {tuple(x.shape) for x in inputs.values()} != {shape}:
            shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in inputs.items())
            raise ValueError(f"Shapes are {shapes}; all four must be (B, T, {self.num_classes}).")
        if video is not None and tuple(video.shape) != (shape[0], shape[2]):
            raise ValueError(f"video has shape {tuple(video.shape)}; give {(shape[0], shape[2])}, one row per video.")
        for name in ("target_audio", "target_visual"):
            check_one_hot(name, inputs[name])
