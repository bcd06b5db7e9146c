# SPDX-License-Identifier: Apache-2.0
"""Tags of clips, several for each (VGGSounder): F-score, hits and exact matches of the top classes, and confusion.

Source:
    Zverev et al., VGGSounder, ICCV 2025, section 4; `vggsounder/benchmark.py` of Bizilizi/VGGSounder at commit
    5a91bf68: `compare_labels`, `compare_labels_logits`, `compute_modality_confusion_logits`. The authors score each
    modality on the clips that have a label of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.metrics.base import ScoreMetric
from avkit.metrics.inputs import ArrayLike, check_one_hot, class_count, clip_names, to_tensor
from avkit.metrics.intervals import Floats

#: Classes of VGGSounder.
_CLASSES = 309
#: Sums of a clip beside those of classes: true positives, false positives, false negatives, hit, exact match.
_OF_CLIPS = 5
#: Scores in the order of `compute`.
SCORES = ("f1", "f1_macro", "accuracy", "jaccard", "precision", "recall", "hit_rate")


def top_classes(scores: Tensor, k: int) -> Tensor:
    """The k highest classes of each clip, bool (B, K), of scores (B, K); of equal scores the later class."""
    order = scores.argsort(dim=1, stable=True)[:, -k:]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)


def modality_confusion(both: ArrayLike, audio: ArrayLike, visual: ArrayLike, target: ArrayLike) -> dict[str, float]:
    """Share of clips that a model gets right from one modality, and wrong from both together.

    Right means that the highest class is one of the clip's.

    Examples:
        >>> modality_confusion([[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]], [[0, 1]])
        {'a': 1.0, 'v': 0.0, 'av': 0.0}

    Args:
        both: Score of each class from sound and sight, (B, K).
        audio: From sound alone.
        visual: From sight alone.
        target: Classes of each clip in whatever modality, 0 or 1, (B, K).

    Returns:
        `a`, `v`: right from sound, or from sight; `av`: from each of both. Fractions, NaN of no clip.

    Raises:
        ValueError: If shapes differ, or a target is not 0 or 1.
    """
    given = {"both": both, "audio": audio, "visual": visual, "target": target}
    inputs = {name: to_tensor(name, values) for name, values in given.items()}
    true = _checked(inputs).bool()
    hits = {name: (top_classes(inputs[name], 1) & true).any(1) for name in ("both", "audio", "visual")}
    confused_audio = hits["audio"] & ~hits["both"]
    confused_visual = hits["visual"] & ~hits["both"]
    shares = {"a": confused_audio, "v": confused_visual, "av": confused_audio & confused_visual}
    return {name: float(share.double().mean()) for name, share in shares.items()}


class TaggingScores(ScoreMetric):
    """F-score, accuracy, Jaccard index, precision, recall and hit rate of the top k classes of clips.

    `f1`, `jaccard`, `precision` and `recall` count over all clips and classes together (micro); `f1_macro` is the mean
    of F over the classes, 0 for one that neither occurs nor is predicted; `accuracy` is the share of clips with exactly
    the right classes, `hit_rate` that with at least one. Clips without a class are left out, as the authors do.

    Examples:
        >>> metric = TaggingScores(num_classes=3)
        >>> metric.update([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]], [[0, 1, 0], [0, 1, 1]])
        >>> metric.compute()["hit_rate@1"]
        0.5

    Args:
        num_classes: Number of classes K; 309 where neither it nor `classes` is given.
        ks: How many of the highest classes count as predicted; empty where scores are labels of 0 and 1.
        classes: Names of classes in index order; sets `num_classes`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: If a k is not from 1 to K.
    """

    sums: Tensor
    total: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        ks: Sequence[int] = (1,),
        *,
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes = class_count(num_classes, classes, _CLASSES)
        wrong = [k for k in ks if not 1 <= k <= self.num_classes]
        if wrong:
            raise ValueError(f"ks has {wrong[0]}; give numbers of classes from 1 to {self.num_classes}.")
        self.ks = tuple(ks)
        width = max(1, len(self.ks)) * (_OF_CLIPS + 3 * self.num_classes)
        self.add_state("sums", default=torch.zeros(width, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(width)

    def update(self, scores: ArrayLike, target: ArrayLike, clips: Sequence[str] | None = None) -> None:
        """Add clips.

        Args:
            scores: Score of each class, (B, K), or predicted classes, 0 or 1, where there are no `ks`.
            target: Classes of each clip, 0 or 1, (B, K).
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes do not fit, a score is NaN, or a label is not 0 or 1.
            TypeError: If something is no array of numbers.
        """
        inputs = {"scores": to_tensor("scores", scores), "target": to_tensor("target", target)}
        true = _checked(inputs, self.num_classes).bool()
        names = clip_names(clips, len(true))
        if not self.ks:
            check_one_hot("scores", inputs["scores"])
        predictions = [top_classes(inputs["scores"], k) for k in self.ks] or [inputs["scores"].bool()]
        counted = true.any(1)
        rows = torch.cat([_sums_of(predicted, true) for predicted in predictions], 1) * counted[:, None]
        self.sums += rows.sum(0)
        self.total += counted.sum()
        self.add_clips(rows, names, counted)

    def compute(self) -> dict[str, float]:
        """Each of `SCORES` at each k, such as `f1@1`; without `@` where there are no `ks`. NaN of no clip."""
        if not int(self.total):
            return dict.fromkeys(self._names(), float("nan"))
        sums = np.concatenate([[float(self.total)], self.sums.cpu().numpy()])[None]
        return {name: float(score[0]) for name, score in self.scores_of_sums(sums).items()}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips."""
        clips = sums[:, 0]
        values: list[Floats] = []
        for part in np.split(sums[:, 1:], max(1, len(self.ks)), axis=1):
            positive, wrong, missed, hits, exact = part[:, :_OF_CLIPS].T
            of_classes = part[:, _OF_CLIPS:].reshape(len(part), 3, self.num_classes)
            values += [
                _ratio(2 * positive, 2 * positive + wrong + missed),
                _ratio(2 * of_classes[:, 0], 2 * of_classes[:, 0] + of_classes[:, 1] + of_classes[:, 2]).mean(1),
                _ratio(exact, clips),
                _ratio(positive, positive + wrong + missed),
                _ratio(positive, positive + wrong),
                _ratio(positive, positive + missed),
                _ratio(hits, clips),
            ]
        return dict(zip(self._names(), values, strict=True))

    def _names(self) -> list[str]:
        if not self.ks:
            return list(SCORES)
        return [f"{score}@{k}" for k in self.ks for score in SCORES]


def _sums_of(predicted: Tensor, true: Tensor) -> Tensor:
    """What each clip adds, float64 (B, 5 + 3 K)."""
    positive = predicted & true
    wrong = predicted & ~true
    missed = true & ~predicted
    exact = (predicted == true).all(1)
    counts = torch.stack([positive.sum(1), wrong.sum(1), missed.sum(1), positive.any(1), exact], 1)
    return torch.cat([counts, positive, wrong, missed], 1).double()


def _ratio(part: Floats, whole: Floats) -> Floats:
    """A share, 0 of nothing, as the authors' library has it."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _checked(inputs: Mapping[str, Tensor], num_classes: int | None = None) -> Tensor:
    """The target on the device of the scores, once shapes and values are checked."""
    shapes = {name: tuple(x.shape) for name, x in inputs.items()}
    first = next(iter(inputs.values()))
    if len(set(shapes.values())) > 1 or first.ndim != 2 or first.shape[1] != (num_classes or first.shape[1]):
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Shapes are {listed}; give (B, {num_classes or 'K'}) of the same clips.")
    target = inputs["target"].to(first.device)
    check_one_hot("target", target)
    for name, x in inputs.items():
        if bool(x.isnan().any()):
            raise ValueError(f"{name} has NaN.")
    return target
