# SPDX-License-Identifier: Apache-2.0
"""What a sequence decoder reads: the tokens of the backbone, aligned in time and place with the rows it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.forms.base import Form
from avkit.heads.mask import PixelDecoder
from avkit.heads.mentions import Mentions
from avkit.heads.question import QuestionReader
from avkit.nn.decoder_layer import mlp
from avkit.nn.position import grid_code, time_code
from avkit.nn.scalars import learned_number

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
        opening: What is added to the first token of each row, (N, D), or None.
        names: Features of the names of classes, (K, D), or None.
        evidence: Of rows of steps, how much each class is heard, seen, and both, (N, K, 3), or None.
        mentions: Of sentences, log-odds of each word's being in it, (N, words), or None.
    """

    tokens: Tensor
    bias: Tensor
    text: Tensor | None = None
    text_valid: Tensor | None = None
    opening: Tensor | None = None
    names: Tensor | None = None
    evidence: Tensor | None = None
    mentions: Tensor | None = None

    def rows(self, kept: Tensor) -> "Memory":
        """Of the rows that are kept, bool or int64 (N,)."""
        return Memory(
            self.tokens[kept],
            self.bias[kept],
            _rows(self.text, kept),
            _rows(self.text_valid, kept),
            _rows(self.opening, kept),
            self.names,
            _rows(self.evidence, kept),
            _rows(self.mentions, kept),
        )


def _rows(value: Tensor | None, kept: Tensor) -> Tensor | None:
    """The rows that are kept, where there are any."""
    return None if value is None else value[kept]


class MemoryReader(nn.Module):
    """Tokens of a step for rows of steps; tokens of all steps for rows of clips, with the question before the row.

    All kinds of tokens are brought to one scale, and say of which kind they are, where in the picture and, for rows of
    clips, when. Attention starts out shared evenly by the kinds: the one sound of a step weighs as much as all of its
    patches, and of these most where they fit the sound. A question is read in the light of the clip beforehand, as
    the head of answers reads it: attention alone cannot count, since its weights add up to one.

    Args:
        width: Width D of the tokens.
        words: Size of the vocabulary of sentences; 0 where none are written.
        whole_clips: Whether rows of clips are written.
    """

    def __init__(self, width: int, words: int, whole_clips: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "frame", "patches")})
        self.kind = nn.Parameter(torch.randn(4, width) * 0.5)
        self.rare = nn.Parameter(torch.full((2,), -2.0))  # most classes are absent from most steps
        self.fit = learned_number(self, "fit", 1.0)
        self.mentions = Mentions(width, words) if words else None
        self.question = QuestionReader(width) if whole_clips else None
        self.opening = mlp(4 * width, 2 * width, width) if whole_clips else None

    def forward(self, tokens: Tokens, form: Form) -> Memory:
        """The memory of the rows of a form."""
        audio = self.norms["audio"](tokens.audio)
        frame = self.norms["frame"](tokens.frame)
        patches = self.norms["patches"](tokens.patches)
        place = 0.5 * grid_code(tokens.grid, tokens.patches)
        kinds = [(audio + self.kind[0])[:, :, None], (frame + self.kind[1])[:, :, None], patches + self.kind[2] + place]
        memory = torch.cat(kinds, 2)
        share = F.pad(self._shares(audio, patches), (2, 0))  # log of 1 for the sound and for the frame
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
        if tokens.text is None or self.question is None or self.opening is None:
            return Memory(memory, bias, names=tokens.names)
        question = self.question.read(tokens)
        words = question.words + self.kind[3]
        return Memory(memory, bias, words, tokens.text_valid, self.opening(question.summary), tokens.names)

    def _shares(self, audio: Tensor, patches: Tensor) -> Tensor:
        """Log of the share of each patch among those of its step, (B, T, P): larger where it fits the sound."""
        match = torch.einsum("btd,btpd->btp", audio, patches) / audio.shape[-1] ** 0.5
        return (self.fit * match).log_softmax(-1)

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
