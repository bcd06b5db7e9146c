# SPDX-License-Identifier: Apache-2.0
"""UnAV's baseline for dense events: cross-modal pyramid, event dependency, anchor-free decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from avkit.nn.cross_modal_pyramid import CrossModalPyramid, PyramidLevel
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_dependency import EventDependency
from avkit.nn.event_options import EventOptions
from avkit.systems.dense_events import CROSS_ATTENTION_NAMES, EventNetwork


@dataclass
class UnAVOptions(EventOptions):
    """Options of UnAV's network.

    Attributes:
        positions: Add positions to the features.
        dependency: Use the dependency block.
    """

    positions: bool = True
    dependency: bool = True


class UnAV(EventNetwork):
    """The network of "Dense-Localizing Audio-Visual Events in Untrimmed Videos", which calls the method DAVEL.

    Args:
        options: Sizes and switches.
        visual: Width of visual features, RGB and flow side by side.
        audio: Width of audio features.
        classes: Number of classes K.
    """

    name = "unav"
    source = "ttgeng233/UnAV at commit 1609deba4fba"
    Options = UnAVOptions
    names = (
        *CROSS_ATTENTION_NAMES,
        (r"^neck\.over_time\.", "dependency_block.temporal_branch."),
        (r"^neck\.over_classes\.", "dependency_block.cooccur_branch."),
        (r"^neck\.(expand|squeeze)\.", r"dependency_block.feature_\1."),
    )

    def __init__(self, options: UnAVOptions, visual: int, audio: int, classes: int) -> None:
        super().__init__(options, visual=visual, audio=audio, classes=classes)
        self.length = options.length
        self.trunk = CrossModalPyramid(
            visual,
            audio,
            options.width,
            options.heads,
            options.length,
            options.stages,
            options.blocks,
            options.levels,
            positions=options.positions,
            gate=False,
            drop_path=options.drop_path,
        )
        self.neck: EventDependency | None = None
        if options.dependency:
            self.neck = EventDependency(2 * options.width, classes, options)
        self.decoder = EventDecoder(2 * options.width, classes, options)

    def relate(self, levels: list[PyramidLevel]) -> list[Tensor]:
        """The levels with classes related to each other, (B, T_l, 2 D)."""
        features = [level.both() for level in levels]
        if self.neck is None:
            return features
        return [self.neck(x, level.valid) for x, level in zip(features, levels, strict=True)]

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`, `length` and `positions`."""
        if "backbone.ori_cross_att_Va.ln2.weight" not in state:
            return None
        arguments = cls.shared_arguments(state)
        expand = state.get("dependency_block.feature_expand.conv.weight")
        if expand is None:
            return arguments | {"dependency": False}
        return arguments | {"inner": len(expand) // arguments["classes"]}
