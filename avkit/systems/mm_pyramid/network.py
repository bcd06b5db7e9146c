# SPDX-License-Identifier: Apache-2.0
"""MM-Pyramid: a pyramid of attention windows for audio-visual video parsing from labels of the clip."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from avkit.nn.attentive_pooling import AttentivePooling, ParsingOutput
from avkit.nn.clip_projection import ClipProjection
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.mm_pyramid.window_pyramid import WindowPyramid
from avkit.systems.official_keys import count_numbers
from avkit.systems.parsing import shared_arguments, shared_name


@dataclass
class MMPyramidOptions:
    """Options of MM-Pyramid's network.

    Attributes:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        levels: Levels of the pyramid.
        dropout: In training.
        swapped: Predict audio events from the visual stream and visual events from the audio stream, as the authors
            train and test.
    """

    width: int = 512
    heads: int = 8
    inner: int = 512
    levels: int = 4
    dropout: float = 0.2
    swapped: bool = True


class MMPyramid(OfficialNetwork):
    """The network of "MM-Pyramid: Multimodal Pyramid Attentional Network for Audio-Visual Event Localization ...".

    Args:
        options: Sizes, dropout and `swapped`.
        audio: Width of audio features.
        frames: Width of a frame's features.
        motion: Width of motion features; 0 for none.
        classes: Number of classes K.
    """

    name = "mm_pyramid"
    source = "JustinYuu/MM_Pyramid at commit 1c641a5f3302"
    Options = MMPyramidOptions

    def __init__(
        self, options: MMPyramidOptions, audio: int = 128, frames: int = 2048, motion: int = 512, classes: int = 25
    ) -> None:
        super().__init__(options, audio=audio, frames=frames, motion=motion, classes=classes)
        self.width = options.width
        self.inner = options.inner
        self.swapped = options.swapped
        self.inputs = ClipProjection(audio, frames, motion, options.width)
        self.pyramid = WindowPyramid(options.width, options.heads, options.inner, options.levels, options.dropout)
        self.pooling = AttentivePooling(options.width, classes)

    def forward(
        self, audio: Tensor, frames: Tensor, motion: Tensor | None = None, valid: Tensor | None = None
    ) -> ParsingOutput:
        """From audio (B, T, A), frames (B, T, P, F), motion (B, T, M), and which steps are valid, bool (B, T)."""
        audio, visual = self.inputs(audio, frames, motion)
        visual, audio = self.pyramid(visual, audio, valid)
        output: ParsingOutput
        if self.swapped:
            output = self.pooling(visual, audio, valid)
        else:
            output = self.pooling(audio, visual, valid)
        return output

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        first = state.get("MMP.capture.msa.0.vsablock.layer.feed_forward.w_1.weight")
        if first is None:
            return None
        return shared_arguments(state) | {
            "inner": len(first),
            "levels": count_numbers(state, r"MMP\.capture\.msa\.(\d+)\."),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        for pattern, official in (
            (r"\.(query|key|value|out)\.", lambda m: f".self_attn.linears.{_LINEAR[m[1]]}."),
            (r"\.norms\.(\d)\.", r".sublayer.\1.norm."),
            (r"(levels\.\d+\.)(visual|audio|across)\.first\.", r"\1\2.feed_forward.w_1."),
            (r"(levels\.\d+\.)(visual|audio|across)\.second\.", r"\1\2.feed_forward.w_2."),
            (r"^pyramid\.(visual|audio)\.layer\.first\.", r"pyramid.\1.layer.feed_forward.w_1."),
            (r"^pyramid\.(visual|audio)\.layer\.second\.", r"pyramid.\1.layer.feed_forward.w_2."),
            (r"^pyramid\.levels\.(\d+)\.visual\.", r"MMP.capture.msa.\1.vsablock.layer."),
            (r"^pyramid\.levels\.(\d+)\.audio\.", r"MMP.capture.msa.\1.asablock.layer."),
            (r"^pyramid\.levels\.(\d+)\.across\.", r"MMP.capture.msa.\1.cmablock.layer."),
            (r"^pyramid\.levels\.(\d+)\.(v|a)\w+_gates\.(\d)\.", _gate),
            (r"^pyramid\.levels\.(\d+)\.(v|a)\w+_conv\.first\.", r"MMP.capture.\2network.\1.net.0."),
            (r"^pyramid\.levels\.(\d+)\.(v|a)\w+_conv\.second\.", r"MMP.capture.\2network.\1.net.2."),
            (r"^pyramid\.(v|a)\w+\.layer\.", r"MMP.fusion.\1adaptiveinteraction."),
            (r"^pyramid\.(v|a)\w+\.weight\.", r"MMP.fusion.\1selectfusion."),
        ):
            key = re.sub(pattern, official, key)
        return shared_name(key)

    @classmethod
    def to_official_tensor(cls, key: str, tensor: Tensor) -> Tensor:
        """Weights of convolutions have the steps last there."""
        if "_conv.second.weight" in key:
            return tensor[..., None]
        return tensor.mT.contiguous() if tensor.ndim == 3 else tensor

    @classmethod
    def from_official_tensor(cls, key: str, tensor: Tensor, like: Tensor) -> Tensor:
        """The other way."""
        return tensor.mT.contiguous() if like.ndim == 3 else tensor.reshape(like.shape)

    def official_copies(self) -> dict[str, str]:
        """Each convolution is registered twice there, and saved twice; the second is the one that is loaded."""
        out: dict[str, str] = {}
        for i in range(len(self.pyramid.levels)):
            for stream in "va":
                for x in ("weight", "bias"):
                    start = f"MMP.capture.{stream}network.{i}."
                    out |= {f"{start}conv1.{x}": f"{start}net.0.{x}", f"{start}conv2.{x}": f"{start}net.2.{x}"}
        return out

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Two templates of layers that were copied and not used, and a norm in every attention."""
        width = self.width
        inner = self.inner
        norm: dict[str, tuple[int, ...]] = {f"layer_norm.{x}": (width,) for x in ("weight", "bias")}
        linears: dict[str, tuple[int, ...]] = {f"linears.{i}.weight": (width, width) for i in range(4)}
        linears |= {f"linears.{i}.bias": (width,) for i in range(4)}
        feed = {"w_1.weight": (inner, width), "w_1.bias": (inner,), "w_2.weight": (width, inner), "w_2.bias": (width,)}
        out: dict[str, tuple[int, ...]] = {}
        for part in ("capture", "fusion"):
            out |= {f"MMP.{part}.multiheadattn.{key}": shape for key, shape in (linears | norm).items()}
            out |= {f"MMP.{part}.feedforward.{key}": shape for key, shape in feed.items()}
        places = [
            f"capture.msa.{i}.{x}ablock.layer" for i in range(len(self.pyramid.levels)) for x in ("vs", "as", "cm")
        ]
        places += [f"fusion.{x}adaptiveinteraction" for x in "va"]
        return out | {f"MMP.{place}.self_attn.{key}": shape for place in places for key, shape in norm.items()}


_LINEAR = {"query": 0, "key": 1, "value": 2, "out": 3}


def _gate(found: re.Match[str]) -> str:
    return f"MMP.capture.msa.{found[1]}.l{found[2]}{int(found[3]) + 1}."
