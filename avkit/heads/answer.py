# SPDX-License-Identifier: Apache-2.0
"""One answer per question, from everything seen and heard in the clip."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.layers import DecoderLayer


class AnswerHead(nn.Module):
    """The question's words read the clip: sounds, pictures and parts of pictures, each with its time.

    Args:
        width: Width D of the tokens.
        answers: Number of answers K.
        layers: Decoder layers.
        heads: Attention heads.
        dropout: In training.
        cells: Patches are averaged into at most `cells` x `cells` parts of a picture, since there are T of each.
    """

    def __init__(
        self, width: int, answers: int, layers: int = 2, heads: int = 4, dropout: float = 0.0, cells: int = 4
    ) -> None:
        super().__init__()
        self.cells = cells
        self.kind = nn.Parameter(torch.randn(3, width) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, answers))

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits of the answers, (B, K).

        Raises:
            ValueError: If the tokens carry no question.
        """
        if tokens.text is None or tokens.text_valid is None or tokens.prompt is None:
            raise ValueError("The answer head needs a question: tokens.text and tokens.prompt are None.")
        parts = self._parts(tokens)
        clock = time_code(tokens.audio)
        memory = torch.cat(
            [
                tokens.audio + self.kind[0] + clock,
                tokens.frame + self.kind[1] + clock,
                rearrange(parts + self.kind[2] + clock[:, None], "b t p d -> b (t p) d"),
            ],
            dim=1,
        )
        valid = torch.cat([tokens.valid, tokens.valid, tokens.valid.repeat_interleave(parts.shape[2], dim=1)], dim=1)
        x = tokens.text
        for layer in self.layers:
            x = layer(x, memory, valid[:, None, None], tokens.text_valid[:, None, None])
        weights = tokens.text_valid.to(x.dtype)
        pooled = torch.einsum("bld,bl->bd", self.norm(x), weights) / weights.sum(1, keepdim=True)
        return self.out(torch.cat([pooled, tokens.prompt], dim=-1))

    def _parts(self, tokens: Tokens) -> Tensor:
        """Parts of each picture, (B, T, cells, D)."""
        rows, columns = (min(n, self.cells) for n in tokens.grid)
        maps = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=tokens.grid[0])
        pooled = F.adaptive_avg_pool2d(maps, (rows, columns))
        return rearrange(pooled, "(b t) d h w -> b t (h w) d", b=len(tokens.patches))


def time_code(like: Tensor) -> Tensor:
    """Sinusoids over the step's number for features (B, T, D): (T, D), base 10000, of unit variance."""
    _, steps, width = like.shape
    rate = 10_000 ** (-torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
    angle = torch.arange(steps, device=like.device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)
