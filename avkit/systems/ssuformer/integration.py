# SPDX-License-Identifier: Apache-2.0
"""Multi-modality integration: pictures attend to themselves over time and space, sound attends to them."""

from einops import rearrange
from torch import Tensor, nn

from avkit.nn.attention import Attention, FeedForward, WindowAttention


class TwoPasses(nn.Module):
    """An attention that is run twice, over time and over space, with one set of projections or with two.

    Args:
        width: Width D.
        heads: Number of heads.
        reach: Steps before and after that the pass over time sees.
        share: Let both passes use the same W_Q, W_K, W_V and output layer.
        dropout: Share of attention weights dropped in training.
    """

    def __init__(self, width: int, heads: int, reach: int, share: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.over_time = WindowAttention(width, heads, reach, dropout)
        self.over_space = None if share else Attention(width, heads, dropout)

    def time(self, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """Attend from (N, T, D) to (N, T, D); a learned bias per distance tells before from after."""
        return self.over_time(query, context, valid)

    def space(self, query: Tensor, context: Tensor) -> Tensor:
        """Attend from (N, L, D) to (N, M, D)."""
        if self.over_space is not None:
            return self.over_space(query, context)
        return Attention.forward(self.over_time, query, context)


class IntegrationLayer(nn.Module):
    """One layer: self-attention of the picture, cross-attention from sound to picture, feed-forward; pre-norm.

    Both attentions make two passes. Over time, a patch attends to the same place in all steps and sound to the means of
    all pictures; over space, a patch attends to its own picture and sound to that of its step.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        reach: Steps before and after that the pass over time sees.
        share: Let both passes use the same projections.
        dropout: In training.
    """

    def __init__(
        self, width: int, heads: int, inner: int, reach: int, share: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.own, self.cross = (TwoPasses(width, heads, reach, share, dropout) for _ in range(2))
        names = [f"{who} {what}" for who in ("patches", "audio") for what in ("time", "space", "out")]
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        ratio = max(1, inner // width)
        self.feed = nn.ModuleDict({name: FeedForward(width, ratio, dropout) for name in ("patches", "audio")})
        self.drop = nn.Dropout(dropout)
        for name, p in self.named_parameters():  # begin as if there were no layer: what comes after learns at once
            if ".out." in name or ".3." in name:
                nn.init.zeros_(p)

    def forward(self, audio: Tensor, patches: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Sound (B, T, D), patches (B, T, P, D) and valid steps, bool (B, T), to sound and patches."""
        batch, _, places, _ = patches.shape
        norm, lines = self.norms, rearrange(patches, "b t p d -> (b p) t d")
        x = norm["patches time"](lines)
        lines = lines + self.drop(self.own.time(x, x, valid.repeat_interleave(places, 0)))
        rows = rearrange(lines, "(b p) t d -> (b t) p d", b=batch)
        x = norm["patches space"](rows)
        rows = rows + self.drop(self.own.space(x, x))
        rows = rows + self.drop(self.feed["patches"](norm["patches out"](rows)))
        patches = rearrange(rows, "(b t) p d -> b t p d", b=batch)
        audio = audio + self.drop(self.cross.time(norm["audio time"](audio), patches.mean(2), valid))
        step = rearrange(norm["audio space"](audio), "b t d -> (b t) 1 d")
        audio = audio + self.drop(rearrange(self.cross.space(step, rows), "(b t) 1 d -> b t d", b=batch))
        return audio + self.drop(self.feed["audio"](norm["audio out"](audio))), patches


class MultiModalityIntegration(nn.Module):
    """N layers in which sound and picture of a clip meet.

    Args:
        width: Width D.
        layers: N, 3 in the paper.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        reach: Steps before and after that passes over time see; cost grows linearly with the steps of a clip.
        share: Let the temporal and the spatial pass of an attention share their projections.
        dropout: In training.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.2, Eq. 2-3: sound is the query, the picture key and value, projections
        are shared across spatial and temporal perception. Norms, feed-forward layers and the order of the passes, which
        it leaves open, are ours; with norms after each addition captions never learnt to look at the picture.
    """

    def __init__(
        self,
        width: int,
        layers: int = 3,
        heads: int = 8,
        inner: int = 1024,
        reach: int = 9,
        share: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(IntegrationLayer(width, heads, inner, reach, share, dropout) for _ in range(layers))

    def forward(self, audio: Tensor, patches: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Integrate.

        Args:
            audio: (B, T, D), the middle audio features.
            patches: (B, T, P, D), the middle visual features.
            valid: bool (B, T), False on padding, which changes nothing.

        Returns:
            Sound with what it found, (B, T, D), and pictures, (B, T, P, D).
        """
        for layer in self.layers:
            audio, patches = layer(audio, patches, valid)
        return audio, patches
