# SPDX-License-Identifier: Apache-2.0
"""YAMNet, a small network that names 521 AudioSet classes in sound.

Source:
    Plakal and Ellis, YAMNet, tensorflow/models (research/audioset/yamnet): `params.py`, `features.py`, `yamnet.py`.
    Layers: MobileNet v1 of Howard et al. 2017. Weights and class names: Apache-2.0.
"""

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import SAMPLE_RATE
from avkit.encoders.base import WindowAudioEncoder
from avkit.encoders.pretrained import HUB, check_weights, give_file, load_weights, released_file
from avkit.encoders.yamnet_files import HDF5_SUFFIXES, read_yamnet_hdf5
from avkit.media.mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, MEL_BANDS, STRIDE, log_mel
from avkit.reading.tensors import check_finite
from avkit.reading.text import read_text, table_rows

#: The authors' weights.
WEIGHTS_URL = "https://storage.googleapis.com/audioset/yamnet.h5"
#: Number of classes.
CLASSES = 521
#: Frames from one window to the next: 0.48 s.
HOP_FRAMES = 48
#: Samples from one window to the next.
HOP_SAMPLES = HOP_FRAMES * STRIDE
#: Seconds from one window to the next.
HOP = HOP_SAMPLES / SAMPLE_RATE

#: What is added to magnitudes before the logarithm.
_LOG_OFFSET = 0.001
#: Channels of the first convolution, and (stride, channels) of each pair of a depthwise and a pointwise one after it.
_FIRST_CHANNELS = 32
_PAIRS = (
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    *((1, 512),) * 5,
    (2, 1024),
    (1, 1024),
)
_CLASS_FILE = Path(__file__).with_name("audioset_classes.csv")
#: Windows that pass the network at once; bounds memory on long sound.
_AT_ONCE = 128


class SoundTags(NamedTuple):
    """What YAMNet says of N windows.

    Attributes:
        embedding: Mean over time and frequency of the last layer, (N, 1024), not negative.
        scores: Probability of each class by itself, (N, 521), in the order of `audioset_classes`.
    """

    embedding: Tensor
    scores: Tensor


class YAMNet(nn.Module):
    """Convolutional network from log-mel windows of 0.975 s to an embedding and scores of 521 classes.

    Args:
        pretrained: None for random weights, `hub` for the authors' `yamnet.h5`, or a path: `yamnet.h5`, or weights with
            the keys of this module (`.safetensors`, or a file of `torch.save`), batch norms folded into convolutions.

    Raises:
        ValueError: If the weights do not fit.
    """

    width = _PAIRS[-1][1]

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.layer1 = _Pair({"conv": _SameConv2d(1, _FIRST_CHANNELS, 3, stride=2)})
        channels = _FIRST_CHANNELS
        for number, (stride, wider) in enumerate(_PAIRS, start=2):
            depthwise = _SameConv2d(channels, channels, 3, stride=stride, groups=channels)
            pointwise = nn.Conv2d(channels, wider, 1)
            self.add_module(f"layer{number}", _Pair({"depthwise": depthwise, "pointwise": pointwise}))
            channels = wider
        self.classifier = nn.Linear(channels, CLASSES)
        if pretrained == HUB:
            count = sum(x.numel() for x in self.parameters())
            pretrained = released_file("Weights of YAMNet", WEIGHTS_URL, give_file("audio"), count)
        if pretrained:
            self._load(Path(pretrained))

    def forward(self, mel: Tensor) -> SoundTags:
        """Embedding and scores of log-mel windows, (N, 96, 64) or (N, 1, 96, 64), time before frequency.

        Raises:
            ValueError: If a window is not 96 frames of 64 bands.
        """
        if tuple(mel.shape[-2:]) != (EXAMPLE_FRAMES, MEL_BANDS):
            raise ValueError(
                f"YAMNet takes log-mel windows (N, {EXAMPLE_FRAMES}, {MEL_BANDS}), got {tuple(mel.shape)}. Cut them "
                "with avkit.encoders.yamnet.yamnet_windows."
            )
        x = mel.reshape(-1, 1, EXAMPLE_FRAMES, MEL_BANDS)
        for number in range(1, len(_PAIRS) + 2):
            x = self.get_submodule(f"layer{number}")(x)
        embedding = x.mean((2, 3))
        return SoundTags(embedding, self.classifier(embedding).sigmoid())

    @torch.inference_mode()
    def tag(self, waveform: Tensor) -> SoundTags:
        """Embedding and scores of the windows of a sound of any length, `HOP` seconds apart.

        Args:
            waveform: (samples,), 16 kHz in [-1, 1].

        Returns:
            A row per window; window k begins at k times 0.48 s.
        """
        embeddings = []
        scores = []
        block = _AT_ONCE * HOP_SAMPLES
        overlap = EXAMPLE_SAMPLES - HOP_SAMPLES
        for start in range(0, max(1, len(waveform) - overlap), block):  # mel of an hour would take 2 GB at once
            part = self(yamnet_windows(waveform[start : start + block + overlap]))
            embeddings.append(part.embedding)
            scores.append(part.scores)
        return SoundTags(torch.cat(embeddings), torch.cat(scores))

    def _load(self, path: Path) -> None:
        if path.suffix.lower() not in HDF5_SUFFIXES:
            load_weights(self, path)
            return
        state = read_yamnet_hdf5(path)
        check_finite(state, path, "Download the file again.")
        check_weights(self.state_dict(), state, path)
        self.load_state_dict(state)


