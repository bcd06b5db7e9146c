# SPDX-License-Identifier: Apache-2.0
"""AVSegFormer in a run."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from avkit.batch import Batch, Losses
from avkit.nn.losses import dice_loss, mean_of
from avkit.nn.mask_losses import annotated, class_loss, known_steps, resize_annotated
from avkit.nn.padding import scatter_steps, valid_rows
from avkit.nn.query_mask import QueryMasks
from avkit.systems.avsegformer.network import AVSegFormer, AVSegFormerOptions
from avkit.systems.base import Encoded, RunContext
from avkit.systems.pictures import MaskNetOutput, PictureConfig, PictureSystem


@dataclass
class AVSegFormerConfig(AVSegFormerOptions, PictureConfig):
    """AVSegFormer for `avs`; the defaults train from scratch on two CPU cores, recipes `avsegformer_*` have others.

    Attributes:
        name: Name of the system.
        mix: Weight of the loss on the mean of the mask features.
    """

    whole_clips: ClassVar[bool] = False

    name: Literal["avsegformer"] = "avsegformer"
    mix: float = 0.1

    def build(self, context: RunContext) -> "AVSegFormerSystem":
        """The system."""
        return AVSegFormerSystem(self, context)


class AVSegFormerSystem(PictureSystem):
    """AVSegFormer with its criterion.

    Loss: Dice of the mask over annotated steps, or cross-entropy over classes, plus `mix` times the Dice of the mean
    over the channels of the mask features.
    """

    config: AVSegFormerConfig

    def build_network(self, context: RunContext) -> AVSegFormer:
        """The network."""
        config = self.config
        features = context.widths.audio
        return AVSegFormer(config, config.outputs(context), features, config.visual_weights, config.audio_weights)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> MaskNetOutput:
        """Masks of a batch; only valid steps pass the decoder."""
        encoded = encoded or self.encode(batch)
        valid = batch.valid
        maps = [valid_rows(level, valid) for level in self.network.levels(encoded.visual)]
        masks: QueryMasks = self.network(maps, valid_rows(encoded.audio, valid))
        return MaskNetOutput(scatter_steps(masks.logits, valid), scatter_steps(masks.features, valid))

    def loss(self, output: MaskNetOutput, batch: Batch) -> Losses:
        """`mask` or `classes`, and `mix`."""
        assert output.features is not None
        target = annotated(batch.targets["mask"], batch)
        count = known_steps(batch).sum()
        if self.config.semantic:
            name = "classes"
            main = class_loss(output.logits, batch)
        else:
            name = "mask"
            main = mean_of(dice_loss(resize_annotated(output.logits, batch, target)[:, 0], target).sum(), count)
        mean_features = resize_annotated(output.features.mean(2, keepdim=True), batch, target)[:, 0]
        mix = self.config.mix * mean_of(dice_loss(mean_features, target).sum(), count)
        return {"loss": main + mix, name: main, "mix": mix}
