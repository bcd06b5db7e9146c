# SPDX-License-Identifier: Apache-2.0
"""Audio-visual video parsing: which events are heard, seen or both in each step, learned from labels of the clip."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, ModalityLabels
from avkit.batch import Batch, Prediction
from avkit.metrics.avvp import ParsingF1
from avkit.tasks.base import Baseline, Task


class VideoParsing(Task):
    """Probabilities of every class by audio and by vision in every step, learned from `video_labels` alone."""

    name = "avvp"
    default_head = "avkit.heads.segment:ParsingHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (ModalityLabels,)
    sequence_forms: ClassVar[tuple[str, ...]] = ("parsing",)
    weakly_supervised = True
    targets = ("video_labels", "audio_segments", "visual_segments")
    evaluation_only = ("audio_segments", "visual_segments")
    sampling_weight = 1.0
    benchmark = "llp"
    prompt = "find which events are heard and which are seen"
    monitor = "segment/Type"
    headline = ("segment/Type", "segment/Event")

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """The ten F-scores."""
        return {"": ParsingF1(len(self.vocabulary.classes))}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score all steps."""
        audio = prediction["audio_scores"]
        metrics[""].update(
            audio,
            prediction["visual_scores"],
            batch.targets["audio_segments"].to(audio.device),
            batch.targets["visual_segments"].to(audio.device),
            prediction["clip_scores"],
            batch.valid.to(audio.device),
            batch.id,
        )

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """No event; every class that is in half of the clips; and the commonest class everywhere."""
        labels = torch.cat([batch.targets["video_labels"] for batch in batches])
        share = labels.float().mean(0).cpu()
        return {
            "nothing": self._constant(torch.zeros_like(share)),
            "classes of every other clip": self._constant((share >= 0.5).float()),
            "commonest class": self._constant(F.one_hot(share.argmax(), len(share)).float()),
        }

    def _constant(self, classes: Tensor) -> Baseline:
        """The same classes, (K,) of 0 and 1, in every step of both modalities."""

        def answer(batch: Batch) -> Prediction:
            clip = classes.to(batch.valid.device).expand(len(batch), -1)
            steps = clip[:, None].expand(-1, batch.valid.shape[1], -1)
            values = {"audio_scores": steps, "visual_scores": steps, "clip_scores": clip}
            return Prediction(self.name, batch.id, values)

        return answer
