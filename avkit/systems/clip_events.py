# SPDX-License-Identifier: Apache-2.0
"""Events of short clips as HAN, MM-Pyramid, AVEL and PSP learn them; their networks answer, so heads hand on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Prediction
from avkit.nn.losses import mean_of
from avkit.tasks.ave import EventLocalization, WeakEventLocalization, target_of
from avkit.tasks.avvp import VideoParsing


@dataclass
class PSPOutput:
    """What PSP says.

    Attributes:
        logits: Classes of each step, background last, (B, T, K).
        fused: Features that they come from, (B, T, D).
        alike: Cosine of sight and sound at each step, (B, T).
    """

    logits: Tensor
    fused: Tensor
    alike: Tensor


class PooledParsing(VideoParsing):
    """Parsing as HAN and MM-Pyramid learn it: the loss is that of `VideoParsing`, which is theirs."""

    forms = ()
    meet = True

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Hands on what the system answers."""
        return nn.Identity()


class MarginEvents(EventLocalization):
    """Events as AVEL learns them.

    Loss: multi-label soft margin of the softmax over classes, which applies a sigmoid to probabilities, on one class
    per step.
    """

    forms = ()
    stepwise = False

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Hands on what the system answers."""
        return nn.Identity()

    def loss(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`margin`."""
        wanted, keep = _official(batch)
        margin = soft_margin(out[keep].softmax(-1), F.one_hot(wanted[keep], out.shape[-1]))
        return {"loss": margin, "margin": margin}

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """As `EventLocalization`: background first."""
        logits = out.logits if isinstance(out, PSPOutput) else out
        return super().predict(logits.roll(1, -1), batch)


class WeakMarginEvents(MarginEvents, WeakEventLocalization):
    """The same, learnt from which classes and whether background occur in a clip: step scores pooled by maximum."""

    def loss(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`margin`."""
        scores = out.masked_fill(~batch.valid[..., None], -torch.inf).amax(1).softmax(-1)
        margin = soft_margin(scores, (_shares(batch, out.shape[-1]) > 0).to(scores.dtype))
        return {"loss": margin, "margin": margin}


class PropagatedEvents(MarginEvents):
    """Events as PSP learns them: cross-entropy per step, and sight and sound alike where there is an event."""

    #: Factor of the second.
    alike = 100.0

    def loss(self, out: PSPOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`segments` and `alike`."""
        wanted, keep = _official(batch)
        losses = F.cross_entropy(out.logits.flatten(0, 1), wanted.flatten(), reduction="none")
        segments = mean_of((losses * keep.flatten()).sum(), keep.sum())
        event = (wanted < out.logits.shape[-1] - 1) & keep
        event = torch.where(event.any(1, keepdim=True), event, batch.valid).to(losses.dtype)
        share = out.alike.relu() * batch.valid
        share = share / (share.sum(1, keepdim=True) + 1e-8)
        apart = (share - event / event.sum(1, keepdim=True)).square() * batch.valid
        alike = mean_of(apart.sum(), batch.valid.sum())
        return {"loss": segments + self.alike * alike, "segments": segments, "alike": alike}


class WeakPropagatedEvents(MarginEvents, WeakEventLocalization):
    """The same, learnt from the share of a clip that each class and background have."""

    def loss(self, out: PSPOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`clip`."""
        valid = batch.valid[..., None]
        found = ((out.logits * valid).sum(1) / valid.sum(1)).softmax(-1)
        clip = F.binary_cross_entropy(found, _shares(batch, found.shape[-1]).to(found.dtype))
        return {"loss": clip, "clip": clip}


def soft_margin(scores: Tensor, wanted: Tensor) -> Tensor:
    """Multi-label soft margin loss of scores (N, K) on 0 or 1, the mean; 0 where there is nothing."""
    losses = F.multilabel_soft_margin_loss(scores, wanted.to(scores.dtype), reduction="none")
    return mean_of(losses.sum(), losses.numel())


def _official(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class of every step with background last, (B, T), and which steps count."""
    target, keep = target_of(batch)
    classes = batch.targets["audio_segments"].shape[-1]
    return (target - 1) % (classes + 1), keep


def _shares(batch: Batch, classes: int) -> Tensor:
    """Share of each clip's counted steps that every class and background have, (B, K)."""
    wanted, keep = _official(batch)
    counts = (F.one_hot(wanted, classes) * keep[..., None]).sum(1)
    return counts / keep.sum(1, keepdim=True).clamp(min=1)
