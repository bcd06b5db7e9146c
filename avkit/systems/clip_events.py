# SPDX-License-Identifier: Apache-2.0
"""What AVEL and PSP share: options of the attention, targets with background last, predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Prediction
from avkit.heads.segment import event_values
from avkit.nn.event_labels import event_targets
from avkit.systems.base import Encoded
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import FeatureConfig, FeatureSystem, pool_positions
from avkit.systems.published import ConvertedFacts, PublishedInputs

#: Official names of the attention.
ATTENTION_NAMES = {
    "audio.": "affine_audio.",
    "visual.": "affine_video.",
    "from_visual.": "affine_v.",
    "from_audio.": "affine_g.",
    "score.": "affine_h.",
}


@dataclass
class AttentionOptions:
    """Options of audio-guided attention.

    Attributes:
        attention_width: Width in which audio and visual features are compared.
        positions: Positions of a picture; other grids are averaged to a square grid of as many.
    """

    attention_width: int = 512
    positions: int = 49


@dataclass
class ClipEventConfig(AttentionOptions, FeatureConfig):
    """Options that AVEL and PSP share in a run."""

    answered_tasks: ClassVar[tuple[str, ...]] = ("ave", "ave_weak")
    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("ave", "vgg19", "vggish", ("ave",), FeatureWidths(512, 128)),
    )

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, without background among the classes; a network of weak labels answers `ave_weak`."""
        facts = super().converted_facts(network, built_with)
        task = cls.answered_tasks[1 if built_with.get("weak") else 0]
        return replace(facts, task=task, classes=facts.classes - 1)


class ClipEventSystem(FeatureSystem):
    """A network that classifies each step of a clip, background last."""

    config: ClipEventConfig

    @property
    def weakly_supervised(self) -> bool:
        """Whether the run trains from labels of the clip alone."""
        return any(task.weakly_supervised for task in self.tasks.values())

    def visual_positions(self, encoded: Encoded) -> Tensor:
        """Visual features as the network's number of positions, (B, T, P, V)."""
        return pool_positions(encoded.visual, self.config.positions)

    def predict_events(self, logits: Tensor, batch: Batch) -> Prediction:
        """`event_logits` with background first, and `event`, of logits (B, T, K + 1) with background last."""
        names = self.tasks[batch.task].vocabulary.classes
        return Prediction(batch.task, batch.id, event_values(logits.roll(1, -1), names))

    def graph_events(self, logits: Tensor) -> dict[str, Tensor]:
        """`event_logits` with background first, of logits (B, T, K + 1) with background last."""
        return {"event_logits": logits.roll(1, -1).float()}


def targets_background_last(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class of every step with background last, int64 (B, T), and which steps count, bool (B, T)."""
    target, counts = event_targets(batch)
    classes = batch.targets["audio_segments"].shape[-1]
    return (target - 1) % (classes + 1), counts


def class_shares(batch: Batch, classes: int) -> Tensor:
    """Share of each clip's counted steps that every class and background have, (B, classes)."""
    target, counts = targets_background_last(batch)
    steps = (F.one_hot(target, classes) * counts[..., None]).sum(1)
    return steps / counts.sum(1, keepdim=True).clamp(min=1)
