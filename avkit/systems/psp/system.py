# SPDX-License-Identifier: Apache-2.0
"""PSP in a run: fully or weakly supervised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Losses, Prediction, Vocabulary
from avkit.nn.losses import mean_of
from avkit.systems.base import Encoded, RunContext
from avkit.systems.clip_events import ClipEventConfig, ClipEventSystem, class_shares, targets_background_last
from avkit.systems.features import valid_or_none
from avkit.systems.psp.network import PSP, PSPOptions, PSPOutput
from avkit.tasks.base import Task

#: Weight of the loss that makes visual and audio features similar.
SIMILARITY_WEIGHT = 100.0


@dataclass
class PSPConfig(PSPOptions, ClipEventConfig):
    """PSP for `ave` and `ave_weak`: propagation between similar steps."""

    name: Literal["psp"] = "psp"

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The task, which has to be that of the network.

        Raises:
            ValueError: If it is not.
        """
        tasks = super().make_tasks(names, vocabulary)
        if any(task.weakly_supervised for task in tasks.values()) != self.weak:
            raise ValueError(
                "PSP has a network of its own for labels of the clip: use --tasks ave_weak --model.system.weak true "
                "together, or neither."
            )
        return tasks

    def build(self, context: RunContext) -> "PSPSystem":
        """The system."""
        return PSPSystem(self, context)


class PSPSystem(ClipEventSystem):
    """PSP behind features or encoders.

    Loss: cross-entropy per step, and similar audio and visual features where there is an event; weakly supervised,
    cross-entropy on the share of the clip that each class and background have.
    """

    config: PSPConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> PSP:
        """The network."""
        return PSP(self.config, widths.audio, widths.visual, len(context.vocabulary.classes) + 1)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> PSPOutput:
        """Logits and features of a batch."""
        encoded = encoded or self.encode(batch)
        output: PSPOutput = self.network(encoded.audio, self.visual_positions(encoded), valid_or_none(batch))
        return output

    def loss(self, output: PSPOutput, batch: Batch) -> Losses:
        """`segments` and `similarity`, or `clip` where weakly supervised."""
        return clip_losses(output, batch) if self.weakly_supervised else step_losses(output, batch)

    def predict(self, output: PSPOutput, batch: Batch) -> Prediction:
        """`event_logits` and `event`."""
        return self.predict_events(output.logits, batch)

    def graph_values(self, output: PSPOutput, batch: Batch) -> dict[str, Tensor]:
        """`event_logits`."""
        return self.graph_events(output.logits)


def step_losses(output: PSPOutput, batch: Batch) -> Losses:
    """Cross-entropy of the counted steps, and squared distance of similarities from the steps with an event."""
    target, counts = targets_background_last(batch)
    losses = F.cross_entropy(output.logits.flatten(0, 1), target.flatten(), reduction="none")
    segments = mean_of((losses * counts.flatten()).sum(), counts.sum())
    event = (target < output.logits.shape[-1] - 1) & counts
    event = torch.where(event.any(1, keepdim=True), event, batch.valid).to(losses.dtype)
    positive = output.similarity.relu() * batch.valid
    share = positive / (positive.sum(1, keepdim=True) + 1e-8)
    distance: Tensor = (share - event / event.sum(1, keepdim=True)).square() * batch.valid
    similarity = mean_of(distance.sum(), batch.valid.sum())
    return {"loss": segments + SIMILARITY_WEIGHT * similarity, "segments": segments, "similarity": similarity}


def clip_losses(output: PSPOutput, batch: Batch) -> Losses:
    """Binary cross-entropy of the clip's mean logits on the share of each class and background."""
    valid = batch.valid[..., None]
    scores = ((output.logits * valid).sum(1) / valid.sum(1)).softmax(-1)
    clip = F.binary_cross_entropy(scores, class_shares(batch, scores.shape[-1]).to(scores.dtype))
    return {"loss": clip, "clip": clip}
