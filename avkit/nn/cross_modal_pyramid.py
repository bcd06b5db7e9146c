# SPDX-License-Identifier: Apache-2.0
"""Sound and sight that attend to each other over ever coarser steps, and open and close each other's gates."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.nn.masked_conv import MaskedAttention, PyramidBlock, Stages, pool, sinusoid, thin


class TemporalGate(nn.Module):
    """How much each step matters, by self-attention within one modality: CCNet's TCG branch.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1 or 2.
    """

    def __init__(self, width: int, heads: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.context_norm, self.query_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MaskedAttention(width, heads, stride)
        self.gate = nn.Linear(width, 1)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, valid: Tensor, blind: bool) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T / stride, 1) in (0, 1), 0.5 where padded."""
        keep = thin(valid, self.stride)
        y = self.attention(self.context_norm(x), self.query_norm(x), keep, blind=blind)
        gate: Tensor = (self.gate(y) * keep[..., None]).sigmoid()
        return gate


class CrossModalLevel(nn.Module):
    """One level of CCNet's CMCC: each modality gathers from the other (CMI), and is gated by it (TCG).

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 2 to halve the steps.
        drop_path: See `PyramidBlock`.
        interact: Use CMI; without it each modality attends to itself.
        gate: Use TCG; without it this is a level of UnAV.
    """

    def __init__(
        self, width: int, heads: int, stride: int, drop_path: float, interact: bool = True, gate: bool = True
    ) -> None:
        super().__init__()
        self.interact = interact
        self.visual, self.audio = (PyramidBlock(width, heads, stride, drop_path=drop_path) for _ in range(2))
        self.visual_gate = TemporalGate(width, heads, stride) if gate else None
        self.audio_gate = TemporalGate(width, heads, stride) if gate else None

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor, blind: bool) -> "CrossModal":
        """From (B, T, D) twice and bool (B, T) to a level; `blind` lets padding into the gates, as officially."""
        other_v, other_a = (audio, visual) if self.interact else (visual, audio)
        v, a = self.visual(visual, other_v, valid), self.audio(audio, other_a, valid)
        level = CrossModal(v, a, thin(valid, self.visual.stride))
        if self.visual_gate is not None and self.audio_gate is not None:
            level.visual_gate = self.visual_gate(visual, valid, blind)
            level.audio_gate = self.audio_gate(audio, valid, blind)
            level.visual, level.audio = v + v * level.audio_gate, a + a * level.visual_gate
        return level


@dataclass
class CrossModal:
    """One level of the pyramid.

    Attributes:
        visual: (B, T, D).
        audio: (B, T, D).
        valid: bool (B, T).
        visual_gate: What the picture says of each step, which gates sound, (B, T, 1); None without gates.
        audio_gate: What sound says of it, which gates the picture.
    """

    visual: Tensor
    audio: Tensor
    valid: Tensor
    visual_gate: Tensor | None = None
    audio_gate: Tensor | None = None

    def both(self) -> Tensor:
        """Side by side, (B, T, 2 D)."""
        return torch.cat([self.visual, self.audio], -1)


class CrossModalPyramid(nn.Module):
    """From features of two modalities to a pyramid in which they know of each other: the trunk of UnAV and CCNet.

    Two stages of convolution, places, self-attention within each modality, then `CrossModalLevel`s.

    Args:
        visual: Width of visual features.
        audio: Width of audio features.
        width: Width D.
        heads: Attention heads.
        length: Steps that the table of places holds; longer input stretches it.
        stages: Stages of convolution.
        blocks: Blocks of self-attention.
        levels: Levels of the pyramid, the finest included.
        places: Add places.
        interact: See `CrossModalLevel`.
        gate: See `CrossModalLevel`.
        collaborate: False leaves the modalities to themselves and thins them by pooling alone (CCNet without CMCC).
        drop_path: See `PyramidBlock`.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_backbones.py`; zzhhfut/CCNet-AAAI2025 at commit
        d148d074d647, `libs/modeling/CCNet_backbones.py`.
    """

    places: Tensor | None

    def __init__(
        self,
        visual: int,
        audio: int,
        width: int,
        heads: int,
        length: int,
        stages: int = 2,
        blocks: int = 2,
        levels: int = 6,
        places: bool = True,
        interact: bool = True,
        gate: bool = True,
        collaborate: bool = True,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.count = levels
        self.visual_in, self.audio_in = Stages(visual, width, stages), Stages(audio, width, stages)
        self.visual_self, self.audio_self = (
            nn.ModuleList(PyramidBlock(width, heads, drop_path=drop_path) for _ in range(blocks)) for _ in range(2)
        )
        self.levels = nn.ModuleList(
            CrossModalLevel(width, heads, 2 if i else 1, drop_path, interact, gate)
            for i in range(levels if collaborate else 0)
        )
        self.register_buffer("places", sinusoid(length, width) if places else None, persistent=False)

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor, blind: bool = False) -> list[CrossModal]:
        """From (B, T, visual), (B, T, audio) and bool (B, T) to the levels, finest first.

        T is a multiple of 2 to the power of the number of levels but one. `blind` is that of the gates' attention in
        all levels but the first.
        """
        v, a = self.visual_in(visual, valid), self.audio_in(audio, valid)
        if self.places is not None:
            where = self._places(v.shape[1]) * valid[..., None]
            v, a = v + where, a + where
        for see, hear in zip(self.visual_self, self.audio_self, strict=True):
            v, a = see(v, v, valid), hear(a, a, valid)
        if not self.levels:
            return self._thinned(CrossModal(v, a, valid))
        found = [self.levels[0](v, a, valid, False)]
        for level in self.levels[1:]:
            found.append(level(found[-1].visual, found[-1].audio, found[-1].valid, blind))
        return found

    def _places(self, steps: int) -> Tensor:
        assert self.places is not None
        if steps <= len(self.places):
            return self.places[:steps]
        table = self.places.T[None]
        return nn.functional.interpolate(table, steps, mode="linear", align_corners=False)[0].T

    def _thinned(self, level: CrossModal) -> list[CrossModal]:
        found = [level]
        while len(found) < self.count:
            x = found[-1]
            keep = thin(x.valid, 2)
            v, a = (pool(y) * keep[..., None] for y in (x.visual, x.audio))
            found.append(CrossModal(v, a, keep))
        return found
