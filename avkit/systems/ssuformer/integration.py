# SPDX-License-Identifier: Apache-2.0
"""Multi-modality integration: attention of visual tokens over time and space, and of audio tokens to them."""

from einops import rearrange
from torch import Tensor, nn

from avkit.nn.attention import Attention, FeedForward, WindowAttention


class SpatioTemporalAttention(nn.Module):
    """An attention with a temporal and a spatial pass, which share their projections or have their own.

    Args:
        width: Width D.
        heads: Number of heads.
        radius: Steps before and after that a step attends to in the temporal pass.
        share: Let both passes use the same W_Q, W_K, W_V and output layer.
        dropout: Share of attention weights dropped in training.
    """

    def __init__(self, width: int, heads: int, radius: int, share: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.temporal = WindowAttention(width, heads, radius, dropout)
        self.spatial = None if share else Attention(width, heads, dropout)

    def over_time(self, query: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        """Attend from (N, T, D) to (N, T, D); a learned bias per distance distinguishes before from after."""
        return self.temporal(query, context, valid)

    def over_space(self, query: Tensor, context: Tensor) -> Tensor:
        """Attend from (N, L, D) to (N, M, D)."""
        if self.spatial is not None:
            return self.spatial(query, context)
        return self.temporal.attend_all(query, context)


class IntegrationLayer(nn.Module):
    """A pre-norm layer: self-attention of visual tokens, cross-attention from audio to visual tokens, feed-forward.

    Both attentions have two passes. In the temporal pass a patch attends to the same position in other steps, and an
    audio token to the mean patches of other steps; in the spatial pass a patch attends to its own picture, and an audio
    token to the picture of its step. With self-attention of audio, a step's sound first attends to that of other steps.

    Args:
        width: Width D.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        radius: Steps before and after that a step attends to in the temporal pass.
        share: Let the temporal and the spatial pass share their projections.
        dropout: Dropout rate in training.
        audio_self_attention: Let audio tokens attend to each other over time, before they attend to visual ones.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        radius: int,
        share: bool = True,
        dropout: float = 0.0,
        audio_self_attention: bool = False,
    ) -> None:
        super().__init__()
        self.visual_attention = SpatioTemporalAttention(width, heads, radius, share, dropout)
        self.cross_attention = SpatioTemporalAttention(width, heads, radius, share, dropout)
        self.patch_norms = _pass_norms(width)
        self.audio_norms = _pass_norms(width)
        ratio = max(1, inner // width)
        self.patch_feed_forward = FeedForward(width, ratio, dropout)
        self.audio_feed_forward = FeedForward(width, ratio, dropout)
        self.drop = nn.Dropout(dropout)
        self.audio_attention: WindowAttention | None = None
        if audio_self_attention:
            self.audio_attention = WindowAttention(width, heads, radius, dropout)
            self.audio_norms["self"] = nn.LayerNorm(width)
        # output layers begin at zero, so that the layer begins as the identity and later parts learn at once
        for name, parameter in self.named_parameters():
            if ".out." in name or ".3." in name:
                nn.init.zeros_(parameter)

    def forward(self, audio: Tensor, patches: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Integrate audio (B, T, D) and patches (B, T, P, D) of valid steps, bool (B, T)."""
        patches = self._integrate_patches(patches, valid)
        return self._integrate_audio(audio, patches, valid), patches

    def _integrate_patches(self, patches: Tensor, valid: Tensor) -> Tensor:
        batch, _, positions, _ = patches.shape
        norms = self.patch_norms
        lines = rearrange(patches, "b t p d -> (b p) t d")
        x = norms["time"](lines)
        lines = lines + self.drop(self.visual_attention.over_time(x, x, valid.repeat_interleave(positions, 0)))
        frames = rearrange(lines, "(b p) t d -> (b t) p d", b=batch)
        x = norms["space"](frames)
        frames = frames + self.drop(self.visual_attention.over_space(x, x))
        frames = frames + self.drop(self.patch_feed_forward(norms["feed_forward"](frames)))
        return rearrange(frames, "(b t) p d -> b t p d", b=batch)

    def _integrate_audio(self, audio: Tensor, patches: Tensor, valid: Tensor) -> Tensor:
        norms = self.audio_norms
        if self.audio_attention is not None:
            x = norms["self"](audio)
            audio = audio + self.drop(self.audio_attention(x, x, valid))
        audio = audio + self.drop(self.cross_attention.over_time(norms["time"](audio), patches.mean(2), valid))
        query = rearrange(norms["space"](audio), "b t d -> (b t) 1 d")
        attended = self.cross_attention.over_space(query, patches.flatten(0, 1))
        audio = audio + self.drop(rearrange(attended, "(b t) 1 d -> b t d", b=len(audio)))
        return audio + self.drop(self.audio_feed_forward(norms["feed_forward"](audio)))


def _pass_norms(width: int) -> nn.ModuleDict:
    """Norms before the temporal pass, the spatial pass and the feed-forward layer."""
    return nn.ModuleDict({name: nn.LayerNorm(width) for name in ("time", "space", "feed_forward")})


class MultiModalityIntegration(nn.Module):
    """N layers that integrate the audio and visual tokens of a clip.

    Args:
        width: Width D.
        layers: Number of layers N, 3 in the paper.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        radius: Steps before and after that a step attends to in temporal passes; cost grows linearly with the steps.
        share: Let the temporal and the spatial pass of an attention share their projections.
        dropout: Dropout rate in training.
        audio_self_attention: Let audio tokens attend to each other over time.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.2, Eq. 2-3: audio is the query, visual tokens are keys and values,
        projections are shared across spatial and temporal perception; self-attention processes each modality by itself,
        audio too, which `audio_self_attention` adds. Norms, feed-forward layers and the order of the
        passes, which it leaves open, are ours; with norms after each addition captions never learned to use the
        picture.
    """

    def __init__(
        self,
        width: int,
        layers: int = 3,
        heads: int = 8,
        inner: int = 1024,
        radius: int = 9,
        share: bool = True,
        dropout: float = 0.0,
        audio_self_attention: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(IntegrationLayer(width, heads, inner, radius, share, dropout, audio_self_attention))

    def forward(self, audio: Tensor, patches: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Integrate.

        Args:
            audio: Audio tokens (B, T, D).
            patches: Visual tokens (B, T, P, D).
            valid: bool (B, T), False on padding, which changes nothing.

        Returns:
            Integrated audio tokens (B, T, D) and visual tokens (B, T, P, D).
        """
        for layer in self.layers:
            audio, patches = layer(audio, patches, valid)
        return audio, patches