def yamnet_windows(waveform: Tensor) -> Tensor:
    """Log-mel windows of 0.975 s, 0.48 s apart, of a whole sound; silence fills the last one, as the authors pad.

    Args:
        waveform: (samples,), 16 kHz in [-1, 1].

    Returns:
        (n, 96, 64), n at least 1.
    """
    after_first = max(0, waveform.shape[-1] - EXAMPLE_SAMPLES)
    hops = -(-after_first // HOP_SAMPLES)
    samples = EXAMPLE_SAMPLES + hops * HOP_SAMPLES
    mel = yamnet_mel(F.pad(waveform, (0, samples - waveform.shape[-1])))
    return mel.unfold(0, EXAMPLE_FRAMES, HOP_FRAMES).transpose(1, 2)


def yamnet_mel(waveform: Tensor) -> Tensor:
    """YAMNet's log-mel spectrogram, every 10 ms, (..., frames, 64), of waveforms (..., samples) at 16 kHz."""
    return log_mel(waveform, offset=_LOG_OFFSET)


@cache
def audioset_classes() -> tuple[str, ...]:
    """Names of YAMNet's classes in index order, as AudioSet writes them, such as `Bowed string instrument`."""
    rows = list(table_rows(read_text(_CLASS_FILE), str(_CLASS_FILE)))
    return tuple(row[2] for _, row in rows[1:])


class YAMNetRows(nn.Module):
    """YAMNet on windows of samples, one row per step.

    Args:
        pretrained: As in `YAMNet`.
        keep: `embedding` (1024) or `scores` (521).
    """

    def __init__(self, pretrained: str | Path | None, keep: Literal["embedding", "scores"]) -> None:
        super().__init__()
        self.yamnet = YAMNet(pretrained)
        self.keep = keep

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows (N, n) at 16 kHz to (N, D); what is shorter than 0.975 s is followed by silence."""
        fitted = F.pad(samples, (0, EXAMPLE_SAMPLES - samples.shape[-1]))
        tags: SoundTags = self.yamnet(yamnet_mel(fitted))
        return tags.embedding if self.keep == "embedding" else tags.scores


class YAMNetAudio(WindowAudioEncoder):
    """YAMNet over 0.975 s from the start of each step; where steps are shorter, windows overlap.

    Args:
        pretrained: As in `YAMNet`.
        keep: `embedding`, or `scores`: the probabilities of AudioSet's classes.
    """

    def __init__(
        self, pretrained: str | Path | None = None, keep: Literal["embedding", "scores"] = "embedding"
    ) -> None:
        super().__init__(EXAMPLE_SAMPLES / SAMPLE_RATE)
        self.width = YAMNet.width if keep == "embedding" else CLASSES
        self.network = YAMNetRows(pretrained, keep)


class _SameConv2d(nn.Conv2d):
    """A 3 x 3 convolution that pads as TensorFlow's SAME does: with stride 2 at the end of even sizes alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=0 if stride > 1 else 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            x = F.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class _Pair(nn.ModuleDict):
    """Convolutions in turn, each followed by ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.values():
            x = F.relu(convolution(x), inplace=True)
        return x
