# SPDX-License-Identifier: Apache-2.0
"""The streams of features that the shared backbone passes on from module to module."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Streams:
    """Features of clips, or of prompts about clips.

    Attributes:
        audio: One stream (B, T, D), or those of the temporal and of the spatial module.
        frame: (B, T, D).
        patches: (B, T, P, D), row by row over `grid`.
        grid: Rows and columns of the patches.
        valid: bool (B, T).
        attention: Share of each patch in the attention of its step's sound, (B, T, rows, columns) of the encoder's
            patches; None where it is not shown.
    """

    audio: list[Tensor]
    frame: Tensor
    patches: Tensor
    grid: tuple[int, int]
    valid: Tensor
    attention: Tensor | None = None

    def of(self, clip: Tensor | None) -> "Streams":
        """A row for each prompt, by the index of its clip (B,); unchanged where each clip has one."""
        if clip is None:
            return self
        return Streams(
            [stream[clip] for stream in self.audio],
            self.frame[clip],
            self.patches[clip],
            self.grid,
            self.valid[clip],
            None if self.attention is None else self.attention[clip],
        )
