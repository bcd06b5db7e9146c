# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import Batch, Losses
from avkit.heads.heat import pairing_loss
from avkit.systems.base import RunContext
from avkit.systems.ez_vsl.network import EZVSL, EZVSLOptions
from avkit.systems.sources import LocalizationConfig, LocalizationOutput, LocalizationSystem, clip_numbers

#: Temperature of the softmax over pairs.
TEMPERATURE = 0.03


@dataclass
class EZVSLConfig(EZVSLOptions, LocalizationConfig):
    """EZ-VSL for `ssl`."""

    name: Literal["ez_vsl"] = "ez_vsl"

    def build(self, context: RunContext) -> "EZVSLSystem":
        """The system."""
        return EZVSLSystem(self, context)


class EZVSLSystem(LocalizationSystem):
    """EZ-VSL with its criterion.

    Loss: cross-entropy over sounds for each picture, plus that over pictures for each sound, of the best position's
    cosine over a temperature of 0.03. Other steps of the same clip are no negatives; VGG-SS has one step per clip.
    """

    config: EZVSLConfig

    def build_network(self) -> EZVSL:
        """The network."""
        return EZVSL(self.config)

    def loss(self, output: LocalizationOutput, batch: Batch) -> Losses:
        """`pairs`."""
        valid = batch.valid
        positions = output.visual[valid].flatten(1, 2)
        pairs = 2 * pairing_loss(output.audio[valid], positions, clip_numbers(batch), TEMPERATURE, share=0.0)
        return {"loss": pairs, "pairs": pairs}
