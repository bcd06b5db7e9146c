# SPDX-License-Identifier: Apache-2.0
"""Pairing accuracy: whether each source that sounds has the sentence that is about it, and not about another.

There is no official form: RA-SSU (paper) scores one mask and one sentence of a frame, whatever sounds in it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.metrics.base import ScoreMetric
from avkit.metrics.inputs import ArrayLike, clip_names, to_tensor
from avkit.metrics.intervals import Floats
from avkit.metrics.ptb_tokenizer import plain_tokens
from avkit.metrics.score_forms import Form, check_binary_scores, check_form, to_probabilities
from avkit.nn.assignment import assign

#: Sentences of clips: B lists of T lists of K texts; empty where nothing is said of a source.
Sentences = Sequence[Sequence[Sequence[str]]]

#: Steps whose pixels are compared at a time.
_CHUNK = 64
#: What a step adds: right pairs, sources to pair, whether there are some, overlap of matched masks, sources in view.
_STEP_WIDTH = 5
#: What a clip adds: the sums of its steps, and whether it has sources to pair.
_WIDTH = _STEP_WIDTH + 1


class Match(NamedTuple):
    """The prediction that a true source is matched with.

    Attributes:
        source: Number of the true source.
        prediction: Number of the predicted one.
        iou: Overlap of both masks, above 0.
    """

    source: int
    prediction: int
    iou: float


def word_overlap(sentence: str, other: str) -> float:
    """F-score of the words that two sentences share, each as often as it stands in both; 0 if they share none.

    Examples:
        >>> word_overlap("a dog barks", "a big dog barks")
        0.8571428571428571
    """
    words = Counter(plain_tokens([sentence])[0].split())
    others = Counter(plain_tokens([other])[0].split())
    shared = (words & others).total()
    return 2 * shared / (words.total() + others.total()) if shared else 0.0


def mask_overlaps(masks: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union of all pairs of masks.

    Args:
        masks: bool (N, J, H, W).
        targets: bool (N, K, H, W).

    Returns:
        float32 (N, K, J), 0 where both are empty.
    """
    overlaps = []
    for start in range(0, len(masks), _CHUNK):
        predicted = masks[start : start + _CHUNK].flatten(2).float()
        true = targets[start : start + _CHUNK].flatten(2).float()
        shared = true @ predicted.transpose(1, 2)
        union = true.sum(2)[:, :, None] + predicted.sum(2)[:, None] - shared
        overlaps.append(shared / union.clamp(min=1))
    return torch.cat(overlaps) if overlaps else masks.new_zeros(0, targets.shape[1], masks.shape[1]).float()


def match_sources(overlap: Floats) -> list[Match]:
    """Match true sources with predicted ones, one to one, so that the sum of overlaps is greatest.

    Args:
        overlap: IoU of the mask of each true source with each predicted one, (K, J).

    Returns:
        Matches of overlapping masks, by true source.
    """
    if not overlap.size:
        return []
    transposed = overlap.shape[0] > overlap.shape[1]
    cost = -(overlap.T if transposed else overlap).astype(np.float64)
    matches = []
    for row, column in enumerate(assign(cost).tolist()):
        source, prediction = (column, row) if transposed else (row, column)
        if overlap[source, prediction] > 0:
            matches.append(Match(source, prediction, float(overlap[source, prediction])))
    return sorted(matches)


def pairing_credit(sentence: str, own: int, references: Sequence[str]) -> float:
    """Whether a sentence is nearer to the reference of its own source than to any other, by `word_overlap`.

    Args:
        sentence: What was predicted of the source; empty for nothing.
        own: Number of the source among the references.
        references: The true sentence of each source.

    Returns:
        1 if it is, 0 if another is nearer or nothing was said, 1 / m if m references, its own among them, are equally
        near: what guessing would give.
    """
    if not sentence.strip():
        return 0.0
    scores = [word_overlap(sentence, reference) for reference in references]
    nearest = max(scores)
    return (scores[own] == nearest) / scores.count(nearest)


