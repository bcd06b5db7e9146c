# SPDX-License-Identifier: Apache-2.0
"""CCNet in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import FeatureWidths
from avkit.systems.base import RunContext
from avkit.systems.ccnet.network import CCNet, CCNetOptions
from avkit.systems.dense_events import EventConfig, EventSystem


@dataclass
class CCNetConfig(CCNetOptions, EventConfig):
    """CCNet for `davel`: cross-modal consistency and collaboration of temporal granularities."""

    name: Literal["ccnet"] = "ccnet"

    def build(self, context: RunContext) -> "CCNetSystem":
        """The system."""
        return CCNetSystem(self, context)


class CCNetSystem(EventSystem):
    """CCNet behind features or encoders."""

    config: CCNetConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> CCNet:
        """The network."""
        return CCNet(self.config, widths.visual, widths.audio, len(context.vocabulary.classes))
