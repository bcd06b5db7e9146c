# SPDX-License-Identifier: Apache-2.0
"""CCNet: dense events by cross-modal consistency and collaboration of temporal granularities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from avkit.errors import DataError
from avkit.nn.cross_modal_pyramid import CrossModalPyramid, PyramidLevel
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_options import EventOptions
from avkit.systems.ccnet.granularity import GranularityCollaboration, GranularityOptions
from avkit.systems.dense_events import EventNetwork


@dataclass
class CCNetOptions(GranularityOptions, EventOptions):
    """Options of CCNet's network.

    Attributes:
        cmcc: Let the modalities collaborate at all (Table 2).
        cmi: Let each modality attend to the other (Table 3).
        tcg: Let each modality gate the other (Table 3).
        mask_gates: Leave padding out of the gates' attention. The authors let it take part; gates then depend on the
            amount of padding.
        cmi_residual: What attention to the other modality is added to, see `avkit.nn.masked_conv.RESIDUALS`: `scaled`
            as the code runs, `plain` as Eq. 2 says.
    """

    cmcc: bool = True
    cmi: bool = True
    tcg: bool = True
    mask_gates: bool = False
    cmi_residual: str = "scaled"


class CCNet(EventNetwork):
    """The network of "Dense Audio-Visual Event Localization under Cross-Modal Consistency ..." (AAAI 2025).

    Args:
        options: Sizes and switches.
        visual: Width of visual features.
        audio: Width of audio features.
        classes: Number of classes K.
    """

    name = "ccnet"
    source = "zzhhfut/CCNet-AAAI2025 at commit d148d074d647"
    Options = CCNetOptions
    names = (
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
        (r"^neck\.in_time\.press\.", "MTGC_block.feature_tem_press."),
        (r"^neck\.in_time\.channels\.", "MTGC_block.channel_att."),
        (r"^neck\.in_time\.spread\.", "MTGC_block.feature_tem_block."),
        (r"^neck\.dependency\.", "MTGC_block."),
    )

    def __init__(self, options: CCNetOptions, visual: int, audio: int, classes: int) -> None:
        super().__init__(options, visual=visual, audio=audio, classes=classes)
        self.length = options.length
        self.tied = options.tied
        self.mask_gates = options.mask_gates
        self.trunk = CrossModalPyramid(
            visual,
            audio,
            options.width,
            options.heads,
            options.length,
            options.stages,
            options.blocks,
            options.levels,
            interact=options.cmi,
            gate=options.tcg,
            collaborate=options.cmcc,
            drop_path=options.drop_path,
            residual=options.cmi_residual,
            scale=options.attention_scale,
        )
        self.neck = GranularityCollaboration(2 * options.width, classes, options)
        self.decoder = EventDecoder(2 * options.width, classes, options)

    def padded_length(self, steps: int) -> int:
        """The one length that the weights are made for; without `c2f` and `in_time` they fit any.

        Raises:
            DataError: If a video is longer.
        """
        if not self.tied:
            return super().padded_length(steps)
        if steps > self.length:
            raise DataError(
                f"A video has {steps} steps; this CCNet is made for at most {self.length}, to which its weights are "
                "tied. Cut the video, or train with a longer --model.system.length."
            )
        return self.length

    def pyramid(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[PyramidLevel]:
        """The trunk's levels."""
        levels: list[PyramidLevel] = self.trunk(visual, audio, valid, self.mask_gates)
        return levels

    def relate(self, levels: list[PyramidLevel]) -> list[Tensor]:
        """The neck's levels, (B, T_l, 2 D)."""
        related: list[Tensor] = self.neck([level.both() for level in levels], [level.valid for level in levels])
        return related

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        if not any(key.startswith("MTGC_block.") for key in state):
            return None
        arguments = cls.shared_arguments(state)
        arguments["inner"] = len(state["MTGC_block.feature_expand.conv.weight"]) // arguments["classes"]
        spread = state.get("MTGC_block.feature_tem_block.0.weight")
        if spread is None:
            return arguments | {"in_time": False}
        return arguments | {"length": spread.shape[1]}
