# SPDX-License-Identifier: Apache-2.0
"""Masks of sounding objects from audio queries: the decoder, and the default head of `avs`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.heads.base import Head, HeadInputs
from avkit.nn.decoder_layer import DecoderLayer, mlp
from avkit.nn.mask_losses import MaskOutput, image_size_of, mask_losses, upsample
from avkit.nn.scalars import learned_number


class PixelDecoder(nn.Module):
    """Feature pyramid: from the patches up to the finest map given, adding each level on the way.

    Args:
        width: Width of the patches.
        pyramid_widths: Widths of the maps, finest first.
        channels: Width of the result.
    """

    def __init__(self, width: int, pyramid_widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(width, channels, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(w, channels, 1) for w in pyramid_widths)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.ReLU(inplace=True))
            for _ in pyramid_widths
        )

    def forward(self, patches: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Patches as a map (N, D, h, w) and pyramid maps (N, C, h, w), finest first, to (N, channels, H, W)."""
        x = self.start(patches)
        for level in reversed(range(len(self.lateral))):
            fine = pyramid[level]
            x = F.interpolate(x, fine.shape[-2:], mode="bilinear", align_corners=False)
            x = self.smooth[level](x + self.lateral[level](fine))
        return x


@dataclass(frozen=True)
class MaskOptions:
    """Options of the mask decoder.

    Attributes:
        channels: Width of the pixel embeddings, a multiple of 8.
        queries: Number of learned queries.
        layers: Decoder layers.
        heads: Attention heads.
    """

    channels: int = 32
    queries: int = 8
    layers: int = 2
    heads: int = 4


