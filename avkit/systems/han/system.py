# SPDX-License-Identifier: Apache-2.0
"""HAN in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import FeatureWidths
from avkit.systems.base import RunContext
from avkit.systems.han.network import HAN, HANOptions
from avkit.systems.parsing import ParsingConfig, ParsingSystem


@dataclass
class HANConfig(HANOptions, ParsingConfig):
    """HAN for `avvp`: hybrid attention, and pooling over steps and modalities."""

    name: Literal["han"] = "han"

    def build(self, context: RunContext) -> "HANSystem":
        """The system."""
        return HANSystem(self, context)


class HANSystem(ParsingSystem):
    """HAN behind features or encoders."""

    config: HANConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> HAN:
        """The network."""
        config = self.config
        classes = len(context.vocabulary.classes)
        return HAN(config, widths.audio, widths.visual - config.motion, config.motion, classes)
