# SPDX-License-Identifier: Apache-2.0
"""UnAV's baseline for dense events: cross-modal pyramid, event dependency, anchor-free decoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from avkit.batch import Vocabulary
from avkit.nn.cross_modal_pyramid import CrossModal, CrossModalPyramid
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_dependency import EventDependency
from avkit.systems.dense_events import EventConfig, EventNetwork


class UnAV(EventNetwork):
    """The network of "Dense-Localizing Audio-Visual Events in Untrimmed Videos", which calls the method DAVEL.

    Args:
        visual: Width of visual features, RGB and flow side by side.
        audio: Width of audio features.
        classes: Number of classes K.
        width: Width D of each modality.
        heads: Attention heads.
        length: Steps that shorter videos are padded to; longer ones to a multiple of 32.
        channels: Width of the decoder.
        stages: Convolutions at the start.
        blocks: Blocks of self-attention in each modality.
        levels: Levels of the pyramid.
        depth: Convolutions of the decoder's towers.
        aware: Boundaries for every class.
        places: Add places.
        dependency: Use the dependency block.
        mixed: See `EventDependency`: True is what the authors run.
        inner: Width of a class's features in the dependency block.
        drop_path: Share of samples that go without a residual branch in training.
    """

    name = "unav"
    source = "ttgeng233/UnAV at commit 1609deba4fba"
    rules = (
        (r"^trunk\.levels\.0\.visual\.", "backbone.ori_cross_att_Va."),
        (r"^trunk\.levels\.0\.audio\.", "backbone.ori_cross_att_Av."),
        *((rf"^trunk\.levels\.{i}\.visual\.", f"backbone.cross_att_Va.{i - 1}.") for i in range(1, 12)),
        *((rf"^trunk\.levels\.{i}\.audio\.", f"backbone.cross_att_Av.{i - 1}.") for i in range(1, 12)),
        (r"^neck\.over_time\.", "dependency_block.temporal_branch."),
        (r"^neck\.over_classes\.", "dependency_block.cooccur_branch."),
        (r"^neck\.(expand|squeeze)\.", r"dependency_block.feature_\1.conv."),
    )

    def __init__(
        self,
        visual: int,
        audio: int,
        classes: int,
        width: int = 512,
        heads: int = 4,
        length: int = 224,
        channels: int = 512,
        stages: int = 2,
        blocks: int = 2,
        levels: int = 6,
        depth: int = 3,
        aware: bool = True,
        places: bool = True,
        dependency: bool = True,
        mixed: bool = True,
        inner: int = 128,
        drop_path: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.length = length
        self.trunk = CrossModalPyramid(
            visual, audio, width, heads, length, stages, blocks, levels, places, gate=False, drop_path=drop_path
        )
        self.neck = EventDependency(2 * width, classes, inner, drop_path, mixed) if dependency else None
        self.decoder = EventDecoder(2 * width, classes, levels, channels, depth, aware)

    def relate(self, levels: list[CrossModal]) -> list[Tensor]:
        """The levels with classes related to each other, (B, T_l, 2 D)."""
        both = super().relate(levels)
        if self.neck is None:
            return both
        return [self.neck(x, level.valid) for x, level in zip(both, levels, strict=True)]

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`, `length` and `places`."""
        if "backbone.ori_cross_att_Va.ln11.weight" not in state:
            return None
        sizes, expand = cls.sizes(state), state.get("dependency_block.feature_expand.conv.weight")
        if expand is None:
            return sizes | {"dependency": False}
        return sizes | {"inner": len(expand) // sizes["classes"]}


@dataclass
class UnAVConfig(EventConfig):
    """UnAV's baseline for `davel`: cross-modal pyramid and event dependency.

    Attributes:
        name: Of the system.
        places: Add places.
        dependency: Use the dependency block.
        mixed: See `EventDependency`.
    """

    name: Literal["unav"] = "unav"
    places: bool = True
    dependency: bool = True
    mixed: bool = True

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> UnAV:
        """The network."""
        return UnAV(visual, audio, len(vocabulary.classes), **self.arguments())
