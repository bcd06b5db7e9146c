# SPDX-License-Identifier: Apache-2.0
"""HAN: hybrid attention and pooling for audio-visual video parsing from labels of the clip."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.nn.attentive_pooling import AttentivePooling, ParsingOutput
from avkit.nn.clip_projection import ClipFeatures
from avkit.nn.hybrid_attention import HybridAttention
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.clip_events import PooledParsing
from avkit.systems.features import FeatureConfig

#: Parts that are built and saved officially, and never run.
_DEAD = ("audio_encoder.layers.0.", "visual_encoder.layers.0.", "cmt_encoder.layers.0.")


class HAN(OfficialNetwork):
    """The network of "Unified Multisensory Perception: Weakly-Supervised Audio-Visual Video Parsing" (ECCV 2020).

    Args:
        audio: Width of sound.
        frames: Width of a frame's features.
        motion: Width of the motion's; 0 for none.
        classes: Number of classes K.
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        dropout: In training.
    """

    name = "han"
    source = "YapengTian/AVVP-ECCV20 at commit fde56118f2c2"

    def __init__(
        self,
        audio: int = 128,
        frames: int = 2048,
        motion: int = 512,
        classes: int = 25,
        width: int = 512,
        heads: int = 1,
        inner: int = 512,
        dropout: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.inputs = ClipFeatures(audio, frames, motion, width)
        self.layer = HybridAttention(width, heads, inner, dropout)
        self.pooling = AttentivePooling(width, classes)

    def forward(
        self, audio: Tensor, frames: Tensor, motion: Tensor | None = None, valid: Tensor | None = None
    ) -> ParsingOutput:
        """From sound (B, T, A), frames (B, T, P, F), motion (B, T, M), and the steps that count, bool (B, T)."""
        heard, seen = self.layer(*self.inputs(audio, frames, motion), None if valid is None else ~valid)
        found: ParsingOutput = self.pooling(heard, seen, valid)
        return found

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        if "hat_encoder.layers.0.linear1.weight" not in state:
            return None
        return clip_sizes(state) | {"inner": len(state["hat_encoder.layers.0.linear1.weight"])}

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        for pattern, there in (
            (r"^layer\.across\.", "hat_encoder.layers.0.cm_attn."),
            (r"^layer\.within\.", "hat_encoder.layers.0.self_attn."),
            (r"^layer\.first\.", "hat_encoder.layers.0.linear1."),
            (r"^layer\.second\.", "hat_encoder.layers.0.linear2."),
            (r"^layer\.norms\.0\.", "hat_encoder.layers.0.norm1."),
            (r"^layer\.norms\.1\.", "hat_encoder.layers.0.norm2."),
        ):
            key = re.sub(pattern, there, key)
        return clip_name(key)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Three encoders and four norms that nothing calls; their sizes are fixed there."""
        wide, three = (512,), (1536,)
        layer = {
            "self_attn.in_proj_weight": (1536, 512),
            "self_attn.in_proj_bias": three,
            "self_attn.out_proj.weight": (512, 512),
            "self_attn.out_proj.bias": wide,
            **{f"linear{i}.weight": (512, 512) for i in (1, 2)},
            **{f"linear{i}.bias": wide for i in (1, 2)},
            **{f"norm{i}.{x}": wide for i in (1, 2) for x in ("weight", "bias")},
        }
        norms = {
            f"{part}_encoder.norm{i}.{x}": wide for part in ("cmt", "hat") for i in (1, 2) for x in ("weight", "bias")
        }
        return {start + key: shape for start in _DEAD for key, shape in layer.items()} | norms


def clip_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments that HAN and MM-Pyramid share, as official weights tell them."""
    return {
        "audio": state["fc_a.weight"].shape[1],
        "frames": state["fc_v.weight"].shape[1],
        "motion": state["fc_st.weight"].shape[1],
        "classes": len(state["fc_prob.weight"]),
        "width": len(state["fc_a.weight"]),
    }


def clip_name(key: str) -> str:
    """What both call a key of `ClipFeatures` or `AttentivePooling`."""
    for ours, theirs in (
        ("inputs.audio.", "fc_a."),
        ("inputs.frames.", "fc_v."),
        ("inputs.motion.", "fc_st."),
        ("inputs.join.", "fc_fusion."),
        ("pooling.classes.", "fc_prob."),
        ("pooling.time.", "fc_frame_att."),
        ("pooling.stream.", "fc_av_att."),
    ):
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


@dataclass
class ParsingConfig(FeatureConfig):
    """What HAN and MM-Pyramid share in a run.

    Attributes:
        motion: How many of the last visual features are of motion and are projected by themselves: 512 for LLP's
            `res152+r2plus1d_18`.
        width: Width D.
        inner: Width of the feed-forward layers.
    """

    answers: ClassVar = {"avvp": PooledParsing}

    motion: int = 0
    width: int = 512
    inner: int = 512

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> ParsingOutput:
        """Probabilities of a batch."""
        seen, valid = senses.seen.frame[:, :, None], None if batch.valid.all() else batch.valid
        frames, motion = seen.split([seen.shape[-1] - self.motion, self.motion], -1)
        found: ParsingOutput = network(senses.heard, frames, motion[:, :, 0] if self.motion else None, valid)
        return found


@dataclass
class HANConfig(ParsingConfig):
    """HAN for `avvp`: hybrid attention and pooling over steps and modalities.

    Attributes:
        name: Of the system.
        heads: Attention heads.
        dropout: In training.
    """

    name: Literal["han"] = "han"
    heads: int = 1
    dropout: float = 0.1

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> HAN:
        """The network."""
        return HAN(audio, visual - self.motion, classes=len(vocabulary.classes), **self.own())
