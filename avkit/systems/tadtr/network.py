# SPDX-License-Identifier: Apache-2.0
"""TadTR: queries that read a video by deformable attention and become events, layer by layer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.nn.masked_conv import sinusoid
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.tadtr.attention import TemporalDeformableAttention, sample


@dataclass
class TadTROptions:
    """Options of TadTR's network.

    Attributes:
        width: Width D.
        heads: Attention heads.
        points: Moments that each head of a query reads.
        inner: Width of the feed-forward layers.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder; each moves the events of the one before.
        queries: Number of queries N, the most events that are found without regard to classes.
        bins: Moments inside an event that its actionness is regressed from.
        dropout: Dropout rate in training.
    """

    width: int = 256
    heads: int = 8
    points: int = 4
    inner: int = 1024
    encoder_layers: int = 4
    decoder_layers: int = 4
    queries: int = 40
    bins: int = 16
    dropout: float = 0.1


@exportable
@dataclass
class EventSet:
    """What a layer of the decoder says, and at the end how far its events can be trusted.

    Attributes:
        logits: Classes of each query, (B, N, K).
        segments: Centre and length of each query's event, shares of the video in (0, 1), (B, N, 2).
        actionness: Predicted overlap of each event with a true one in (0, 1), (B, N); None but in the last layer.
    """

    logits: Tensor
    segments: Tensor
    actionness: Tensor | None = None


class EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward layers, each added and normed.

    Args:
        options: Sizes.
    """

    def __init__(self, options: TadTROptions) -> None:
        super().__init__()
        self.attention = TemporalDeformableAttention(options.width, options.heads, options.points)
        self.feed_forward = _feed_forward(options)
        self.norms = nn.ModuleList(nn.LayerNorm(options.width) for _ in range(2))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, positions: Tensor, centre: Tensor, unit: Tensor, lengths: Tensor) -> Tensor:
        """From (B, T, D) to the same; other arguments as of `TemporalDeformableAttention`."""
        attended = self.attention(x + positions, centre, unit, x, lengths)
        x = self.norms[0](x + self.dropout(attended))
        y: Tensor = self.norms[1](x + self.dropout(self.feed_forward(x)))
        return y


