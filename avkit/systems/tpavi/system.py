# SPDX-License-Identifier: Apache-2.0
"""TPAVI in a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, Losses
from avkit.nn.losses import mean_of
from avkit.nn.mask_losses import annotated, class_loss, resize_annotated
from avkit.systems.base import Encoded, RunContext
from avkit.systems.features import valid_or_none
from avkit.systems.pictures import MaskNetOutput, PictureConfig, PictureSystem
from avkit.systems.tpavi.network import TPAVI, TPAVIOptions, TPAVIOutput


@dataclass
class TPAVIConfig(TPAVIOptions, PictureConfig):
    """TPAVI for `avs`; the defaults train from scratch on two CPU cores, recipes `tpavi_*` have others.

    Attributes:
        name: Name of the system.
        match: Weight of the loss that makes audio and the features under the mask similar: 0 for S4, 0.5 for MS3.
    """

    name: Literal["tpavi"] = "tpavi"
    match: float = 0.0

    def build(self, context: RunContext) -> "TPAVISystem":
        """The system."""
        return TPAVISystem(self, context)


class TPAVISystem(PictureSystem):
    """TPAVI with its criterion.

    Loss: binary cross-entropy of the mask over annotated steps, or cross-entropy over classes; with `match` also the KL
    divergence between the features under the mask and the audio, see `match_loss`.
    """

    config: TPAVIConfig

    def build_network(self, context: RunContext) -> TPAVI:
        """The network."""
        config = self.config
        features = context.widths.audio
        return TPAVI(config, config.outputs(context), features, config.visual_weights, config.audio_weights)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> MaskNetOutput:
        """Masks of a batch."""
        encoded = encoded or self.encode(batch)
        maps = self.network.levels(encoded.visual)
        output: TPAVIOutput = self.network(maps, encoded.audio, valid_or_none(batch))
        return MaskNetOutput(output.logits, None, output.maps, [x.flatten(0, 1) for x in output.audio])

    def loss(self, output: MaskNetOutput, batch: Batch) -> Losses:
        """`mask` or `classes`, and `match`."""
        losses: Losses = {}
        if self.config.semantic:
            losses["classes"] = class_loss(output.logits, batch)
        else:
            target = annotated(batch.targets["mask"], batch)
            logits = resize_annotated(output.logits, batch, target)[:, 0]
            total = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="sum")
            losses["mask"] = mean_of(total, target.numel())
        if self.config.match:
            losses["match"] = self.config.match * self._match(output, batch)
        return {"loss": sum(losses.values(), output.logits.new_zeros(())), **losses}

    def _match(self, output: MaskNetOutput, batch: Batch) -> Tensor:
        """`match_loss` over valid steps; with classes the mask is what is no background."""
        valid = batch.valid.flatten()
        logits = output.logits.flatten(0, 1)[valid]
        if self.config.semantic:
            logits = logits[:, 1:].logsumexp(1, keepdim=True) - logits[:, :1]
        return match_loss(logits, [x[valid] for x in output.maps], [x[valid] for x in output.audio])


def match_loss(logits: Tensor, maps: Sequence[Tensor], audio: Sequence[Tensor]) -> Tensor:
    """KL divergence over channels between maps under a mask and audio, summed over pictures, mean over levels.

    The mask's logits are averaged over cells before the sigmoid, and a map under it is averaged over all cells.

    Args:
        logits: Of masks, (N, 1, H, W).
        maps: (N, D, h, w) each.
        audio: (N, D) each.

    Source:
        OpenNLPLab/AVSBench at commit f7414aff6aed, `avs_ms3/loss.py` with the released flags.
    """
    total = logits.new_zeros(())
    for level, vector in zip(maps, audio, strict=True):
        mask = F.adaptive_avg_pool2d(logits, (level.shape[2], level.shape[3])).sigmoid()
        under_mask = (level * mask).mean((2, 3)).log_softmax(-1)
        total = total + F.kl_div(under_mask, vector.softmax(-1), reduction="sum")
    return total / len(maps)
