# SPDX-License-Identifier: Apache-2.0
"""Sound that says where to look, and what AVEL and PSP do next: a recurrent network for each modality."""

import torch
from torch import Tensor, nn

from avkit.backbone.wide import PART


class AudioGuidedAttention(nn.Module):
    """One feature for each picture: its positions weighed by how well they match the sound.

    Args:
        audio: Width of sound.
        visual: Width of a position's features.
        width: Width in which both are compared.
        positions: Positions P of a picture; the weights are tied to them.

    Source:
        YapengTian/AVE-ECCV18 at commit 93f843fed72f, `models.py`; jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17.
    """

    def __init__(self, audio: int = 128, visual: int = 512, width: int = 512, positions: int = 49) -> None:
        super().__init__()
        self.audio, self.visual = nn.Linear(audio, width), nn.Linear(visual, width)
        self.from_visual, self.from_audio = (nn.Linear(width, positions, bias=False) for _ in range(2))
        self.score = nn.Linear(positions, 1, bias=False)
        for layer in (self.audio, self.visual, self.from_visual, self.from_audio, self.score):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """From sound (B, T, A) and pictures (B, T, P, V) to (B, T, V)."""
        heard = self.from_audio(self.audio(audio).relu()).flatten(0, 1)
        pictures = visual.flatten(0, 1)
        small = visual.device.type == "cpu" and not torch.is_grad_enabled()
        few = max(1, 8 * PART // pictures[0].numel()) if small else len(pictures)  # so little stays in the cache
        found = [self._look(*part) for part in zip(heard.split(few), pictures.split(few), strict=True)]
        return torch.cat(found).unflatten(0, audio.shape[:2])

    def _look(self, heard: Tensor, visual: Tensor) -> Tensor:
        """From what sound asks for (N, P) and pictures (N, P, V) to (N, V)."""
        seen = self.from_visual(self.visual(visual).relu())
        weights = self.score((seen + heard[..., None]).tanh()).squeeze(-1).softmax(-1)
        return torch.bmm(weights[:, None], visual)[:, 0]


class TwoRecurrent(nn.Module):
    """A bidirectional LSTM over each modality.

    Args:
        audio: Width of sound.
        visual: Width of sight.
        width: Width of each direction.
    """

    def __init__(self, audio: int, visual: int, width: int = 128) -> None:
        super().__init__()
        self.audio = nn.LSTM(audio, width, batch_first=True, bidirectional=True)
        self.visual = nn.LSTM(visual, width, batch_first=True, bidirectional=True)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, T, A) and (B, T, V) to (B, T, 2 width) each."""
        return self.audio(audio)[0], self.visual(visual)[0]
