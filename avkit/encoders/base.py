# SPDX-License-Identifier: Apache-2.0
"""What every encoder returns; the backbone projects it to its own width."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass
class VisualFeatures:
    """Features of N pictures.

    Attributes:
        frame: (N, D), one vector per picture.
        patches: (N, P, D), row by row over `grid`.
        grid: Rows and columns of the patches.
        pyramid: Maps (N, C, h, w), finest first; empty for encoders without one.
    """

    frame: Tensor
    patches: Tensor
    grid: tuple[int, int]
    pyramid: list[Tensor] = field(default_factory=list)

    def map(self, change: Callable[[Tensor], Tensor]) -> "VisualFeatures":
        """The same with every tensor changed."""
        return VisualFeatures(change(self.frame), change(self.patches), self.grid, [change(x) for x in self.pyramid])


@dataclass
class TextFeatures:
    """Features of N sentences: tokens (N, L, D), valid bool (N, L), pooled (N, D)."""

    tokens: Tensor
    valid: Tensor
    pooled: Tensor


class VisualEncoder(Protocol):
    """Pictures uint8 or float in [0, 1], (N, 3, H, W), to features of `width`; `pyramid_widths` names its maps."""

    width: int
    pyramid_widths: list[int]

    def __call__(self, frames: Tensor) -> VisualFeatures:
        """Encode pictures."""
        ...


class AudioEncoder(Protocol):
    """Waveform (B, samples) to one vector per step, (B, T, width)."""

    width: int

    def __call__(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
        """Encode sound."""
        ...


class TextEncoder(Protocol):
    """Sentences to token features and a pooled vector of `width`."""

    width: int

    def __call__(self, texts: list[str]) -> TextFeatures:
        """Encode sentences."""
        ...
