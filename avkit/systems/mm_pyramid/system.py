# SPDX-License-Identifier: Apache-2.0
"""MM-Pyramid in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import FeatureWidths
from avkit.systems.base import RunContext
from avkit.systems.mm_pyramid.network import MMPyramid, MMPyramidOptions
from avkit.systems.parsing import ParsingConfig, ParsingSystem


@dataclass
class MMPyramidConfig(MMPyramidOptions, ParsingConfig):
    """MM-Pyramid for `avvp`: attention in ever wider windows."""

    name: Literal["mm_pyramid"] = "mm_pyramid"

    def build(self, context: RunContext) -> "MMPyramidSystem":
        """The system."""
        return MMPyramidSystem(self, context)


class MMPyramidSystem(ParsingSystem):
    """MM-Pyramid behind features or encoders."""

    config: MMPyramidConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> MMPyramid:
        """The network."""
        config = self.config
        classes = len(context.vocabulary.classes)
        return MMPyramid(config, widths.audio, widths.visual - config.motion, config.motion, classes)
