# SPDX-License-Identifier: Apache-2.0
"""UnAV in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import FeatureWidths
from avkit.systems.base import RunContext
from avkit.systems.dense_events import EventConfig, EventSystem
from avkit.systems.unav.network import UnAV, UnAVOptions


@dataclass
class UnAVConfig(UnAVOptions, EventConfig):
    """UnAV's baseline for `davel`: cross-modal pyramid and event dependency."""

    name: Literal["unav"] = "unav"

    def build(self, context: RunContext) -> "UnAVSystem":
        """The system."""
        return UnAVSystem(self, context)


class UnAVSystem(EventSystem):
    """UnAV behind features or encoders."""

    config: UnAVConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> UnAV:
        """The network."""
        return UnAV(self.config, widths.visual, widths.audio, len(context.vocabulary.classes))
