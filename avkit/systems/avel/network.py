# SPDX-License-Identifier: Apache-2.0
"""AVEL: audio-guided attention and recurrent networks for events of ten seconds; DMRN fuses by residuals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.errors import unknown_name
from avkit.nn.audio_guided_attention import AudioGuidedAttention, TwoRecurrent
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.clip_events import MarginEvents, WeakMarginEvents
from avkit.systems.features import FeatureConfig, squared

#: How both modalities become one answer.
FUSIONS = ("concat", "residual")


class AVEL(OfficialNetwork):
    """The networks of "Audio-Visual Event Localization in Unconstrained Videos" (ECCV 2018).

    Args:
        audio: Width of sound.
        visual: Width of a position's features.
        classes: Number of classes, background included, which comes last.
        width: Width of each direction of the recurrent networks.
        compared: Width in which sound and sight are compared.
        positions: Positions of a picture.
        fusion: `concat` (AV_att), or `residual` (DMRN).
    """

    name = "avel"
    source = "YapengTian/AVE-ECCV18 at commit 93f843fed72f"

    def __init__(
        self,
        audio: int = 128,
        visual: int = 512,
        classes: int = 29,
        width: int = 128,
        compared: int = 512,
        positions: int = 49,
        fusion: str = "concat",
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        if fusion not in FUSIONS:
            raise unknown_name("fusion", fusion, FUSIONS)
        self.fusion = fusion
        self.attention = AudioGuidedAttention(audio, visual, compared, positions)
        self.recurrent = TwoRecurrent(audio, visual, width)
        if fusion == "concat":
            self.first, self.last = nn.Linear(4 * width, 64), nn.Linear(64, classes)
            nn.init.xavier_uniform_(self.first.weight)
        else:
            self.visual, self.audio = (_transform(2 * width) for _ in range(2))
            self.last = nn.Linear(2 * width, classes)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Logits (B, T, K), background last, of sound (B, T, A) and pictures (B, T, P, V)."""
        heard, seen = self.recurrent(audio, self.attention(audio, visual))
        if self.fusion == "concat":
            fused = self.first(torch.cat([heard, seen], -1).relu()).relu()
        else:
            both = (self.visual(seen) + self.audio(heard)) * 0.5
            fused = ((heard + both).tanh() + (seen + both).tanh()) * 0.5
        logits: Tensor = self.last(fused)
        return logits

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        if "affine_h.weight" not in state:
            return None
        compared, audio = state["affine_audio.weight"].shape
        return {
            "audio": audio,
            "visual": state["affine_video.weight"].shape[1],
            "classes": len(state["L2.weight"]),
            "width": state["lstm_audio.weight_hh_l0"].shape[1],
            "compared": compared,
            "positions": len(state["affine_v.weight"]),
            "fusion": "residual" if "U_v.0.weight" in state else "concat",
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        return rename(
            key, ATTENTION | {"recurrent.audio.": "lstm_audio.", "recurrent.visual.": "lstm_video."} | _OUTPUT
        )


#: Names of the attention, which PSP has too.
ATTENTION = {
    "attention.audio.": "affine_audio.",
    "attention.visual.": "affine_video.",
    "attention.from_visual.": "affine_v.",
    "attention.from_audio.": "affine_g.",
    "attention.score.": "affine_h.",
}
_OUTPUT = {"first.": "L1.", "last.": "L2.", "visual.": "U_v.", "audio.": "U_a."}


def _transform(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width))


@dataclass
class AVELConfig(FeatureConfig):
    """AVEL for `ave` and `ave_weak`: sound says where to look; DMRN by `fusion residual`.

    Attributes:
        name: Of the system.
        fusion: `concat` (AV_att), or `residual` (DMRN).
        hidden: Width of each direction of the recurrent networks.
        compared: Width in which sound and sight are compared.
        positions: Positions of a picture; others are averaged to a square grid of as many.
    """

    answers: ClassVar = {"ave": MarginEvents, "ave_weak": WeakMarginEvents}

    name: Literal["avel"] = "avel"
    fusion: str = "concat"
    hidden: int = 128
    compared: int = 512
    positions: int = 49

    @property
    def width(self) -> int:
        """Width of each modality after the recurrent networks."""
        return 2 * self.hidden

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> AVEL:
        """The network."""
        return AVEL(audio, visual, len(vocabulary.classes) + 1, self.hidden, **self.own("hidden"))

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> Tensor:
        """Logits of a batch."""
        logits: Tensor = network(senses.heard, squared(senses.seen, self.positions))
        return logits
