# SPDX-License-Identifier: Apache-2.0
"""AVEL in a run: fully or weakly supervised."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Losses, Prediction
from avkit.nn.losses import mean_of
from avkit.systems.avel.network import AVEL, AVELOptions
from avkit.systems.base import Encoded, RunContext
from avkit.systems.clip_events import ClipEventConfig, ClipEventSystem, class_shares, targets_background_last


@dataclass
class AVELConfig(AVELOptions, ClipEventConfig):
    """AVEL for `ave` and `ave_weak`: audio-guided visual attention; DMRN by `fusion residual`."""

    name: Literal["avel"] = "avel"

    def build(self, context: RunContext) -> "AVELSystem":
        """The system."""
        return AVELSystem(self, context)


class AVELSystem(ClipEventSystem):
    """AVEL behind features or encoders.

    Loss: multi-label soft margin of the softmax over classes, which applies a sigmoid to probabilities; on one class
    per step, or, weakly supervised, on the classes of the clip with step scores pooled by maximum.
    """

    config: AVELConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> AVEL:
        """The network."""
        return AVEL(self.config, widths.audio, widths.visual, len(context.vocabulary.classes) + 1)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Tensor:
        """Logits (B, T, K + 1), background last."""
        encoded = encoded or self.encode(batch)
        logits: Tensor = self.network(encoded.audio, self.visual_positions(encoded))
        return logits

    def loss(self, output: Tensor, batch: Batch) -> Losses:
        """`margin`."""
        margin = clip_loss(output, batch) if self.weakly_supervised else step_loss(output, batch)
        return {"loss": margin, "margin": margin}

    def predict(self, output: Tensor, batch: Batch) -> Prediction:
        """`event_logits` and `event`."""
        return self.predict_events(output, batch)

    def graph_values(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`event_logits`."""
        return self.graph_events(output)


def step_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Soft margin of the counted steps' classes."""
    target, counts = targets_background_last(batch)
    return soft_margin(logits[counts].softmax(-1), F.one_hot(target[counts], logits.shape[-1]))


def clip_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Soft margin of the classes that occur in the clip, background among them."""
    scores = logits.masked_fill(~batch.valid[..., None], -torch.inf).amax(1).softmax(-1)
    present = class_shares(batch, logits.shape[-1]) > 0
    return soft_margin(scores, present)


def soft_margin(scores: Tensor, target: Tensor) -> Tensor:
    """Mean multi-label soft margin loss of scores (N, K) on 0 or 1; 0 where there is nothing."""
    losses = F.multilabel_soft_margin_loss(scores, target.to(scores.dtype), reduction="none")
    return mean_of(losses.sum(), losses.numel())
