# SPDX-License-Identifier: Apache-2.0
"""The official metrics of arrays that are at hand, in one call each; NumPy arrays, tensors and lists are taken alike.

Each function is the metric class of the same task, updated once: see the class for forms, variants and sources, and for
data that come in batches. Scores are fractions; tables show percent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from avkit.metrics.ave import SegmentAccuracy
from avkit.metrics.avqa import AnswerAccuracy
from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.metrics.avss import SemanticMask
from avkit.metrics.avvp import ParsingF1
from avkit.metrics.davel import EventDetectionMAP
from avkit.metrics.event_recall import EventRecall
from avkit.metrics.inputs import ArrayLike
from avkit.metrics.pairing import PairingAccuracy, Sentences
from avkit.metrics.ssl import SourceLocalization
from avkit.metrics.tagging import TaggingScores
from avkit.metrics.tagging import modality_confusion as modality_confusion

__all__ = [
    "answer_accuracy",
    "caption_scores",
    "event_detection_map",
    "event_recall",
    "mask_f_score",
    "mask_iou",
    "modality_confusion",
    "pairing_accuracy",
    "parsing_f1",
    "segment_accuracy",
    "semantic_mask",
    "source_localization",
    "tagging_scores",
]


def tagging_scores(scores: ArrayLike, target: ArrayLike, **options: Any) -> dict[str, float]:
    """F-score, hit rate and others of the top classes of clips, as VGGSounder publishes them.

    Examples:
        >>> tagging_scores([[0.1, 0.7, 0.2]], [[0, 1, 1]], num_classes=3)["recall@1"]
        0.5

    Args:
        scores: Score of each class, (B, K).
        target: Classes of each clip in the modality that is scored, 0 or 1, (B, K).
        **options: Of `TaggingScores`, such as `ks`, `(1,)` by default.
    """
    metric = TaggingScores(**options)
    metric.update(scores, target)
    return metric.compute()


def mask_iou(scores: ArrayLike, target: ArrayLike, valid: ArrayLike | None = None, **options: Any) -> float:
    """Mean IoU of masks of what sounds, as S4 and MS3 publish it.

    Examples:
        >>> mask_iou([[[[1, 1], [0, 0]]]], [[[[1, 0], [0, 0]]]], form="labels")
        0.5

    Args:
        scores: Of every pixel, float (B, T, H, W), or labels of 0 and 1; without B for one clip.
        target: 1 where something visible sounds, 0 elsewhere, of the same shape.
        valid: bool (B, T), False on frames to leave out.
        **options: Of `MaskIoU`, such as `form="probabilities"`.
    """
    metric = MaskIoU(**options)
    metric.update(scores, target, valid)
    return float(metric.compute())


def mask_f_score(scores: ArrayLike, target: ArrayLike, valid: ArrayLike | None = None, **options: Any) -> float:
    """F-score of masks with beta² = 0.3 at the best of 255 thresholds, as S4 and MS3 publish it.

    Examples:
        >>> round(mask_f_score([[[[0.9, 0.8], [0.1, 0.1]]]], [[[[1, 0], [0, 0]]]], form="probabilities"), 3)
        1.0

    Args:
        scores: Of every pixel, float (B, T, H, W); without B for one clip.
        target: 1 where something visible sounds, 0 elsewhere, of the same shape.
        valid: bool (B, T), False on frames to leave out.
        **options: Of `MaskFScore`.
    """
    metric = MaskFScore(**options)
    metric.update(scores, target, valid)
    return float(metric.compute())


def semantic_mask(
    preds: ArrayLike, target: ArrayLike, valid: ArrayLike | None = None, **options: Any
) -> dict[str, float]:
    """Mean IoU and F-score over classes, as AVSS publishes them.

    Examples:
        >>> round(semantic_mask([[[[0, 2], [1, 1]]]], [[[[0, 2], [1, 2]]]], num_classes=3)["mIoU"], 3)
        0.667

    Args:
        preds: Scores of every class, float (B, T, K, H, W), or labels, integers (B, T, H, W); without B for one clip.
        target: True labels in [0, K), integers (B, T, H, W).
        valid: bool (B, T), False on frames to leave out.
        **options: Of `SemanticMask`, such as `num_classes`, 71 by default.
    """
    metric = SemanticMask(**options)
    metric.update(preds, target, valid)
    return metric.compute()


def segment_accuracy(scores: ArrayLike, target: ArrayLike, valid: ArrayLike | None = None, **options: Any) -> float:
    """Share of segments with the correct class, as AVE publishes it.

    Examples:
        >>> segment_accuracy([[0, 3, 3, 0]], [[0, 3, 0, 0]])
        0.75

    Args:
        scores: Score of every class in every segment, (B, T, K), or the predicted class (B, T).
        target: Class of every segment (B, T), or one-hot rows (B, T, K).
        valid: bool (B, T), False on padding.
        **options: Of `SegmentAccuracy`, such as `num_classes`, 29 by default.
    """
    metric = SegmentAccuracy(**options)
    metric.update(scores, target, valid)
    return metric.compute()["accuracy"]


def parsing_f1(
    audio: ArrayLike,
    visual: ArrayLike,
    target_audio: ArrayLike,
    target_visual: ArrayLike,
    video: ArrayLike | None = None,
    **options: Any,
) -> dict[str, float]:
    """The ten F-scores of audio-visual video parsing, as LLP publishes them.

    Examples:
        >>> heard = [[[0.9, 0.1], [0.8, 0.1]]]
        >>> parsing_f1(heard, heard, [[[1, 0], [1, 0]]], [[[1, 0], [1, 0]]], num_classes=2)["segment/AV"]
        1.0

    Args:
        audio: Probability of each class being audible in each segment, (B, T, K).
        visual: Likewise visible.
        target_audio: Audible classes, 0 or 1, (B, T, K).
        target_visual: Visible classes.
        video: Score of each class in the video, (B, K), which removes classes from all segments.
        **options: Of `ParsingF1`, such as `num_classes`, 25 by default.
    """
    metric = ParsingF1(**options)
    metric.update(audio, visual, target_audio, target_visual, video)
    return metric.compute()


def pairing_accuracy(
    masks: ArrayLike,
    sentences: Sentences,
    target_masks: ArrayLike,
    target_sentences: Sentences,
    valid: ArrayLike | None = None,
    **options: Any,
) -> dict[str, float]:
    """Whether each source that sounds has the sentence that is about it, its chance level, and the IoU of its mask.

    Examples:
        >>> masks = [[[[[1, 0]], [[0, 1]]]]]  # one clip, one step, two sources, 1 x 2 pixels
        >>> pairing_accuracy(masks, [[["a bell rings", "a dog barks"]]], masks, [[["a dog barks", "a bell rings"]]])
        {'accuracy': 0.0, 'chance': 0.5, 'IoU': 1.0}

    Args:
        masks: Scores of every pixel of J predicted masks, float (B, T, J, H, W), or labels of 0 and 1.
        sentences: The sentence of each predicted mask, B lists of T lists of J texts.
        target_masks: 1 where each of K sources is in view and sounds, else 0, (B, T, K, H, W).
        target_sentences: What is true of each source, B lists of T lists of K texts.
        valid: bool (B, T, K), False where the mask of a source is not annotated.
        **options: Of `PairingAccuracy`, such as `form="probabilities"`.
    """
    metric = PairingAccuracy(**options)
    metric.update(masks, sentences, target_masks, target_sentences, valid)
    return metric.compute()


def source_localization(preds: ArrayLike, target: ArrayLike, **options: Any) -> dict[str, float]:
    """cIoU@0.5 and AUC of heat maps, as VGG-SS and Flickr-SoundNet publish them.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((1, 224, 224))
        >>> target[:, :112] = 1
        >>> source_localization(target, target)["cIoU@0.5"]
        1.0

    Args:
        preds: One map per picture, (B, h, w) of any size and range.
        target: Weights, (B, 224, 224), see `boxes_to_map` and `annotators_to_map` of `avkit.metrics.ssl`.
        **options: Of `SourceLocalization`, such as `protocol="lvs"`.
    """
    metric = SourceLocalization(**options)
    metric.update(preds, target)
    return metric.compute()


def answer_accuracy(scores: ArrayLike, target: ArrayLike, types: Sequence[str], **options: Any) -> dict[str, float]:
    """Accuracy of answers by question type, by modality and overall, as MUSIC-AVQA and AVQA publish it.

    Examples:
        >>> answer_accuracy([2, 5], [2, 4], ["Audio Counting", "Visual Counting"])["Overall"]
        0.5

    Args:
        scores: Score of every answer, float (B, answers), or the given answers, integers or words (B,).
        target: The correct answers, indices or words (B,).
        types: Question type of each, such as `Audio Counting` or the JSON list of the annotation.
        **options: Of `AnswerAccuracy`, such as `classes`, the words of the answers.
    """
    metric = AnswerAccuracy(**options)
    metric.update(scores, target, types)
    return metric.compute()


def event_detection_map(
    videos: Sequence[str],
    preds: Sequence[Mapping[str, ArrayLike]],
    target: Sequence[Mapping[str, ArrayLike]],
    **options: Any,
) -> dict[str, float]:
    """Mean average precision of events at overlaps of 0.1 to 0.9, as UnAV-100 publishes it.

    Examples:
        >>> event = {"segments": [[1.0, 4.0]], "labels": [7]}
        >>> event_detection_map(["a"], [{**event, "scores": [0.9]}], [event])["Avg"]
        1.0

    Args:
        videos: Names.
        preds: Detections of each video: `segments` (N, 2) in seconds, `labels` (N,), `scores` (N,).
        target: Events of each video: `segments` (N, 2) and `labels` (N,).
        **options: Of `EventDetectionMAP`, such as `thresholds`.
    """
    metric = EventDetectionMAP(**options)
    metric.update(videos, preds, target)
    return metric.compute()


def event_recall(
    videos: Sequence[str],
    preds: Sequence[Mapping[str, ArrayLike]],
    target: Sequence[Mapping[str, ArrayLike]],
    **options: Any,
) -> dict[str, float]:
    """Recall of events by the duration of the true ones, as Figure 3 of CCNet shows it.

    Examples:
        >>> event = {"segments": [[1.0, 4.0]], "labels": [7]}
        >>> event_recall(["a"], [{**event, "scores": [0.9]}], [event])["(0, 5] s"]
        1.0

    Args:
        videos: Names.
        preds: As in `event_detection_map`.
        target: As in `event_detection_map`.
        **options: Of `EventRecall`, such as `edges`.
    """
    metric = EventRecall(**options)
    metric.update(videos, preds, target)
    return metric.compute()


def caption_scores(
    predictions: Sequence[str], references: Sequence[str | Sequence[str]], **options: Any
) -> dict[str, float]:
    """BLEU-1 to 4, ROUGE-L, METEOR and CIDEr of captions, as the COCO caption evaluation computes them.

    Examples:
        >>> caption_scores(["a dog barks"], ["a dog barks loudly"], tokenizer="plain", meteor=False)["BLEU-2"] > 0.5
        True

    Args:
        predictions: N captions.
        references: One or several references for each caption.
        **options: Of `CaptionScores`, such as `meteor=False` where there is no Java.
    """
    from avkit.metrics.captions import CaptionScores

    metric = CaptionScores(**options)
    metric.update(predictions, references)
    return metric.compute()
