# SPDX-License-Identifier: Apache-2.0
"""CCNet: dense events by cross-modal consistency and collaboration of temporal granularities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from avkit.batch import Vocabulary
from avkit.errors import DataError, unknown_name
from avkit.nn.cross_modal_pyramid import CrossModal, CrossModalPyramid
from avkit.nn.event_decoder import EventDecoder
from avkit.systems.ccnet.granularity import ORDERS, GranularityCollaboration
from avkit.systems.dense_events import EventConfig, EventNetwork


class CCNet(EventNetwork):
    """The network of "Dense Audio-Visual Event Localization under Cross-Modal Consistency ..." (AAAI 2025).

    Args:
        visual: Width of visual features.
        audio: Width of audio features.
        classes: Number of classes K.
        width: Width D of each modality.
        heads: Attention heads.
        length: Steps that all videos are padded to, and none may exceed: weights are tied to it, those of `c2f` and
            `in_time`.
        channels: Width of the decoder.
        stages: Convolutions at the start.
        blocks: Blocks of self-attention in each modality.
        levels: Levels of the pyramid.
        depth: Convolutions of the decoder's towers.
        aware: Boundaries for every class.
        cmcc: Let the modalities collaborate at all (Table 2).
        cmi: Let each attend to the other (Table 3).
        tcg: Let each gate the other (Table 3).
        c2f: Let coarse levels help fine ones (Table 2).
        f2c: Let fine levels help coarse ones (Table 2).
        order: `c2f_f2c` or `f2c_c2f` (Table 4).
        in_time: Make classes' features along time too, which the paper does not mention.
        mixed: See `EventDependency`: True is what the authors run.
        blind: Let the gates' attention see padding: True is what the authors run; gates then depend on its amount.
        inner: Width of a class's features.
        drop_path: Share of samples that go without a residual branch in training.
    """

    name = "ccnet"
    source = "zzhhfut/CCNet-AAAI2025 at commit d148d074d647"
    rules = (
        (r"^(trunk\.levels\.\d+\.\w+_gate)\.attn\.", r"\1."),
        (r"^trunk\.levels\.(\d+)\.(visual|audio)_gate\.gate\.", r"backbone.\2_TCG.\1.gate_linear.conv."),
        (r"^trunk\.levels\.(\d+)\.(visual|audio)_gate\.", r"backbone.\2_TCG.\1."),
        (r"^trunk\.levels\.0\.visual\.", "backbone.ori_CMI_Visual."),
        (r"^trunk\.levels\.0\.audio\.", "backbone.ori_CMI_Audio."),
        *((rf"^trunk\.levels\.{i}\.visual\.", f"backbone.CMI_Visual.{i - 1}.") for i in range(1, 12)),
        *((rf"^trunk\.levels\.{i}\.audio\.", f"backbone.CMI_Audio.{i - 1}.") for i in range(1, 12)),
        (r"^neck\.coarse_to_fine\.stretch\.", "MTGC_block.C2F_linear."),
        (r"^neck\.coarse_to_fine\.block\.", "MTGC_block.C2F_attention."),
        (r"^neck\.fine_to_coarse\.blocks\.", "MTGC_block.F2C_attention_block."),
        (r"^neck\.in_time\.press\.", "MTGC_block.feature_tem_press.conv."),
        (r"^neck\.in_time\.channels\.", "MTGC_block.channel_att."),
        (r"^neck\.in_time\.spread\.", "MTGC_block.feature_tem_block."),
        (r"^neck\.dependency\.", "MTGC_block."),
    )

    def __init__(
        self,
        visual: int,
        audio: int,
        classes: int,
        width: int = 512,
        heads: int = 4,
        length: int = 256,
        channels: int = 512,
        stages: int = 2,
        blocks: int = 2,
        levels: int = 6,
        depth: int = 3,
        aware: bool = True,
        cmcc: bool = True,
        cmi: bool = True,
        tcg: bool = True,
        c2f: bool = True,
        f2c: bool = True,
        order: str = "c2f_f2c",
        in_time: bool = True,
        mixed: bool = True,
        blind: bool = True,
        inner: int = 128,
        drop_path: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        if order not in ORDERS:
            raise unknown_name("order", order, ORDERS)
        if length % 2 ** (levels - 1):
            raise ValueError(f"length is {length}; {levels} levels need a multiple of {2 ** (levels - 1)}.")
        self.length, self.blind, self.tied = length, blind, c2f or in_time
        self.trunk = CrossModalPyramid(
            visual, audio, width, heads, length, stages, blocks, levels, True, cmi, tcg, cmcc, drop_path
        )
        self.neck = GranularityCollaboration(
            2 * width, classes, length, levels, inner, c2f, f2c, order, in_time, drop_path, mixed
        )
        self.decoder = EventDecoder(2 * width, classes, levels, channels, depth, aware)

    def takes(self, steps: int) -> int:
        """The one length that the weights are made for; without `c2f` and `in_time` they fit any.

        Raises:
            DataError: If a video is longer.
        """
        if not self.tied:
            return super().takes(steps)
        if steps > self.length:
            raise DataError(
                f"A video has {steps} steps; this CCNet is made for at most {self.length}, to which its weights are "
                "tied. Cut the video, or train with a longer --model.system.length."
            )
        return self.length

    def look(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[CrossModal]:
        """The trunk's levels."""
        return self.trunk(visual, audio, valid, self.blind)

    def relate(self, levels: list[CrossModal]) -> list[Tensor]:
        """The neck's levels, (B, T_l, 2 D)."""
        both = super().relate(levels)
        assert self.neck is not None
        found: list[Tensor] = self.neck(both, [level.valid for level in levels])
        return found

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        if not any(key.startswith("MTGC_block.") for key in state):
            return None
        sizes = cls.sizes(state)
        spread, expand = (
            state.get("MTGC_block.feature_tem_block.0.weight"),
            state["MTGC_block.feature_expand.conv.weight"],
        )
        if spread is None:
            return sizes | {"in_time": False, "inner": len(expand) // sizes["classes"]}
        return sizes | {"length": spread.shape[1], "inner": len(expand) // sizes["classes"]}


@dataclass
class CCNetConfig(EventConfig):
    """CCNet for `davel`: cross-modal consistency and collaboration of temporal granularities.

    Attributes:
        name: Of the system.
        length: Steps that all videos are padded to, and none may exceed.
        cmcc: Let the modalities collaborate at all (Table 2).
        cmi: Let each attend to the other (Table 3).
        tcg: Let each gate the other (Table 3).
        c2f: Let coarse levels help fine ones (Table 2).
        f2c: Let fine levels help coarse ones (Table 2).
        order: `c2f_f2c` or `f2c_c2f` (Table 4).
        in_time: Make classes' features along time too.
        mixed: See `EventDependency`.
        blind: Let the gates' attention see padding.
    """

    name: Literal["ccnet"] = "ccnet"
    length: int = 256
    cmcc: bool = True
    cmi: bool = True
    tcg: bool = True
    c2f: bool = True
    f2c: bool = True
    order: str = "c2f_f2c"
    in_time: bool = True
    mixed: bool = True
    blind: bool = True

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> CCNet:
        """The network."""
        return CCNet(visual, audio, len(vocabulary.classes), **self.arguments())
