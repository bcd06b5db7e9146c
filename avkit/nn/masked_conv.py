# SPDX-License-Identifier: Apache-2.0
"""Convolution and attention over time that mask padded steps: the parts of ActionFormer's descendants.

Everything is time-first: features (B, T, D), `valid` bool (B, T).

Source:
    ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/blocks.py`; zzhhfut/CCNet-AAAI2025 at commit d148d074d647 has
    the same parts.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.errors import unknown_name
from avkit.nn.matmul_conv import Conv3

#: What scores of attention are divided by: the square root of a head's width, or of the whole width (CCNet, Eq. 2).
SCALES = ("head", "width")
#: What a block's attention is added to: its context, with a learned factor or without one, or nothing (CCNet, Eq. 7).
RESIDUALS = ("scaled", "plain", "none")


class MaskedConv(nn.Module):
    """Convolution over three steps whose padded steps are set to 0.

    A norm that follows turns these zeros into its bias, which the next convolution reads at the last valid step. So the
    steps beside padding depend on whether there is padding, as in the official code.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        bias: Initial bias; no bias where None.
    """

    def __init__(self, inputs: int, outputs: int, bias: float | None = None) -> None:
        super().__init__()
        self.conv = Conv3(inputs, outputs, bias=bias is not None)
        if self.conv.bias is not None and bias is not None:
            nn.init.constant_(self.conv.bias, bias)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """From (B, T, inputs) and bool (B, T) to (B, T, outputs)."""
        y: Tensor = self.conv(x)
        return y * valid[..., None]


class ConvStages(nn.Module):
    """Stages of masked convolution, norm over channels and ReLU.

    Args:
        inputs: Channels in.
        width: Channels out.
        depth: Number of stages.
    """

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [inputs] + [width] * depth
        self.convs = nn.ModuleList(MaskedConv(widths[i], width) for i in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """From (B, T, inputs) to (B, T, width); padded steps hold ReLU of the last norm's bias."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x, valid)).relu()
        return x


class DepthwiseConv(nn.Module):
    """Convolution of each channel by itself over three steps.

    Args:
        width: Channels.
        stride: Keep every `stride`-th step.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Conv1d(width, width, 3, groups=width, bias=False).weight

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, D) to (B, T / stride, D)."""
        image = x.transpose(1, 2)[:, :, None]  # channels last, which is the fast layout
        weight = self.weight[:, :, None]
        y = F.conv2d(image, weight, stride=(1, self.stride), padding=(0, 1), groups=x.shape[-1])
        return y[:, :, 0].transpose(1, 2)


class ConvProjection(nn.Module):
    """Depthwise convolution, norm and linear layer that make queries, keys or values.

    Args:
        width: Width D.
        stride: Keep every `stride`-th step.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = DepthwiseConv(width, stride)
        self.norm = nn.LayerNorm(width)
        self.linear = linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """From (B, T, D), and valid steps after the stride, bool (B, T / stride), to (B, T / stride, D)."""
        y = self.conv(x)
        if keep is not None:
            y = y * keep[..., None]
        projected: Tensor = self.linear(self.norm(y))
        return projected


class MaskedAttention(nn.Module):
    """Multi-head attention with a depthwise convolution before queries, keys and values.

    With a stride all three are subsampled, and so is the result.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1 or 2.
        scale: See `SCALES`.

    Raises:
        ValueError: If the heads do not divide the width, or the scale is unknown.
    """

    def __init__(self, width: int, heads: int, stride: int = 1, scale: str = "head") -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}.")
        if scale not in SCALES:
            raise unknown_name("attention scale", scale, SCALES)
        self.heads = heads
        self.scale = width**-0.5 if scale == "width" else None
        self.query = ConvProjection(width, stride)
        self.key = ConvProjection(width, stride)
        self.value = ConvProjection(width, stride)
        self.out = linear(width, width)

    def forward(self, context: Tensor, query: Tensor, keep: Tensor | None, mask_keys: bool = True) -> Tensor:
        """Attend from `query` to `context`.

        Args:
            context: Where keys and values come from, (B, T, D).
            query: Where queries come from, (B, T, D).
            keep: Valid steps after the stride, bool (B, T / stride); None where all are.
            mask_keys: Leave padded steps out of the softmax; otherwise they take part in it as keys whose value is 0.

        Returns:
            (B, T / stride, D), 0 where padded.
        """
        q = self._split_heads(self.query(query, keep))
        k = self._split_heads(self.key(context, keep))
        v = self.value(context, keep)
        if keep is None:
            return self._join_heads(F.scaled_dot_product_attention(q, k, self._split_heads(v), scale=self.scale))
        v = self._split_heads(v * keep[..., None])
        mask = keep[:, None, None] if mask_keys else None
        y = F.scaled_dot_product_attention(q, k, v, mask, scale=self.scale)
        if not mask_keys:
            y = y * keep[:, None, :, None]
        return self._join_heads(y) * keep[..., None]

    def _split_heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h d) -> b h t d", h=self.heads)

    def _join_heads(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(rearrange(x, "b h t d -> b t (h d)"))
        return y


class ScaledDropPath(nn.Module):
    """A residual branch with a learned factor per channel, dropped as a whole for some samples in training.

    Args:
        width: Channels.
        drop: Probability that a sample skips the branch.
        scale: Initial factor; None leaves the factor out.
    """

    def __init__(self, width: int, drop: float = 0.1, scale: float | None = 1e-4) -> None:
        super().__init__()
        self.drop = drop
        self.scale = None if scale is None else nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, D) to the same."""
        if self.scale is not None:
            x = x * self.scale
        if not self.training or not self.drop:
            return x
        stay = 1 - self.drop
        return x * ((stay + torch.rand(len(x), 1, 1, dtype=x.dtype, device=x.device)).floor() / stay)


