# SPDX-License-Identifier: Apache-2.0
"""CLAP, whose sound and text share a space, and its audio network HTS-AT by itself, through transformers.

Source:
    Wu et al., Large-scale contrastive language-audio pretraining, ICASSP 2023; Chen et al., HTS-AT: A hierarchical
    token-semantic audio transformer, ICASSP 2022.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextConfig,
    ClapTextModelWithProjection,
)

from avkit.batch import SAMPLE_RATE
from avkit.encoders.base import TextEncoder, TextFeatures, WindowAudioEncoder
from avkit.encoders.transformers_weights import PublishedNetwork
from avkit.media.resample import upsample

#: Weights that `hub` stands for.
REPOSITORY = "laion/clap-htsat-unfused"
#: Least energy of a mel band, before the logarithm.
_FLOOR = 1e-10
#: Copies of a spectrogram that networks with fusion read.
_FUSED = 4


class CLAPRows(nn.Module):
    """CLAP's audio network on windows of samples.

    Args:
        name: Name of the encoder, for errors.
        pretrained: As in `CLAPAudio`.
        project: Whether vectors are projected into the space of sentences.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, name: str, pretrained: str | Path | bool | None, *, project: bool) -> None:
        super().__init__()
        self.published = PublishedNetwork(name, "audio", REPOSITORY, pretrained)
        # on the CPU, also where a network is built without memory, since they are numpy's
        with torch.device("cpu"):
            extractor = self.published.part(ClapFeatureExtractor, ClapFeatureExtractor(truncation="rand_trunc"))
        self.network = self.published.network(ClapAudioModelWithProjection, ClapAudioConfig)
        self.project = project
        self.is_fused = bool(self.network.config.enable_fusion)
        self.factor = int(extractor.sampling_rate) // SAMPLE_RATE
        self.hop = int(extractor.hop_length)
        self.longest = int(extractor.nb_max_samples)
        filters = extractor.mel_filters if self.is_fused else extractor.mel_filters_slaney
        window = torch.hann_window(int(extractor.fft_window_size), device="cpu")
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("mel", torch.from_numpy(filters).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows (N, n) at 16 kHz to (N, D)."""
        features = self.spectrogram(samples)
        if self.is_fused:
            features = features.expand(-1, _FUSED, -1, -1)
        is_longer = torch.zeros(len(samples), 1, dtype=torch.bool, device=samples.device)
        pooled: Tensor = self.network.audio_model(input_features=features, is_longer=is_longer).pooler_output
        return self.network.audio_projection(pooled) if self.project else pooled

    def spectrogram(self, samples: Tensor) -> Tensor:
        """Log-mel spectrogram in decibel, (N, 1, frames, bands); short windows are repeated as the authors do."""
        with torch.no_grad(), torch.autocast(samples.device.type, enabled=False):
            x = upsample(samples.float(), self.factor)[:, : self.longest]
            x = x.repeat(1, self.longest // x.shape[1])
            x = F.pad(x, (0, self.longest - x.shape[1]))
            size = len(self.window)
            window = self.window.to(x)
            spectrum = torch.stft(x, size, self.hop, window=window, pad_mode="reflect", return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            energy = power.transpose(1, 2) @ self.mel.to(x)
            return (10 * energy.clamp(min=_FLOOR).log10())[:, None]


class CLAPAudio(WindowAudioEncoder):
    """CLAP's audio encoder over a window from the start of each step; vectors lie in the space of its sentences.

    Args:
        pretrained: None for random weights, `hub` for `laion/clap-htsat-unfused`, another `owner/name` of the hub, or a
            folder that `save_pretrained` wrote.
        seconds: Length of a window, up to 10.

    Raises:
        ValueError: If the weights are those of another network.
    """

    at_once = 16

    def __init__(self, pretrained: str | Path | bool | None = None, seconds: float = 1.0) -> None:
        super().__init__(seconds)
        rows = CLAPRows("clap", pretrained, project=True)
        self.network = rows
        self.published = rows.published
        self.width = int(rows.network.config.projection_dim)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and how it reads sound."""
        self.published.save(root)


class HTSATAudio(WindowAudioEncoder):
    """HTS-AT over a window from the start of each step: the mean of its last layer, as CLAP trained it.

    Args:
        pretrained: As in `CLAPAudio`.
        seconds: As in `CLAPAudio`.

    Raises:
        ValueError: If the weights are those of another network.
    """

    at_once = 16

    def __init__(self, pretrained: str | Path | bool | None = None, seconds: float = 1.0) -> None:
        super().__init__(seconds)
        rows = CLAPRows("htsat", pretrained, project=False)
        self.network = rows
        self.published = rows.published
        self.width = int(rows.network.config.hidden_size)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and how it reads sound."""
        self.published.save(root)


class CLAPText(TextEncoder):
    """CLAP's text encoder: a vector per token, each pooled and projected as the first token's, which is `pooled`.

    Args:
        pretrained: As in `CLAPAudio`; there are no random words, so it must be given.

    Raises:
        ValueError: If no weights are named, or they are those of another network.
    """

    def __init__(self, pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        self.published = PublishedNetwork("clap", "text", REPOSITORY, pretrained)
        self.network = self.published.network(ClapTextModelWithProjection, ClapTextConfig)
        self.tokenizer: Any = self.published.part(AutoTokenizer)
        self.width = int(self.network.config.projection_dim)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and its words."""
        self.published.save(root)

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; L is the number of tokens of the longest one."""
        inputs = tokenize(self.tokenizer, texts, self.network.device, "clap")
        model = self.network.text_model
        states = model(**inputs).last_hidden_state
        alone = model.pooler(states.flatten(0, 1)[:, None])
        tokens = self.network.text_projection(alone).unflatten(0, states.shape[:2])
        return TextFeatures(tokens, inputs["attention_mask"].bool(), tokens[:, 0])


def tokenize(tokenizer: Any, texts: list[str], device: torch.device, name: str) -> dict[str, Tensor]:
    """Numbers of tokens and which of them are no padding, (N, L) each.

    Args:
        tokenizer: A tokenizer of transformers; None with random weights.
        texts: The sentences.
        device: Where they are wanted.
        name: Name of the encoder, for the error.

    Raises:
        ValueError: If there is no tokenizer.
    """
    if tokenizer is None:
        raise ValueError(
            f"Text encoder {name!r} has no words without weights. Name them: 'hub', or {_FOLDER} (pretrained=..., "
            "--model.system.text_weights)."
        )
    inputs = tokenizer(texts, return_tensors="pt", padding=True, truncation=True)
    return {key: inputs[key].to(device) for key in ("input_ids", "attention_mask")}


#: What holds a tokenizer.
_FOLDER = "the folder that save_pretrained wrote"
