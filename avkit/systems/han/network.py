# SPDX-License-Identifier: Apache-2.0
"""HAN: hybrid attention and pooling for audio-visual video parsing from labels of the clip."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from avkit.nn.attentive_pooling import AttentivePooling, ParsingOutput
from avkit.nn.clip_projection import ClipProjection
from avkit.nn.hybrid_attention import HybridAttention
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.parsing import shared_arguments, shared_name

#: Encoders that the authors build and save, and never run.
_UNUSED = ("audio_encoder.layers.0.", "visual_encoder.layers.0.", "cmt_encoder.layers.0.")
_NAMES = (
    (r"^layer\.across\.", "hat_encoder.layers.0.cm_attn."),
    (r"^layer\.within\.", "hat_encoder.layers.0.self_attn."),
    (r"^layer\.first\.", "hat_encoder.layers.0.linear1."),
    (r"^layer\.second\.", "hat_encoder.layers.0.linear2."),
    (r"^layer\.norms\.0\.", "hat_encoder.layers.0.norm1."),
    (r"^layer\.norms\.1\.", "hat_encoder.layers.0.norm2."),
)


@dataclass
class HANOptions:
    """Options of HAN's network.

    Attributes:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: In training.
    """

    width: int = 512
    heads: int = 1
    inner: int = 512
    dropout: float = 0.1


class HAN(OfficialNetwork):
    """The network of "Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video Parsing" (ECCV 2020).

    Args:
        options: Sizes and dropout.
        audio: Width of audio features.
        frames: Width of a frame's features.
        motion: Width of motion features; 0 for none.
        classes: Number of classes K.
    """

    name = "han"
    source = "YapengTian/AVVP-ECCV20 at commit fde56118f2c2"
    Options = HANOptions

    def __init__(
        self, options: HANOptions, audio: int = 128, frames: int = 2048, motion: int = 512, classes: int = 25
    ) -> None:
        super().__init__(options, audio=audio, frames=frames, motion=motion, classes=classes)
        self.inputs = ClipProjection(audio, frames, motion, options.width)
        self.layer = HybridAttention(options.width, options.heads, options.inner, options.dropout)
        self.pooling = AttentivePooling(options.width, classes)

    def forward(
        self, audio: Tensor, frames: Tensor, motion: Tensor | None = None, valid: Tensor | None = None
    ) -> ParsingOutput:
        """From audio (B, T, A), frames (B, T, P, F), motion (B, T, M), and which steps are valid, bool (B, T)."""
        padding = None if valid is None else ~valid
        audio, visual = self.layer(*self.inputs(audio, frames, motion), padding)
        output: ParsingOutput = self.pooling(audio, visual, valid)
        return output

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        first = state.get("hat_encoder.layers.0.linear1.weight")
        if first is None:
            return None
        return shared_arguments(state) | {"inner": len(first)}

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        for ours, theirs in _NAMES:
            key = re.sub(ours, theirs, key)
        return shared_name(key)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Three encoders and four norms that nothing calls; the authors fix their sizes."""
        layer = {
            "self_attn.in_proj_weight": (1536, 512),
            "self_attn.in_proj_bias": (1536,),
            "self_attn.out_proj.weight": (512, 512),
            "self_attn.out_proj.bias": (512,),
        }
        for number in (1, 2):
            layer[f"linear{number}.weight"] = (512, 512)
            layer[f"linear{number}.bias"] = (512,)
            layer[f"norm{number}.weight"] = (512,)
            layer[f"norm{number}.bias"] = (512,)
        unused = {prefix + key: shape for prefix in _UNUSED for key, shape in layer.items()}
        for encoder in ("cmt", "hat"):
            for number in (1, 2):
                unused[f"{encoder}_encoder.norm{number}.weight"] = (512,)
                unused[f"{encoder}_encoder.norm{number}.bias"] = (512,)
        return unused
