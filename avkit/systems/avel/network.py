# SPDX-License-Identifier: Apache-2.0
"""AVEL: audio-guided attention and recurrent networks for events of ten seconds; DMRN fuses by residuals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avkit.errors import unknown_name
from avkit.nn.audio_guided_attention import AudioGuidedAttention, BimodalLSTM
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.clip_events import ATTENTION_NAMES, AttentionOptions
from avkit.systems.official_keys import rename

#: How both modalities are fused.
FUSIONS = ("concat", "residual")
_NAMES = {f"attention.{ours}": theirs for ours, theirs in ATTENTION_NAMES.items()} | {
    "recurrent.audio.": "lstm_audio.",
    "recurrent.visual.": "lstm_video.",
    "first.": "L1.",
    "last.": "L2.",
    "visual.": "U_v.",
    "audio.": "U_a.",
}


@dataclass
class AVELOptions(AttentionOptions):
    """Options of AVEL's networks.

    Attributes:
        fusion: `concat` (AV_att), or `residual` (DMRN).
        hidden: Width of each direction of the recurrent networks.
    """

    fusion: str = "concat"
    hidden: int = 128


class AVEL(OfficialNetwork):
    """The networks of "Audio-Visual Event Localization in Unconstrained Videos" (ECCV 2018).

    Args:
        options: Fusion and sizes.
        audio: Width of audio features.
        visual: Width of a position's features.
        classes: Number of classes, background included, which comes last.
    """

    name = "avel"
    source = "YapengTian/AVE-ECCV18 at commit 93f843fed72f"
    Options = AVELOptions

    def __init__(self, options: AVELOptions, audio: int = 128, visual: int = 512, classes: int = 29) -> None:
        super().__init__(options, audio=audio, visual=visual, classes=classes)
        if options.fusion not in FUSIONS:
            raise unknown_name("fusion", options.fusion, FUSIONS)
        hidden = options.hidden
        self.fusion = options.fusion
        self.attention = AudioGuidedAttention(audio, visual, options.attention_width, options.positions)
        self.recurrent = BimodalLSTM(audio, visual, hidden)
        if options.fusion == "concat":
            self.first = nn.Linear(4 * hidden, 64)
            self.last = nn.Linear(64, classes)
            nn.init.xavier_uniform_(self.first.weight)
        else:
            self.visual = _residual_layer(2 * hidden)
            self.audio = _residual_layer(2 * hidden)
            self.last = nn.Linear(2 * hidden, classes)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Logits (B, T, K), background last, of audio (B, T, A) and pictures (B, T, P, V)."""
        audio, visual = self.recurrent(audio, self.attention(audio, visual))
        if self.fusion == "concat":
            fused = self.first(torch.cat([audio, visual], -1).relu()).relu()
        else:
            residual = (self.visual(visual) + self.audio(audio)) * 0.5
            fused = ((audio + residual).tanh() + (visual + residual).tanh()) * 0.5
        logits: Tensor = self.last(fused)
        return logits

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        if "affine_h.weight" not in state:
            return None
        attention_width, audio = state["affine_audio.weight"].shape
        return {
            "audio": audio,
            "visual": state["affine_video.weight"].shape[1],
            "classes": len(state["L2.weight"]),
            "hidden": state["lstm_audio.weight_hh_l0"].shape[1],
            "attention_width": attention_width,
            "positions": len(state["affine_v.weight"]),
            "fusion": "residual" if "U_v.0.weight" in state else "concat",
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        return rename(key, _NAMES)


def _residual_layer(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))
