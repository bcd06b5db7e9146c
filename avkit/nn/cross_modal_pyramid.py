# SPDX-License-Identifier: Apache-2.0
"""A temporal pyramid in which audio and visual features attend to each other: the trunk of UnAV and CCNet."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.nn.masked_conv import ConvStages, MaskedAttention, PyramidBlock, max_pool, sinusoid, subsample


class TemporalGate(nn.Module):
    """How much each step matters, by self-attention within one modality: CCNet's TCG branch.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1 or 2.
        scale: See `avkit.nn.masked_conv.SCALES`.
    """

    def __init__(self, width: int, heads: int, stride: int = 1, scale: str = "head") -> None:
        super().__init__()
        self.stride = stride
        self.context_norm = nn.LayerNorm(width)
        self.query_norm = nn.LayerNorm(width)
        self.attention = MaskedAttention(width, heads, stride, scale)
        self.gate = nn.Linear(width, 1)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, valid: Tensor, mask_keys: bool) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T / stride, 1) in (0, 1), 0.5 where padded."""
        keep = subsample(valid, self.stride)
        y = self.attention(self.context_norm(x), self.query_norm(x), keep, mask_keys)
        gate: Tensor = (self.gate(y) * keep[..., None]).sigmoid()
        return gate


@exportable
@dataclass
class PyramidLevel:
    """One level of the pyramid.

    Attributes:
        visual: (B, T, D).
        audio: (B, T, D).
        valid: bool (B, T).
        visual_gate: Relevance of each step by vision, which gates audio, (B, T, 1); None without gates.
        audio_gate: Relevance of each step by audio, which gates vision.
    """

    visual: Tensor
    audio: Tensor
    valid: Tensor
    visual_gate: Tensor | None = None
    audio_gate: Tensor | None = None

    def both(self) -> Tensor:
        """Both modalities side by side, (B, T, 2 D)."""
        return torch.cat([self.visual, self.audio], -1)


class CrossModalLevel(nn.Module):
    """One level of CCNet's CMCC: each modality attends to the other (CMI), and is gated by it (TCG).

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 2 to halve the steps.
        drop_path: See `PyramidBlock`.
        interact: Use CMI; without it each modality attends to itself.
        gate: Use TCG; without it this is a level of UnAV.
        residual: See `avkit.nn.masked_conv.RESIDUALS`.
        scale: See `avkit.nn.masked_conv.SCALES`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        stride: int,
        drop_path: float,
        interact: bool = True,
        gate: bool = True,
        residual: str = "scaled",
        scale: str = "head",
    ) -> None:
        super().__init__()
        self.interact = interact
        self.visual = PyramidBlock(width, heads, stride, drop_path=drop_path, residual=residual, scale=scale)
        self.audio = PyramidBlock(width, heads, stride, drop_path=drop_path, residual=residual, scale=scale)
        self.visual_gate = TemporalGate(width, heads, stride, scale) if gate else None
        self.audio_gate = TemporalGate(width, heads, stride, scale) if gate else None

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor, mask_gates: bool) -> PyramidLevel:
        """From (B, T, D) twice and bool (B, T) to a level; without `mask_gates` the gates attend to padding too."""
        visual_query = audio if self.interact else visual
        audio_query = visual if self.interact else audio
        level = PyramidLevel(
            self.visual(visual, visual_query, valid),
            self.audio(audio, audio_query, valid),
            subsample(valid, self.visual.stride),
        )
        if self.visual_gate is not None and self.audio_gate is not None:
            level.visual_gate = self.visual_gate(visual, valid, mask_gates)
            level.audio_gate = self.audio_gate(audio, valid, mask_gates)
            level.visual = level.visual + level.visual * level.audio_gate
            level.audio = level.audio + level.audio * level.visual_gate
        return level


class CrossModalPyramid(nn.Module):
    """From features of two modalities to a pyramid in which they attend to each other: the trunk of UnAV and CCNet.

    Stages of convolution, positions, self-attention within each modality, then `CrossModalLevel`s.

    Args:
        visual: Width of visual features.
        audio: Width of audio features.
        width: Width D.
        heads: Attention heads.
        length: Steps of the table of positions; longer input interpolates it.
        stages: Stages of convolution.
        blocks: Blocks of self-attention.
        levels: Levels of the pyramid, the finest included.
        positions: Add positions.
        interact: See `CrossModalLevel`.
        gate: See `CrossModalLevel`.
        collaborate: False keeps the modalities apart and subsamples them by pooling alone (CCNet without CMCC).
        drop_path: See `PyramidBlock`.
        residual: Of the levels' attention, see `avkit.nn.masked_conv.RESIDUALS`.
        scale: Of all attention, see `avkit.nn.masked_conv.SCALES`.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/multimodal_backbones.py`; zzhhfut/CCNet-AAAI2025 at commit
        d148d074d647, `libs/modeling/CCNet_backbones.py`.
    """

    positions: Tensor | None

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
        positions: bool = True,
        interact: bool = True,
        gate: bool = True,
        collaborate: bool = True,
        drop_path: float = 0.1,
        residual: str = "scaled",
        scale: str = "head",
    ) -> None:
        super().__init__()
        self.count = levels
        self.visual_in = ConvStages(visual, width, stages)
        self.audio_in = ConvStages(audio, width, stages)
        self.visual_self = nn.ModuleList()
        self.audio_self = nn.ModuleList()
        for _ in range(blocks):
            self.visual_self.append(PyramidBlock(width, heads, drop_path=drop_path, scale=scale))
            self.audio_self.append(PyramidBlock(width, heads, drop_path=drop_path, scale=scale))
        self.levels = nn.ModuleList()
        for number in range(levels if collaborate else 0):
            stride = 2 if number else 1
            self.levels.append(CrossModalLevel(width, heads, stride, drop_path, interact, gate, residual, scale))
        self.register_buffer("positions", sinusoid(length, width) if positions else None, persistent=False)

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor, mask_gates: bool = True) -> list[PyramidLevel]:
        """From (B, T, visual), (B, T, audio) and bool (B, T) to the levels, finest first.

        T is a multiple of 2 to the power of the number of levels but one. `mask_gates` is that of all levels but the
        first, whose gates always leave padding out.
        """
        visual = self.visual_in(visual, valid)
        audio = self.audio_in(audio, valid)
        if self.positions is not None:
            positions = self._positions(self.positions, valid.shape[1]) * valid[..., None]
            visual = visual + positions
            audio = audio + positions
        for visual_block, audio_block in zip(self.visual_self, self.audio_self, strict=True):
            visual = visual_block(visual, visual, valid)
            audio = audio_block(audio, audio, valid)
        if not self.levels:
            return self._pooled(PyramidLevel(visual, audio, valid))
        levels = [self.levels[0](visual, audio, valid, True)]
        for block in self.levels[1:]:
            finer = levels[-1]
            levels.append(block(finer.visual, finer.audio, finer.valid, mask_gates))
        return levels

    def _positions(self, table: Tensor, steps: int) -> Tensor:
        if steps <= len(table):
            return table[:steps]
        return nn.functional.interpolate(table.T[None], steps, mode="linear", align_corners=False)[0].T

    def _pooled(self, level: PyramidLevel) -> list[PyramidLevel]:
        """The levels by max pooling alone."""
        levels = [level]
        while len(levels) < self.count:
            finer = levels[-1]
            keep = subsample(finer.valid, 2)
            mask = keep[..., None]
            levels.append(PyramidLevel(max_pool(finer.visual) * mask, max_pool(finer.audio) * mask, keep))
        return levels