class PyramidBlock(nn.Module):
    """A transformer block whose residual is the context, not the query.

    Args:
        width: Width D.
        heads: Attention heads.
        stride: 1, or 2 to halve the steps; the residual is then the maximum over three steps.
        inner: Width of the feed-forward layers; 4 D where None.
        drop_path: Probability that a sample skips a branch in training.
        residual: What the attention is added to, see `RESIDUALS`. Where it is not `scaled`, the feed-forward layers
            have no factor either.
        scale: See `SCALES`.

    Raises:
        ValueError: If the residual or the scale is unknown.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        stride: int = 1,
        inner: int | None = None,
        drop_path: float = 0.1,
        residual: str = "scaled",
        scale: str = "head",
    ) -> None:
        super().__init__()
        if residual not in RESIDUALS:
            raise unknown_name("residual", residual, RESIDUALS)
        inner = inner or 4 * width
        self.stride = stride
        self.residual = residual
        self.context_norm = nn.LayerNorm(width)
        self.query_norm = nn.LayerNorm(width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.attention = MaskedAttention(width, heads, stride, scale)
        self.feed_forward = nn.Sequential(linear(width, inner), nn.GELU(), linear(inner, width))
        factor = 1e-4 if residual == "scaled" else None
        # without a residual nothing would be left of a sample that skips its attention
        self.attention_path = ScaledDropPath(width, 0.0 if residual == "none" else drop_path, factor)
        self.feed_forward_path = ScaledDropPath(width, drop_path, factor)

    def forward(self, context: Tensor, query: Tensor, valid: Tensor | None) -> Tensor:
        """Attend and transform.

        Args:
            context: Keys, values and residual, (B, T, D).
            query: (B, T, D).
            valid: bool (B, T); None where all steps are.

        Returns:
            (B, T / stride, D), 0 where padded; its valid steps are `subsample(valid, stride)`.
        """
        keep = None if valid is None else subsample(valid, self.stride)
        attended = self.attention(self.context_norm(context), self.query_norm(query), keep)
        x = self.attention_path(attended)
        if self.residual != "none":
            pooled = context if self.stride == 1 else max_pool(context)
            x = x + _masked(pooled, keep)
        transformed = self.feed_forward(self.feed_forward_norm(x))
        y: Tensor = x + self.feed_forward_path(_masked(transformed, keep))
        return y


def _masked(x: Tensor, keep: Tensor | None) -> Tensor:
    """`x` (B, T, D), 0 where `keep` (B, T) is False."""
    return x if keep is None else x * keep[..., None]


def subsample(valid: Tensor, stride: int) -> Tensor:
    """Every `stride`-th of the valid steps, (B, T) to (B, T / stride)."""
    return valid[:, ::stride] if stride > 1 else valid


def max_pool(x: Tensor) -> Tensor:
    """Maximum over three steps at every second one: (B, T, D) to (B, T / 2, D)."""
    return F.max_pool1d(x.transpose(1, 2), 3, 2, 1).transpose(1, 2)


def sinusoid(length: int, width: int) -> Tensor:
    """Sines and cosines of positions over the square root of the width, (length, width)."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    channel = torch.arange(width)
    angle = position / 10000 ** (2 * (channel // 2).double() / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float() / width**0.5


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose bias starts at 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.bias)
    return layer