class DecoderLayer(nn.Module):
    """Attention among queries, deformable attention of each to the video, feed-forward layers.

    Args:
        options: Sizes.
    """

    def __init__(self, options: TadTROptions) -> None:
        super().__init__()
        self.among = nn.MultiheadAttention(options.width, options.heads, options.dropout, batch_first=True)
        self.attention = TemporalDeformableAttention(options.width, options.heads, options.points)
        self.feed_forward = _feed_forward(options)
        self.norms = nn.ModuleList(nn.LayerNorm(options.width) for _ in range(3))
        self.dropout = nn.Dropout(options.dropout)
        self.points = options.points

    def forward(self, x: Tensor, positions: Tensor, segments: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """From queries (B, N, D) about segments (B, N, 2), and the video (B, T, D), to queries."""
        query = x + positions
        attended, _ = self.among(query, query, x, need_weights=False)
        x = self.norms[0](x + self.dropout(attended))
        centre = segments[..., 0]
        unit = segments[..., 1] / (2 * self.points)
        x = self.norms[1](x + self.dropout(self.attention(x + positions, centre, unit, memory, lengths)))
        y: Tensor = self.norms[2](x + self.dropout(self.feed_forward(x)))
        return y


class TadTR(OfficialNetwork):
    """The network of "End-to-End Temporal Action Detection With Transformer" on joined features.

    Args:
        options: Sizes and switches.
        visual: Width of visual features.
        audio: Width of audio features.
        classes: Number of classes K.

    Source:
        Liu et al., IEEE Transactions on Image Processing 31, 2022; written from the paper, it takes no official
        weights.
    """

    name = "tadtr"
    source = "Liu et al., TIP 2022, from the paper"
    Options = TadTROptions

    def __init__(self, options: TadTROptions, visual: int, audio: int, classes: int) -> None:
        super().__init__(options, visual=visual, audio=audio, classes=classes)
        width = options.width
        self.bins = options.bins
        self.enter = nn.Linear(visual + audio, width)
        self.enter_norm = nn.LayerNorm(width)
        self.encoder = nn.ModuleList(EncoderLayer(options) for _ in range(options.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(options) for _ in range(options.decoder_layers))
        self.queries = nn.Embedding(options.queries, width)
        self.query_positions = nn.Embedding(options.queries, width)
        self.first_segments = nn.Linear(width, 2)
        self.logits = nn.ModuleList(_class_layer(width, classes) for _ in range(options.decoder_layers))
        self.moves = nn.ModuleList(_moving_layers(width) for _ in range(options.decoder_layers))
        self.actionness = _mlp(width * options.bins, 1, width)

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[EventSet]:
        """From features to the events of every layer of the decoder.

        Args:
            visual: (B, T, visual width).
            audio: (B, T, audio width).
            valid: bool (B, T), False on padding.
        """
        lengths = valid.sum(1).clamp(min=1)
        memory = self._encode(torch.cat([visual, audio], -1), valid, lengths)
        videos = len(memory)
        # copies: a view of a parameter asks for a gradient even in inference mode, where FLOPs are counted
        x = self.queries.weight.repeat(videos, 1, 1)
        positions = self.query_positions.weight.repeat(videos, 1, 1)
        segments = self.first_segments(positions).sigmoid()
        layers = []
        for number, layer in enumerate(self.decoder):
            x = layer(x, positions, segments, memory, lengths)
            segments = (_inverse_sigmoid(segments) + self.moves[number](x)).sigmoid()
            layers.append(EventSet(self.logits[number](x), segments))
            segments = segments.detach()
        layers[-1].actionness = self._actionness(segments, memory, lengths)
        return layers

    def _encode(self, features: Tensor, valid: Tensor, lengths: Tensor) -> Tensor:
        """The video (B, T, D), 0 where padded."""
        keep = valid[..., None]
        x = self.enter_norm(self.enter(features)) * keep
        steps = x.shape[1]
        positions = sinusoid(steps, x.shape[2]).to(x) * x.shape[2] ** 0.5
        centre = (torch.arange(steps, device=x.device) + 0.5) / lengths[:, None]
        unit = (1 / lengths[:, None]).expand_as(centre)
        for layer in self.encoder:
            x = layer(x, positions, centre, unit, lengths) * keep
        return x

    def _actionness(self, segments: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """How far each segment (B, N, 2) overlaps an event, judged by what lies in it, (B, N)."""
        share = (torch.arange(self.bins, device=memory.device) + 0.5) / self.bins - 0.5
        place = segments[..., :1] + segments[..., 1:] * share  # (B, N, bins)
        place = place[:, :, None] * lengths[:, None, None, None] - 0.5
        inside = sample(memory[:, :, None], place, lengths)[:, :, 0]  # (B, N, bins, D)
        scores: Tensor = self.actionness(inside.flatten(-2))[..., 0].sigmoid()
        return scores


def _feed_forward(options: TadTROptions) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(options.width, options.inner),
        nn.ReLU(),
        nn.Dropout(options.dropout),
        nn.Linear(options.inner, options.width),
    )


def _class_layer(width: int, classes: int) -> nn.Linear:
    """Logits that begin with an event in one of 100 queries."""
    layer = nn.Linear(width, classes)
    nn.init.constant_(layer.bias, -math.log(99))
    return layer


def _moving_layers(width: int) -> nn.Sequential:
    """How centre and length move, which begins with not at all."""
    last = nn.Linear(width, 2)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)


def _mlp(inputs: int, outputs: int, inner: int) -> nn.Sequential:
    """A linear layer, ReLU and a linear layer."""
    return nn.Sequential(nn.Linear(inputs, inner), nn.ReLU(), nn.Linear(inner, outputs))


def _inverse_sigmoid(x: Tensor) -> Tensor:
    """Logits of shares, which are kept off 0 and 1."""
    return x.clamp(1e-4, 1 - 1e-4).logit()
