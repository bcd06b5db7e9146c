# SPDX-License-Identifier: Apache-2.0
"""The Audio Spectrogram Transformer through transformers, on windows of sound.

Source:
    Gong et al., AST: Audio Spectrogram Transformer, Interspeech 2021; weights fine-tuned on AudioSet.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from avkit.encoders.base import WindowAudioEncoder
from avkit.encoders.transformers_weights import PublishedNetwork
from avkit.media.fbank import kaldi_fbank

#: Weights that `hub` stands for.
REPOSITORY = "MIT/ast-finetuned-audioset-10-10-0.4593"


class ASTRows(nn.Module):
    """AST on windows of samples: the mean of its two class tokens, which its classifier reads.

    Args:
        pretrained: As in `ASTAudio`.
    """

    def __init__(self, pretrained: str | Path | bool | None) -> None:
        super().__init__()
        self.published = PublishedNetwork("ast", "audio", REPOSITORY, pretrained)
        extractor = self.published.part(ASTFeatureExtractor, ASTFeatureExtractor())
        self.network = self.published.network(ASTModel, ASTConfig)
        self.bands = int(extractor.num_mel_bins)
        self.frames = int(extractor.max_length)
        self.mean = float(extractor.mean)
        self.std = float(extractor.std)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows (N, n) at 16 kHz to (N, D); after a window there is what the authors pad with."""
        mel = kaldi_fbank(samples, self.bands)[:, : self.frames]
        padded = F.pad(mel, (0, 0, 0, self.frames - mel.shape[1]))
        encoded: Tensor = self.network((padded - self.mean) / (2 * self.std)).pooler_output
        return encoded


class ASTAudio(WindowAudioEncoder):
    """AST over a window from the start of each step.

    It was trained on ten seconds, to which windows are padded, so that each costs as much as ten seconds.

    Args:
        pretrained: None for random weights, `hub` for those fine-tuned on AudioSet, another `owner/name` of the hub, or
            a folder that `save_pretrained` wrote.
        seconds: Length of a window, up to 10.24.

    Raises:
        ValueError: If the weights are those of another network.
    """

    at_once = 8

    def __init__(self, pretrained: str | Path | bool | None = None, seconds: float = 1.0) -> None:
        super().__init__(seconds)
        rows = ASTRows(pretrained)
        self.network = rows
        self.published = rows.published
        self.width = int(rows.network.config.hidden_size)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and how it reads sound."""
        self.published.save(root)
