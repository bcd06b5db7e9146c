# SPDX-License-Identifier: Apache-2.0
"""Spatial perception: patches of a picture attend to each other, then to the audio of their step and back."""

from einops import rearrange
from torch import Tensor, nn

from avkit.nn.attention import Attention, FeedForward


class SpatialPerception(nn.Module):
    """Patch self-attention, then cross-attention from patches to audio and from audio to patches.

    The step has one audio token, and a softmax over one key is 1. Attention from patches to audio is therefore computed
    as a projection of the audio token that is added to every patch.

    Args:
        width: Width D.
        heads: Attention heads.
        dropout: In training.
        feed_forward: Add a feed-forward layer to the patches, which the paper does not mention; without it audio and
            patch features are only added.

    Source:
        AV-Unified, section III-C, Eq. 5 and 6.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.0, feed_forward: bool = True) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(width)
        self.norm_audio = nn.LayerNorm(width)
        self.patch_self = Attention(width, heads, dropout)
        self.audio_to_patch = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
        self.patch_to_audio = Attention(width, heads, dropout)
        self.feed_forward: nn.Sequential | None = None
        if feed_forward:
            self.feed_forward = nn.Sequential(nn.LayerNorm(width), FeedForward(width, dropout=dropout))

    def forward(
        self,
        audio: Tensor,
        patches: Tensor,
        valid: Tensor,
        *,
        cross_modal: bool = True,
        guide: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend within each step.

        Args:
            audio: (B, T, D).
            patches: (B, T, P, D).
            valid: bool (B, T).
            cross_modal: False leaves out all attention: each patch passes the feed-forward layer by itself, and the
                audio is unchanged.
            guide: Audio (B, T, D) that patches attend to, such as the encoder's feature, as Eq. 6 is written; `audio`
                if None.

        Returns:
            Audio (B, T, D) and patches (B, T, P, D); zero on padding.
        """
        flat = rearrange(patches, "b t p d -> (b t) p d")
        if cross_modal:
            audio, flat = self._attend(audio, flat, audio if guide is None else guide)
        if self.feed_forward is not None:
            flat = flat + self.feed_forward(flat)
        patches = rearrange(flat, "(b t) p d -> b t p d", b=len(audio))
        return audio * valid[..., None], patches * valid[..., None, None]

    def sound_attention(self, audio: Tensor, patches: Tensor) -> Tensor:
        """Share of each patch in the attention of its step's sound (Eq. 6), the mean over heads.

        Args:
            audio: (B, T, D), as in `forward`.
            patches: (B, T, P, D).

        Returns:
            (B, T, P), adding up to 1 over the patches of a step.
        """
        flat = rearrange(patches, "b t p d -> (b t) p d")
        normed = self.norm_patches(flat)
        mixed = flat + self.patch_self(normed, normed)
        sound = rearrange(self.norm_audio(audio), "b t d -> (b t) 1 d")
        query, key, _ = self.patch_to_audio.project(sound, self.norm_patches(mixed))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return rearrange(scores.softmax(-1).mean(1), "(b t) 1 p -> b t p", b=len(audio))

    def _attend(self, audio: Tensor, patches: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Audio (B, T, D) and patches (B T, P, D) after all three attentions; guide is (B, T, D)."""
        audio_query = rearrange(self.norm_audio(audio), "b t d -> (b t) 1 d")
        audio_key = rearrange(self.norm_audio(guide), "b t d -> (b t) 1 d")
        normed = self.norm_patches(patches)
        patches = patches + self.patch_self(normed, normed)
        attended = self.patch_to_audio(audio_query, self.norm_patches(patches))
        audio = audio + rearrange(attended, "(b t) 1 d -> b t d", b=len(audio))
        return audio, patches + self.audio_to_patch(audio_key)
