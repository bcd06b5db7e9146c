# SPDX-License-Identifier: Apache-2.0
"""What a sequence decoder reads: the tokens of the backbone, aligned in time and place with the rows it writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.class_table import ClassTable
from avkit.heads.forms.base import Form
from avkit.heads.mask import PixelDecoder
from avkit.heads.mentions import Mentions
from avkit.nn.position import grid_code, time_code

#: Cells along the side of a picture from which blocks of masks are read, at least.
_CELLS = 32


@dataclass
class Memory:
    """What the rows of a form may read.

    Attributes:
        tokens: (N, M, D) for N rows.
        bias: What is added to the scores of attention, (N, M): minus infinity where a token is padding.
        text: Tokens that stand before each row, (N, L, D), or None.
        text_valid: bool (N, L), or None.
        names: Features of the names of classes, (K, D), or None.
        evidence: Of rows of steps, how much each class is heard, seen, and both, (N, K, 3), or None.
        mentions: Of sentences, log-odds of each word's being in it, (N, words), or None.
    """

    tokens: Tensor
    bias: Tensor
    text: Tensor | None = None
    text_valid: Tensor | None = None
    names: Tensor | None = None
    evidence: Tensor | None = None
    mentions: Tensor | None = None

    def rows(self, kept: Tensor) -> "Memory":
        """Of the rows that are kept, bool or int64 (N,)."""
        text = None if self.text is None else self.text[kept]
        text_valid = None if self.text_valid is None else self.text_valid[kept]
        evidence = None if self.evidence is None else self.evidence[kept]
        mentions = None if self.mentions is None else self.mentions[kept]
        return Memory(self.tokens[kept], self.bias[kept], text, text_valid, self.names, evidence, mentions)


class MemoryReader(nn.Module):
    """Tokens of a step for rows of steps; tokens of all steps for rows of clips, with the question before the row.

    All kinds of tokens are brought to one scale, and say of which kind they are, where in the picture and, for rows of
    clips, when. Attention starts out shared evenly by the kinds: the one sound of a step weighs as much as all of its
    patches. Rows of clips read a table of classes too: attention cannot count, since its weights add up to one.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary of sentences; 0 where none are written.
        whole_clips: Whether rows of clips are written.
    """

    def __init__(self, width: int, words: int, whole_clips: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "frame", "patches", "text")})
        self.kind = nn.Parameter(torch.randn(6, width) * 0.5)
        self.rare = nn.Parameter(torch.full((2,), -2.0))  # most classes are absent from most steps
        self.mentions = Mentions(width, words) if words else None
        self.table = ClassTable(width) if whole_clips else None

    def forward(self, tokens: Tokens, form: Form) -> Memory:
        """The memory of the rows of a form."""
        audio = self.norms["audio"](tokens.audio)
        frame = self.norms["frame"](tokens.frame)
        patches = self.norms["patches"](tokens.patches)
        place = 0.5 * grid_code(tokens.grid, tokens.patches)
        kinds = [(audio + self.kind[0])[:, :, None], (frame + self.kind[1])[:, :, None], patches + self.kind[2] + place]
        memory = torch.cat(kinds, 2)
        share = torch.cat([torch.full_like(kind[:, :, :, 0], -math.log(kind.shape[2])) for kind in kinds], 2)
        if form.per_step:
            evidence = None if tokens.names is None else self._evidence(audio, patches, tokens.names).flatten(0, 1)
            mentions = None
            if form.sentence and self.mentions is not None:
                mentions = self.mentions(audio, frame, patches).flatten(0, 1)
            return Memory(
                memory.flatten(0, 1), share.flatten(0, 1), names=tokens.names, evidence=evidence, mentions=mentions
            )
        memory = rearrange(memory + time_code(tokens.audio)[:, None], "b t m d -> b (t m) d")
        bias = share.masked_fill(~tokens.valid[..., None], -torch.inf).flatten(1)
        if tokens.names is not None and self.table is not None:
            classes, share_of_classes = self._classes(self.table, audio, patches, tokens.names, tokens)
            memory = torch.cat([memory, classes], 1)
            bias = torch.cat([bias, share_of_classes], 1)
        if tokens.text is None:
            return Memory(memory, bias, names=tokens.names)
        # words carry no place, by which they would match the steps of the same number; the text encoder knows it
        text = self.norms["text"](tokens.text) + self.kind[3]
        return Memory(memory, bias, text, tokens.text_valid, tokens.names)

    def _classes(
        self, table: ClassTable, audio: Tensor, patches: Tensor, names: Tensor, tokens: Tokens
    ) -> tuple[Tensor, Tensor]:
        """A token per class and one for all, (B, K + 1, D), and their bias, which weighs both as all steps together."""
        classes, summary = table(audio, patches, names, tokens.grid, tokens.valid)
        steps = tokens.valid.sum(1, keepdim=True).to(audio.dtype).log()
        shares = [steps - math.log(classes.shape[1])] * classes.shape[1]
        rows = torch.cat([classes + self.kind[4], (summary + self.kind[5])[:, None]], 1)
        return rows, torch.cat([*shares, steps], 1)

    def _evidence(self, audio: Tensor, patches: Tensor, names: Tensor) -> Tensor:
        """Log-odds that a class is heard and that it is seen, by the match with its name, and of both."""
        scaled = names.T / names.shape[1] ** 0.5
        audible = audio @ scaled + self.rare[0]
        visible = (patches @ scaled).amax(2) + self.rare[1]
        both = F.logsigmoid(audible) + F.logsigmoid(visible)
        return torch.stack([audible, visible, both], -1)


class BlockReader(nn.Module):
    """The part of the picture that each block of a mask covers, as one vector.

    Args:
        width: Width D of the tokens.
        pyramid_widths: Widths of the feature maps, finest first; empty where features stand for pictures.
        blocks: Blocks on each side.
        channels: Width of the map that blocks are cut from, a multiple of 8.
    """

    def __init__(self, width: int, pyramid_widths: Sequence[int], blocks: int, channels: int = 32) -> None:
        super().__init__()
        self.blocks = blocks
        self.cells = max(1, -(-_CELLS // blocks))
        self.pixels = PixelDecoder(width, pyramid_widths, channels)
        self.out = nn.Linear(channels * self.cells**2, width)

    def forward(self, tokens: Tokens) -> Tensor:
        """A vector per block of every step, (B T, blocks^2, D)."""
        patches = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=tokens.grid[0])
        pyramid = [level.flatten(0, 1) for level in tokens.pyramid]
        maps = self.pixels(patches, pyramid) if pyramid else self.pixels.start(patches)
        side = self.blocks * self.cells
        if maps.shape[-2:] != (side, side):
            maps = F.interpolate(maps, (side, side), mode="bilinear", align_corners=False, antialias=True)
        parts = rearrange(maps, "n c (r a) (s b) -> n (r s) (c a b)", a=self.cells, b=self.cells)
        vectors: Tensor = self.out(parts) + grid_code((self.blocks, self.blocks), tokens.patches)
        return vectors
