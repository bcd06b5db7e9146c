# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing: which events are heard, seen or both in each step, learnt from labels of the clip."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, ModalityLabels
from avkit.batch import Batch, Prediction
from avkit.heads.segment import ParsingHead
from avkit.metrics.avvp import ParsingF1
from avkit.nn.attentive_pooling import ParsingOutput
from avkit.tasks.base import Baseline, Task, need_classes

#: How much of the clip's label a modality is trusted with: officially sight is not sure of it, sound is.
_SMOOTH = {"heard": 1.0, "seen": 0.9}


class VideoParsing(Task):
    """Probabilities of every class by sound and by sight in every step.

    Learns from `video_labels` alone. Sound and sight do not meet before the head: a label does not say which of the two
    it is about, and sound that knew what is seen would take all labels for its own. Loss: binary cross-entropy of what
    pooling over steps and modalities makes of the clip, and of what it makes of either modality against smoothed labels
    (HAN).
    """

    name = "avvp"
    answers: ClassVar[tuple[type[Answer], ...]] = (ModalityLabels,)
    forms: ClassVar[tuple[str, ...]] = ("parsing",)
    weakly_supervised = True
    targets = ("video_labels", "audio_segments", "visual_segments")
    evaluation_only = ("audio_segments", "visual_segments")
    meet = False
    sampling_weight = 1.0
    benchmark = "llp"
    prompt = "find which events are heard and which are seen"
    monitor = "segment/Type"
    headline = ("segment/Type", "segment/Event")

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Classes heard and seen per step."""
        return ParsingHead(width, need_classes(self))

    def loss(self, out: ParsingOutput, batch: Batch) -> dict[str, Tensor]:
        """`both`, `heard` and `seen`."""
        heard, seen, both = (x.clamp(1e-7, 1 - 1e-7) for x in (out.heard, out.seen, out.clip))
        labels = batch.targets["video_labels"].to(both.dtype)

        def trust(share: float) -> Tensor:
            return share * labels + (1 - share) / 2

        losses = {
            "both": F.binary_cross_entropy(both, labels),
            "heard": F.binary_cross_entropy(heard, trust(_SMOOTH["heard"])),
            "seen": F.binary_cross_entropy(seen, trust(_SMOOTH["seen"])),
        }
        return {"loss": sum(losses.values(), both.new_zeros(())), **losses}

    def teach(self, out: ParsingOutput, batch: Batch) -> dict[str, Tensor]:
        """The clip's events in the steps where the head is surer than not."""
        heard, seen = ((out.steps.detach() >= 0.5) & batch.targets["video_labels"].bool()[:, None, None]).unbind(2)
        return {"audio_segments": heard, "visual_segments": seen}

    def predict(self, out: ParsingOutput, batch: Batch) -> Prediction:
        """`audio_scores` and `visual_scores`, probabilities (B, T, K), and `clip_scores` (B, K)."""
        heard, seen = out.steps.float().unbind(2)
        values = {"audio_scores": heard, "visual_scores": seen, "clip_scores": out.clip.float()}
        return Prediction(self.name, batch.id, values)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The ten F-scores."""
        return {"": ParsingF1(len(self.vocabulary.classes))}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score all steps."""
        heard, seen, clip = (prediction[name] for name in ("audio_scores", "visual_scores", "clip_scores"))
        true = (batch.targets[name].to(heard.device) for name in ("audio_segments", "visual_segments"))
        metrics[""].update(heard, seen, *true, clip.clamp(0, 1), batch.valid.to(heard.device))

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Nothing at all; every class that is in half of the clips; and the commonest class everywhere."""
        share = torch.cat([batch.targets["video_labels"] for batch in batches]).float().mean(0).cpu()

        def constant(on: Tensor) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                clip = on.to(batch.valid.device).expand(len(batch), -1)
                steps = clip[:, None].expand(-1, batch.valid.shape[1], -1)
                return Prediction(
                    self.name, batch.id, {"audio_scores": steps, "visual_scores": steps, "clip_scores": clip}
                )

            return answer

        return {
            "nothing": constant(torch.zeros_like(share)),
            "classes of every other clip": constant((share >= 0.5).float()),
            "commonest class": constant(F.one_hot(share.argmax(), len(share)).float()),
        }
