# SPDX-License-Identifier: Apache-2.0
"""Audio-guided visual attention and bidirectional recurrence, which AVEL and PSP share."""

from torch import Tensor, nn


class AudioGuidedAttention(nn.Module):
    """One feature per picture: the mean over its positions, weighted by how well they match the audio.

    Args:
        audio: Width of audio features.
        visual: Width of a position's features.
        width: Width in which both are compared.
        positions: Positions P of a picture; the weights are tied to them.

    Source:
        YapengTian/AVE-ECCV18 at commit 93f843fed72f, `models.py`; jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17.
    """

    def __init__(self, audio: int = 128, visual: int = 512, width: int = 512, positions: int = 49) -> None:
        super().__init__()
        self.audio = nn.Linear(audio, width)
        self.visual = nn.Linear(visual, width)
        self.from_visual = nn.Linear(width, positions, bias=False)
        self.from_audio = nn.Linear(width, positions, bias=False)
        self.score = nn.Linear(positions, 1, bias=False)
        for layer in (self.audio, self.visual, self.from_visual, self.from_audio, self.score):
            nn.init.xavier_uniform_(layer.weight)

    def weights(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Attention weights (B, T, P) of audio (B, T, A) over the positions of pictures (B, T, P, V)."""
        visual = self.from_visual(self.visual(visual).relu())
        audio = self.from_audio(self.audio(audio).relu())
        scores: Tensor = self.score((visual + audio[..., None]).tanh()).squeeze(-1)
        return scores.softmax(-1)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """From audio (B, T, A) and pictures (B, T, P, V) to (B, T, V)."""
        return (self.weights(audio, visual)[..., None, :] @ visual).squeeze(-2)


class BimodalLSTM(nn.Module):
    """A bidirectional LSTM over each modality.

    Args:
        audio: Width of audio features.
        visual: Width of visual features.
        width: Width of each direction.
    """

    def __init__(self, audio: int, visual: int, width: int = 128) -> None:
        super().__init__()
        self.audio = nn.LSTM(audio, width, batch_first=True, bidirectional=True)
        self.visual = nn.LSTM(visual, width, batch_first=True, bidirectional=True)

    def forward(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, T, A) and (B, T, V) to (B, T, 2 width) each."""
        return self.audio(audio)[0], self.visual(visual)[0]
