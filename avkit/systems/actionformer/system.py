# SPDX-License-Identifier: Apache-2.0
"""ActionFormer in a run."""

from dataclasses import dataclass
from typing import Literal

from avkit.batch import FeatureWidths
from avkit.systems.actionformer.network import ActionFormer, ActionFormerOptions
from avkit.systems.base import RunContext
from avkit.systems.dense_events import EventConfig, EventSystem


@dataclass
class ActionFormerConfig(ActionFormerOptions, EventConfig):
    """ActionFormer for `davel`: local self-attention on a pyramid of joined features."""

    name: Literal["actionformer"] = "actionformer"
    centre_radius: float = 1.5

    def build(self, context: RunContext) -> "ActionFormerSystem":
        """The system."""
        return ActionFormerSystem(self, context)


class ActionFormerSystem(EventSystem):
    """ActionFormer behind features or encoders."""

    config: ActionFormerConfig

    def build_network(self, widths: FeatureWidths, context: RunContext) -> ActionFormer:
        """The network."""
        return ActionFormer(self.config, widths.visual, widths.audio, len(context.vocabulary.classes))