class PairingAccuracy(ScoreMetric):
    """Share of sources whose mask has the right sentence, in steps in which two sources or more sound in view.

    In each step predicted masks are matched with the true masks of the sources that sound, one to one, so that the sum
    of IoU is greatest. A source counts as right if a mask that overlaps its own is matched with it, and the sentence of
    this mask is nearer to the sentence about this source than to that about any other one in the step, by the F-score
    of shared words. Of a tie of m sentences it counts 1 / m, so one sentence for all sources has the chance level.
    Sources that no mask is matched with, or whose mask has no sentence, count as wrong.

    `compute` gives the `accuracy`; its `chance` level, what right masks with sentences in random order would have: the
    mean of 1 / n over the sources of steps of n; and `IoU`, the mean over all sources that are in view and sound, in
    steps of one source too, of the IoU with the matched mask, 0 where there is none. NaN where nothing was scored.

    Examples:
        >>> metric = PairingAccuracy(form="labels")
        >>> masks = [[[[[1, 0]], [[0, 1]]]]]  # one clip, one step, two sources, 1 x 2 pixels
        >>> metric.update(masks, [[["a dog barks", "a bell rings"]]], masks, [[["the dog barks", "the bell rings"]]])
        >>> metric.update(masks, [[["a bell rings", "a bell rings"]]], masks, [[["a dog barks", "a bell rings"]]])
        >>> metric.compute()
        {'accuracy': 0.75, 'chance': 0.5, 'IoU': 1.0}

    Args:
        form: What scores of masks are: `logits`, `probabilities` or `labels`, as in `MaskIoU`.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: If the form is unknown.
    """

    omitted_without_data = True
    names: ClassVar[tuple[str, ...]] = ("accuracy", "chance", "IoU")

    #: Sums over all clips, float64.
    sums: Tensor

    def __init__(self, *, form: Form | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_form(form)
        self.form: Form | None = form
        self.add_state("sums", default=torch.zeros(_WIDTH, dtype=torch.double), dist_reduce_fx="sum")
        self.add_blocks(_WIDTH)

    def update(
        self,
        masks: ArrayLike,
        sentences: Sentences,
        target_masks: ArrayLike,
        target_sentences: Sentences,
        valid: ArrayLike | None = None,
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add clips.

        Args:
            masks: Scores of every pixel of J predicted masks, (B, T, J, H, W).
            sentences: The sentence of each predicted mask, B lists of T lists of J texts; lists of padded steps may be
                missing or empty.
            target_masks: 1 where each of K sources is in view and sounds, else 0, (B, T, K, H, W).
            target_sentences: What is true of each source, B lists of T lists of K texts or fewer; a source without a
                sentence counts for `IoU` alone.
            valid: bool (B, T, K), False where the mask of a source is not annotated and on padding. None keeps all.
            clips: Names of the clips, for the interval, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If shapes or lengths do not fit, or values of masks are not what they must be.
            TypeError: If masks are no arrays of numbers, or sentences no lists of texts.
        """
        predicted, true = self._masks(masks, target_masks)
        count, steps, sources = true.shape[:3]
        written = _texts("sentences", sentences, count, steps, predicted.shape[2])
        references = _texts("target_sentences", target_sentences, count, steps, sources)
        true = true & _flags(valid, (count, steps, sources)).to(true.device)[..., None, None]
        names = clip_names(clips, count)
        sounding = true.flatten(3).any(3)
        scored = sounding.any(2)
        overlaps = mask_overlaps(predicted[scored], true[scored]).cpu().numpy()
        is_source = sounding[scored].cpu().numpy()
        sums = torch.zeros(count, _WIDTH, dtype=torch.double)
        for number, (clip, step) in enumerate(scored.nonzero().tolist()):
            of_step = _step_sums(overlaps[number], is_source[number], written[clip][step], references[clip][step])
            sums[clip, :_STEP_WIDTH] += of_step
        sums[:, -1] = sums[:, 1] > 0
        self.sums += sums.sum(0).to(self.sums.device)
        self.add_clips(sums, names, scored.any(1))

    def compute(self) -> dict[str, float]:
        """The figures so far, in [0, 1]; NaN where nothing was scored."""
        scores = self.scores_of_sums(np.concatenate([[1.0], self.sums.cpu().numpy()])[None])
        return {name: float(values[0]) for name, values in scores.items()}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The figures of sums of clips."""
        right, paired, steps, overlap, masked = sums[:, 1:-1].T
        with np.errstate(invalid="ignore", divide="ignore"):
            return dict(zip(self.names, (right / paired, steps / paired, overlap / masked), strict=True))

    def sizes(self) -> Mapping[str, int]:
        """Clips with sources to pair, and for `IoU` clips with sources."""
        units = self.units()
        pairs = round(float(units[:, -1].sum()))
        return {"": round(float(units[:, 0].sum())), "accuracy": pairs, "chance": pairs}

    def _masks(self, masks: ArrayLike, target: ArrayLike) -> tuple[Tensor, Tensor]:
        """Predicted and true masks, bool."""
        given = to_tensor("masks", masks)
        true = to_tensor("target_masks", target).to(given.device)
        alike = given.ndim == true.ndim == 5 and given.shape[:2] == true.shape[:2] and given.shape[3:] == true.shape[3:]
        if not alike:
            raise ValueError(
                f"masks of shape {tuple(given.shape)} and target_masks of shape {tuple(true.shape)}; give tensors "
                "(B, T, J, H, W) and (B, T, K, H, W), which differ in the number of sources alone."
            )
        if not bool(((true == 0) | (true == 1)).all()):
            raise ValueError("target_masks has values other than 0 and 1.")
        form = check_binary_scores("masks", given, self.form)
        return to_probabilities(given, form) > 0.5, true.bool()


def _step_sums(
    overlap: Floats, is_source: NDArray[np.bool_], sentences: Sequence[str], references: Sequence[str]
) -> Tensor:
    """What a step adds: see `_STEP_WIDTH`."""
    sounding = np.flatnonzero(is_source).tolist()
    matches = match_sources(overlap[sounding])
    shared = sum(match.iou for match in matches)
    described = [k for k, source in enumerate(sounding) if references[source].strip()]
    right = 0.0
    if len(described) > 1:
        texts = [references[sounding[k]] for k in described]
        for match in matches:
            if match.source in described:
                right += pairing_credit(sentences[match.prediction], described.index(match.source), texts)
    paired = len(described) if len(described) > 1 else 0
    return torch.tensor([right, paired, paired > 0, shared, len(sounding)], dtype=torch.double)


def _flags(valid: ArrayLike | None, shape: tuple[int, int, int]) -> Tensor:
    """Which masks of sources count, bool (B, T, K)."""
    if valid is None:
        return torch.ones(shape, dtype=torch.bool)
    flags = to_tensor("valid", valid)
    if tuple(flags.shape) != shape or flags.dtype != torch.bool:
        raise ValueError(
            f"valid is {flags.dtype} of shape {tuple(flags.shape)}; give a bool tensor (B, T, K), here {shape}."
        )
    return flags


def _texts(name: str, clips: object, count: int, steps: int, sources: int) -> list[list[list[str]]]:
    """Sentences of B clips, T steps and K sources; empty ones where a list is shorter."""
    filled = []
    for of_clip in _entries(name, clips, count, "clips", exact=True):
        of_steps = []
        for of_step in _entries(name, of_clip, steps, "steps"):
            texts = _entries(name, of_step, sources, "sources")
            for text in texts:
                if not isinstance(text, str):
                    raise TypeError(f"{name} holds {text!r}, a {type(text).__name__}; give texts.")
            of_steps.append([str(text) for text in texts] + [""] * (sources - len(texts)))
        filled.append(of_steps + [[""] * sources] * (steps - len(of_steps)))
    return filled


def _entries(name: str, values: object, count: int, of: str, *, exact: bool = False) -> list[object]:
    """A list of at most so many entries, or of exactly so many."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(
            f"{name} holds a {type(values).__name__} in place of a list of {of}; give lists of lists of texts."
        )
    if len(values) > count or (exact and len(values) != count):
        raise ValueError(f"{name} has {len(values)} {of} and the masks have {count}; give as many.")
    return list(values)
