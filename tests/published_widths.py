# SPDX-License-Identifier: Apache-2.0
"""Tiny encoders under the names and with the widths and inputs of those that systems were published with."""

import torch
import torch.nn.functional as F
from torch import nn

from avkit.encoders.base import RowAudioEncoder, TextEncoder, TextFeatures, VisualEncoder, VisualFeatures, WindowEncoder
from avkit.encoders.registry import ENCODERS, EncoderEntry


class Pictures(VisualEncoder):
    """Mean colours of a grid of patches."""

    def __init__(self, pretrained=None, width=8, side=1):
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.width = width
        self.side = side

    def forward(self, frames):
        cells = F.adaptive_avg_pool2d(frames.float() / 255, (self.side, self.side)).flatten(2).transpose(1, 2)
        patches = self.layer(cells)
        return VisualFeatures(patches.mean(1), patches, (self.side, self.side))


class Merged(Pictures):
    """Fourteen tokens, each the mean of some of 24 by 24 patches."""

    def forward(self, frames):
        plain = super().forward(frames)
        numbers = torch.arange(self.side**2) * 14 // self.side**2
        tokens = torch.stack([plain.patches[:, numbers == k].mean(1) for k in range(14)], 1)
        sources = numbers.view(1, self.side, self.side).expand(len(frames), -1, -1)
        return VisualFeatures(plain.frame, tokens, (1, 14), sources=sources)


class Windows(WindowEncoder):
    """Mean colours over a window."""

    def __init__(self, pretrained=None, width=8):
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.width = width

    def prepare(self, frames):
        colours = frames.float().mean((2, 3)) / 255
        return colours[self.spare_frames :]

    def forward(self, windows):
        return self.layer(windows.mean(1))


class SpareWindows(Windows):
    """The same, with a frame more than a window has."""

    spare_frames = 1


class Sound(RowAudioEncoder):
    """Means of log-mel bands, or of stretches of samples."""

    def __init__(self, pretrained=None, width=8):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(16), nn.Linear(16, width))
        self.width = width

    def forward(self, waveform, steps, hop):
        raise NotImplementedError


class SampledSound(Sound):
    """The same, of samples."""

    takes_samples = True


class Words(TextEncoder):
    """A vector per letter."""

    def __init__(self, pretrained=None, width=8):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.width = width

    def forward(self, texts):
        longest = max(len(text) for text in texts)
        ids = torch.tensor([[min(255, ord(letter)) for letter in text.ljust(longest)] for text in texts])
        valid = torch.tensor([[place < len(text) for place in range(longest)] for text in texts])
        tokens = self.embed(ids)
        return TextFeatures(tokens, valid, tokens.mean(1))


_ENTRIES = (
    ("visual", "clip_vit_l14_336", "Pictures", {"width": 768}),
    ("visual", "vit_large_tome14", "Merged", {"width": 1024, "side": 24}),
    ("visual", "clip_vit_b32", "Pictures", {"width": 512, "side": 7}),
    ("visual", "resnet18_14x14", "Pictures", {"width": 512, "side": 14}),
    ("visual", "vgg19", "Pictures", {"width": 512, "side": 7}),
    ("visual", "resnet152", "Pictures", {"width": 2048}),
    ("window", "i3d_rgb", "SpareWindows", {"width": 1024}),
    ("window", "i3d_flow", "SpareWindows", {"width": 1024}),
    ("window", "r2plus1d_18", "Windows", {"width": 512}),
    ("window", "one_peace_video", "Windows", {"width": 1536}),
    ("audio", "vggish", "Sound", {"width": 128}),
    ("audio", "one_peace_audio", "SampledSound", {"width": 1536}),
    ("text", "clip_vit_l14_336", "Words", {"width": 768}),
    ("text", "clip_vit_b32", "Words", {"width": 512}),
)


def use_tiny_encoders(patch):
    """Put tiny encoders in the place of the published ones, by a `pytest.MonkeyPatch`."""
    for kind, name, own, arguments in _ENTRIES:
        patch.setitem(ENCODERS[kind], name, EncoderEntry(f"published_widths:{own}", arguments))