class MaskDecoder(nn.Module):
    """Audio-queried mask decoder in the manner of MaskFormer.

    Learned queries plus the audio token of the step attend to the picture's patches; their dot products with pixel
    embeddings are elementary masks, which a small convolution combines into one map per output. All of it works one
    level below the finest map, which enters folded into channels and is unfolded at the end: a quarter of the pixels,
    the same detail.

    With classes, the logit of a pixel's class is the sum of a visual and an audio match with the class's name, so that
    patches, sounds and words of one meaning get similar features. The mask's logit is then the log-odds of any class
    against the background, plus a map of its own.

    Args:
        width: Width D of the tokens.
        pyramid_widths: Widths of the pyramid's maps, finest first.
        classes: Number of class maps, background first; 0 for the mask alone.
        options: Sizes of the decoder.

    Source:
        SSUFormer's mask decoder and AVSegFormer (vvvb-github/AVSegFormer, commit 7083cb6586d1), simplified.
    """

    def __init__(
        self,
        width: int,
        pyramid_widths: Sequence[int],
        classes: int = 0,
        options: MaskOptions = MaskOptions(),
    ) -> None:
        super().__init__()
        outputs = 1 + classes
        channels = options.channels
        queries = options.queries
        fine = list(pyramid_widths[:1])
        self.pixels = PixelDecoder(width, pyramid_widths[1:], channels)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.audio = nn.Linear(width, width)
        self.layers = nn.ModuleList(DecoderLayer(width, options.heads) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.embed = mlp(width, width, channels)
        self.audio_bias = nn.Linear(width, min(2, outputs))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "patches")})
        if classes:  # most pixels are background, so training starts from nearly empty masks
            nn.init.constant_(self.audio_bias.bias[1], 5.0)
            self.rare = learned_number(self, "rare", -2.0)
        self.fold = nn.ModuleList(nn.Conv2d(4 * w, channels // 2, 1) for w in fine)
        self.combine = nn.Sequential(
            nn.Conv2d(queries + channels + len(fine) * (channels // 2), channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, 4 * outputs, 1),
            nn.PixelShuffle(2),
        )
        self._start_smooth(outputs)

    def forward(self, tokens: Tokens) -> MaskOutput:
        """Maps at the finest map's size; without a pyramid they have twice the patches' grid."""
        patches = rearrange(tokens.patches, "b t p d -> (b t) p d")
        pyramid = [level.flatten(0, 1) for level in tokens.pyramid]
        grid = rearrange(patches, "n (h w) d -> n d h w", h=tokens.grid[0])
        pixels = self.pixels(grid, pyramid[1:])
        queries = self._read_picture(tokens.audio, patches)
        masks = torch.einsum("nqc,nchw->nqhw", self.embed(self.norm(queries)), pixels) / pixels.shape[1] ** 0.5
        fine = [fold(_fold(level, pixels)) for fold, level in zip(self.fold, pyramid[:1], strict=True)]
        maps = self.combine(torch.cat([masks, pixels, *fine], dim=1))
        return self._add_audio(maps.unflatten(0, tokens.valid.shape), tokens)

    def _read_picture(self, audio: Tensor, patches: Tensor) -> Tensor:
        """Queries (B T, N, D) that have attended to patches (B T, P, D)."""
        x = self.queries + rearrange(self.audio(audio), "b t d -> (b t) 1 d")
        for layer in self.layers:
            x = layer(x, patches)
        return x

    def _add_audio(self, maps: Tensor, tokens: Tokens) -> MaskOutput:
        """Maps (B, T, 1 + classes, h, w) with the evidence of sound and of class names."""
        audio = self.norms["audio"](tokens.audio)
        bias = self.audio_bias(audio)[..., None, None]
        if maps.shape[2] == 1:
            return MaskOutput(maps + bias)
        mask, background = (maps[:, :, :2] + bias).split(1, dim=2)
        visual_match, audio_match = self._match_names(tokens, audio, (maps.shape[-2], maps.shape[-1]))
        classes = maps[:, :, 2:] + visual_match + audio_match[..., None, None]
        any_class = classes.logsumexp(2, keepdim=True) - background
        return MaskOutput(torch.cat([mask + any_class, background, classes], dim=2), audio_match + self.rare)

    def _match_names(self, tokens: Tokens, audio: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """How well each patch matches each class's name, (B, T, K, h, w), and how well the sound does, (B, T, K)."""
        if tokens.names is None:
            raise ValueError("A mask head with classes needs their names: tokens.names is None.")
        names = tokens.names.T / tokens.names.shape[1] ** 0.5
        match = self.norms["patches"](tokens.patches) @ names
        maps = rearrange(match, "b t (h w) k -> (b t) k h w", h=tokens.grid[0])
        maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)
        return maps.unflatten(0, audio.shape[:2]), audio @ names

    def _start_smooth(self, outputs: int) -> None:
        """Start with equal weights for the four pixels of each cell, which avoids a checkerboard."""
        last = self.combine[2]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        with torch.no_grad():
            last.weight.copy_(last.weight[:outputs].repeat_interleave(4, 0))
            last.bias.copy_(last.bias[:outputs].repeat_interleave(4, 0))


def _fold(fine: Tensor, coarse: Tensor) -> Tensor:
    """The finest map with each 2x2 cell of the coarser map's size folded into channels."""
    size = (2 * coarse.shape[-2], 2 * coarse.shape[-1])
    if fine.shape[-2:] != size:  # odd sizes, where halving rounds up
        fine = F.interpolate(fine, size, mode="bilinear", align_corners=False)
    return F.pixel_unshuffle(fine, 2)


def count_maps(inputs: HeadInputs) -> int:
    """Class maps with background; 0 where the dataset names no class."""
    classes = len(inputs.vocabulary.classes)
    return classes + 1 if classes else 0


class MaskHead(Head):
    """Binary masks, and class masks where the dataset names classes; the default head of `avs`.

    Loss: binary cross-entropy and Dice for the mask, cross-entropy for the classes (AVSBench, AVSegFormer), see
    `avkit.nn.mask_losses`.

    Args:
        inputs: Width of the tokens, pyramid and classes.
        options: Sizes of the decoder.
    """

    Options = MaskOptions

    def __init__(self, inputs: HeadInputs, options: MaskOptions = MaskOptions()) -> None:
        super().__init__()
        self.decoder = MaskDecoder(inputs.width, inputs.pyramid_widths, count_maps(inputs), options)

    def forward(self, tokens: Tokens, batch: Batch) -> MaskOutput:
        """Logits of the mask, then of background and classes."""
        output: MaskOutput = self.decoder(tokens)
        return output

    def loss(self, output: MaskOutput, batch: Batch) -> Losses:
        """`mask` and, with classes, `classes` and `audio_classes`, over annotated steps."""
        losses = mask_losses(output, batch)
        return {"loss": sum(losses.values(), output.maps.new_zeros(())), **losses}

    def predict(self, output: MaskOutput, batch: Batch) -> Prediction:
        """`mask` and, with classes, `class_logits` and `class_mask`."""
        logits = upsample(output.maps, image_size_of(batch, output.maps)).float()
        values = {"mask": logits[:, :, 0].sigmoid()}
        if logits.shape[2] > 1:
            values["class_logits"] = logits[:, :, 1:]
            values["class_mask"] = logits[:, :, 1:].argmax(2)
        return Prediction(batch.task, batch.id, values)

    def graph_values(self, output: MaskOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return self.predict(output, batch).values
