# SPDX-License-Identifier: Apache-2.0
"""Spatial perception: the patches of a picture among themselves, then with the sound of their step."""

from einops import rearrange
from torch import Tensor, nn

from avkit.nn.attention import Attention, FeedForward


class SpatialPerception(nn.Module):
    """Patch self-attention, then audio guides patches and patches guide audio.

    A patch that attends to the one audio token of its step gets that token's value whatever the weights, since a
    softmax over one key is 1; it is therefore computed as a projection and added to every patch.

    Args:
        width: Width D.
        heads: Attention heads.
        dropout: In training.
        feed_forward: Add a feed-forward layer to the patches, which the paper does not mention; without it sound and
            patch meet only as a sum.

    Source:
        AV-Unified, section III-C, Eq. 5 and 6.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.0, feed_forward: bool = True) -> None:
        super().__init__()
        self.norm_patches, self.norm_audio = nn.LayerNorm(width), nn.LayerNorm(width)
        self.patch_self = Attention(width, heads, dropout)
        self.audio_to_patch = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
        self.patch_to_audio = Attention(width, heads, dropout)
        self.feed_forward = (
            nn.Sequential(nn.LayerNorm(width), FeedForward(width, dropout=dropout)) if feed_forward else None
        )

    def forward(self, audio: Tensor, patches: Tensor, valid: Tensor, meet: bool = True) -> tuple[Tensor, Tensor]:
        """Mix audio (B, T, D) and patches (B, T, P, D) step by step; shapes stay, padding becomes zero.

        Without `meet` nothing is mixed: each patch passes the feed-forward layer by itself, and the audio stays.
        """
        batch = len(audio)
        a = rearrange(self.norm_audio(audio), "b t d -> (b t) 1 d")
        p = rearrange(patches, "b t p d -> (b t) p d")
        if meet:
            normed = self.norm_patches(p)
            p = p + self.patch_self(normed, normed)
        guided = p + self.audio_to_patch(a) if meet else p
        if self.feed_forward is not None:
            guided = guided + self.feed_forward(guided)
        if meet:
            attended = self.patch_to_audio(a, self.norm_patches(p))
            audio = audio + rearrange(attended, "(b t) 1 d -> b t d", b=batch)
        out = rearrange(guided, "(b t) p d -> b t p d", b=batch)
        return audio * valid[..., None], out * valid[..., None, None]
