# SPDX-License-Identifier: Apache-2.0
"""Audio taggers: how likely each of some targets is heard in each step."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avkit.batch import SAMPLE_RATE
from avkit.encoders.yamnet import HOP, YAMNet, audioset_classes
from avkit.media.mel import EXAMPLE_SAMPLES, windows_from_starts
from avkit.systems.zero_shot.targets import Target

#: Seconds of a window of sound that YAMNet hears.
WINDOW = EXAMPLE_SAMPLES / SAMPLE_RATE


class Tagger(nn.Module, ABC):
    """Hears sound in windows `HOP` seconds apart, and says of each step how likely targets are heard in it."""

    @abstractmethod
    def encode(self, waveform: Tensor) -> Tensor:
        """Features of windows, (windows, D), of a sound (samples,) at 16 kHz; window k begins at k times `HOP`."""

    @abstractmethod
    def score(self, features: Tensor, targets: Sequence[Target]) -> Tensor:
        """Probability of each target by itself, (..., K), from features of steps (..., D)."""


class AudioSetTagger(Tagger):
    """A tagger whose features are scores of AudioSet's classes.

    A target's score is that of its likeliest class.

    Attributes:
        classes: Names of the classes in index order.
    """

    classes: Sequence[str]

    def score(self, features: Tensor, targets: Sequence[Target]) -> Tensor:
        """The highest score of a target's classes; 0 where it has none."""
        index = {name: number for number, name in enumerate(self.classes)}
        scores = features.new_zeros((*features.shape[:-1], len(targets)))
        for number, target in enumerate(targets):
            places = [index[name] for name in target.audioset if name in index]
            if places:
                scores[..., number] = features[..., places].amax(-1)
        return scores


class YAMNetTagger(AudioSetTagger):
    """YAMNet's scores of 521 classes, windows of 0.975 s.

    Args:
        path: Weights, see `YAMNet`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.classes = audioset_classes()
        self.network = YAMNet(path)

    def encode(self, waveform: Tensor) -> Tensor:
        """Scores of the windows, (windows, 521)."""
        return self.network.tag(waveform).scores


class ASTTagger(AudioSetTagger):
    """The Audio Spectrogram Transformer's scores of 527 classes, by transformers.

    Args:
        path: Folder that `save_pretrained` wrote.
        seconds: Length of a window, which begins `HOP` seconds after the one before; it was trained on 10 s, and hears
            short windows less well.
        at_once: Windows that pass the network together.

    Source:
        Gong et al., AST: Audio Spectrogram Transformer, Interspeech 2021.
    """

    def __init__(self, path: Path, seconds: float = 1.92, at_once: int = 8) -> None:
        super().__init__()
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        self.extractor = AutoFeatureExtractor.from_pretrained(path, local_files_only=True)
        self.network = AutoModelForAudioClassification.from_pretrained(path, local_files_only=True)
        labels = self.network.config.id2label
        self.classes = [labels[number] for number in range(len(labels))]
        self.samples = round(seconds * SAMPLE_RATE)
        self.at_once = at_once

    def encode(self, waveform: Tensor) -> Tensor:
        """Scores of the windows, (windows, classes)."""
        scores = []
        for part in sound_windows(waveform, self.samples).split(self.at_once):
            inputs = self.extractor(list(part.cpu().numpy()), sampling_rate=SAMPLE_RATE, return_tensors="pt")
            logits: Any = self.network(inputs["input_values"].to(waveform.device)).logits
            scores.append(logits.sigmoid())
        return torch.cat(scores)


def sound_windows(waveform: Tensor, samples: int) -> Tensor:
    """Windows of a sound, (windows, samples), each around the same moment as YAMNet's; silence beyond the ends.

    Args:
        waveform: (samples,), 16 kHz.
        samples: Length of a window.
    """
    count = max(1, -(-(len(waveform) - EXAMPLE_SAMPLES) // round(HOP * SAMPLE_RATE)) + 1)
    before = max(0, (samples - EXAMPLE_SAMPLES) // 2)
    padded = torch.nn.functional.pad(waveform, (before, 0))
    return windows_from_starts(padded[None], count, HOP, samples)[0]


def smooth(features: Tensor, width: int) -> Tensor:
    """The median of each window and its neighbours, (windows, D); at the ends of as many as there are.

    Args:
        features: (windows, D).
        width: Windows of which the median is taken, an odd number; 1 leaves them as they are.
    """
    if width <= 1 or len(features) < 2:
        return features
    side = min(width // 2, len(features) - 1)
    padded = torch.cat([features[:1].expand(side, -1), features, features[-1:].expand(side, -1)])
    return padded.unfold(0, 2 * side + 1, 1).median(-1).values


def to_steps(features: Tensor, steps: int, hop: float) -> Tensor:
    """The mean of the windows whose middle lies in a step, (T, D); of the nearest one where there is none.

    Args:
        features: (windows, D), `HOP` seconds apart.
        steps: Number of steps T.
        hop: Seconds per step.
    """
    middles = torch.arange(len(features), dtype=torch.float64) * HOP + WINDOW / 2
    step_of = (middles / hop).floor().long()
    totals = features.new_zeros((steps, features.shape[1]))
    counts = features.new_zeros(steps)
    inside = step_of < steps
    places = step_of[inside].to(features.device)
    totals.index_add_(0, places, features[inside.to(features.device)])
    counts.index_add_(0, places, torch.ones_like(places, dtype=features.dtype))
    means = totals / counts.clamp(min=1)[:, None]
    step_middles = (torch.arange(steps, dtype=torch.float64) + 0.5) * hop
    nearest = (step_middles[:, None] - middles).abs().argmin(1).to(features.device)
    return torch.where(counts[:, None] > 0, means, features[nearest])
