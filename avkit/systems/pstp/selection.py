# SPDX-License-Identifier: Apache-2.0
"""What PSTP-Net selects for a question: segments of a clip, and regions of their pictures."""

import torch
from torch import Tensor, nn

from avkit.nn.query_attention import QueryAttention


class SegmentSelection(nn.Module):
    """Selects the segments of a clip that match a question best.

    Args:
        width: Width D.
        segments: Number of segments of equal length in a clip.
        topk: Number of segments that are selected.
        dropout: Dropout rate in training.
    """

    def __init__(self, width: int, segments: int = 12, topk: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.segments = segments
        self.topk = topk
        self.join = nn.Linear(2 * width, width)
        self.query = QueryAttention(width, 4, dropout)

    def forward(self, question: Tensor, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Select segments.

        Args:
            question: (B, D).
            audio: (B, T, D).
            visual: (B, T, D).

        Returns:
            Weights (B, segments), and the selected segments, int64 (B, topk), rising.

        Raises:
            ValueError: If T is no multiple of the number of segments, or there are fewer segments than `topk`.
        """
        if audio.shape[1] % self.segments or self.topk > self.segments:
            raise ValueError(
                f"{audio.shape[1]} seconds do not make {self.segments} equal segments of which {self.topk} are chosen. "
                "Set segments to a divisor of the seconds, and topk to no more."
            )
        means = [x.unflatten(1, (self.segments, -1)).mean(2) for x in (audio, visual)]
        segments = self.join(torch.cat(means, -1).tanh())
        _, weights = self.query(question[:, None], segments)
        weights = weights[:, 0]
        return weights, weights.topk(self.topk, -1).indices.sort(-1).values

    def steps_of(self, segments: Tensor, steps: int) -> Tensor:
        """Indices of the steps of segments (B, topk) of clips of `steps` steps: (B, topk * steps / segments)."""
        length = steps // self.segments
        offsets = torch.arange(length, device=segments.device)
        return (segments[..., None] * length + offsets).flatten(1)


class RegionSelection(nn.Module):
    """Selects the regions of each picture that match a question best.

    Args:
        width: Width D.
        topm: Number of regions of each picture that are selected.
        dropout: Dropout rate in training.
    """

    def __init__(self, width: int, topm: int = 25, dropout: float = 0.1) -> None:
        super().__init__()
        self.topm = topm
        self.query = QueryAttention(width, 4, dropout)

    def forward(self, question: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Select regions.

        Args:
            question: (B, D).
            regions: Regions of k pictures, (B, k, P, D).

        Returns:
            Indices of the selected regions, int64 (B, k, topm), rising, and weights of all, (B, k, P).

        Raises:
            ValueError: If pictures have fewer than `topm` regions.
        """
        batch, pictures, count = regions.shape[:3]
        if self.topm > count:
            raise ValueError(f"{self.topm} regions are to be chosen, and a picture has {count}. Set topm to less.")
        query = question[:, None].expand(-1, pictures, -1).flatten(0, 1)[:, None]
        _, weights = self.query(query, regions.flatten(0, 1))
        weights = weights[:, 0].unflatten(0, (batch, pictures))
        return weights.topk(self.topm, -1).indices.sort(-1).values, weights


def gather_regions(regions: Tensor, indices: Tensor) -> Tensor:
    """Regions (B, k, P, D) of indices (B, k, m): (B, k, m, D)."""
    return regions.gather(2, indices[..., None].expand(-1, -1, -1, regions.shape[-1]))


def published_regions(indices: Tensor) -> Tensor:
    """The regions that the published code uses, of the selected ones (B, k, m).

    For all pictures it is the last of the regions selected in the first picture of the first sample, m times.
    """
    return indices[0, 0, -1].expand_as(indices)
