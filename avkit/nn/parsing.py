# SPDX-License-Identifier: Apache-2.0
"""Weakly supervised video parsing: the loss on labels of the clip, and predictions per step and modality."""

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Losses
from avkit.nn.attentive_pooling import ParsingOutput

#: How reliable the clip's labels are for one modality: the official value is 0.9 for vision, 1 for audio.
AUDIO_CONFIDENCE = 1.0
VISUAL_CONFIDENCE = 0.9


def parsing_loss(output: ParsingOutput, labels: Tensor) -> Losses:
    """Binary cross-entropy of the clip's probabilities and of each modality's against smoothed labels.

    Args:
        output: Probabilities.
        labels: Classes audible or visible in the clip, 0 or 1, (B, K).

    Returns:
        `both`, `audio` and `visual`, and their sum `loss`.

    Source:
        HAN (YapengTian/AVVP-ECCV20 at commit fde56118f2c2).
    """
    labels = labels.to(output.clip.dtype)
    both = _cross_entropy(output.clip, labels)
    audio = _cross_entropy(output.audio, _smooth(labels, AUDIO_CONFIDENCE))
    visual = _cross_entropy(output.visual, _smooth(labels, VISUAL_CONFIDENCE))
    return {"loss": both + audio + visual, "both": both, "audio": audio, "visual": visual}


def _cross_entropy(probabilities: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy(probabilities.clamp(1e-7, 1 - 1e-7), labels)


def _smooth(labels: Tensor, confidence: float) -> Tensor:
    return confidence * labels + (1 - confidence) / 2


def parsing_values(output: ParsingOutput) -> dict[str, Tensor]:
    """`audio_scores` and `visual_scores`, probabilities (B, T, K), and `clip_scores` (B, K)."""
    steps = output.steps.float()
    clip = output.clip.float().clamp(0, 1)  # a weighted mean of probabilities exceeds 1 by rounding
    return {"audio_scores": steps[:, :, 0], "visual_scores": steps[:, :, 1], "clip_scores": clip}
