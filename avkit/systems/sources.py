# SPDX-License-Identifier: Apache-2.0
"""What EZ-VSL and LVS share: two ResNet-18, one of them for spectrograms, and similarity maps of picture and sound."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Prediction, exportable
from avkit.encoders.base import VisualFeatures
from avkit.encoders.pretrained import ImagePreprocessor
from avkit.encoders.resnet import ResNet18
from avkit.media.spectrogram import crop_around_steps, log_power_spectrogram
from avkit.nn.heatmap import HEATMAP_SIZE, combine_heatmaps, resize_heatmaps
from avkit.nn.padding import scatter_steps, valid_rows
from avkit.systems.base import Encoded, RunContext, encode_frames
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import NetworkConfig, NetworkSystem

#: Means and standard deviations of ImageNet's colours.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@exportable
@dataclass
class LocalizationOutput:
    """Embeddings of a network for sound source localization.

    Attributes:
        audio: One vector per step, of length 1, (B, T, D).
        visual: One per position, of length 1, (B, T, h, w, D).
        objects: Objectness of each position, (B, T, h, w), or None.
    """

    audio: Tensor
    visual: Tensor
    objects: Tensor | None = None

    @property
    def similarity(self) -> Tensor:
        """Cosine of each position and the sound, (B, T, h, w)."""
        return torch.einsum("btd,bthwd->bthw", self.audio, self.visual)


class TwoStreamNetwork(OfficialNetwork):
    """A ResNet-18 for pictures and one for spectrograms.

    Args:
        options: Options of the network.
        stride: Stride of the last maps, 32 or 16.
        sizes: See `OfficialNetwork`.
    """

    def __init__(self, options: Any, stride: int, **sizes: Any) -> None:
        super().__init__(options, **sizes)
        self.picture = ResNet18(3, stride)
        self.sound = ResNet18(1, stride)

    @abstractmethod
    def embed_pictures(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of normalised pictures (N, 3, H, W): (N, D, h, w)."""

    @abstractmethod
    def embed_sounds(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""


class ObjectPrior(nn.Module):
    """Objectness whatever sounds: mean magnitude of the last features of a ResNet-18 trained on ImageNet.

    Args:
        weights: `hub`, or a path to weights of torchvision or timm.

    Raises:
        ValueError: If the weights do not fit.

    Source:
        stoneMo/EZ-VSL at commit 95ff5bff3019, `test.py`.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.trunk = ResNet18()
        if weights:
            self.trunk.load_imagenet(weights)
        self.requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        """From normalised pictures (N, 3, H, W) to (N, h, w)."""
        objectness: Tensor = self.trunk(frames).abs().mean(1)
        return objectness


def random_crop_and_flip(frames: Tensor, side: int) -> Tensor:
    """A random square of each picture (N, 3, H, W), mirrored in half of them; smaller pictures are mirrored alone."""
    number = len(frames)
    height, width = frames.shape[-2:]
    y = _random_range(number, height, min(side, height), frames.device)
    x = _random_range(number, width, min(side, width), frames.device)
    mirrored = torch.rand(number, 1, device=frames.device) < 0.5
    x = torch.where(mirrored, x, x.flip(1))
    picture = torch.arange(number, device=frames.device)[:, None, None]
    return frames.permute(0, 2, 3, 1)[picture, y[:, :, None], x[:, None]].permute(0, 3, 1, 2)


def _random_range(number: int, size: int, part: int, device: torch.device) -> Tensor:
    """`part` neighbouring indices below `size`, from a random start, (number, part)."""
    start = torch.randint(size - part + 1, (number, 1), device=device)
    return start + torch.arange(part, device=device)


@dataclass
class LocalizationConfig(NetworkConfig):
    """Options that EZ-VSL and LVS share in a run.

    Attributes:
        image_size: Side in pixels that pictures are resized to.
        augment: In training crop a random part of that size out of larger pictures, and mirror half of them.
        seconds: Seconds of sound around the middle of each step.
        prior: ImageNet weights of the object prior, `hub` or a path; no prior where empty.
        alpha: Weight of the audio-visual map where there is a prior; the rest is the prior's.
        visual_weights: ImageNet weights to start the visual stream from, `hub` or a path.
    """

    answered_tasks: ClassVar[tuple[str, ...]] = ("ssl",)
    whole_clips: ClassVar[bool] = False

    image_size: int = 224
    augment: bool = False
    seconds: float = 3.0
    prior: str | None = None
    alpha: float = 0.4
    visual_weights: str | None = None


class LocalizationSystem(NetworkSystem):
    """A two-stream network and, where it is asked for, an object prior.

    Args:
        config: Its options.
        context: What it is built for.

    Raises:
        ValueError: If the data have stored features.
    """

    config: LocalizationConfig
    network: TwoStreamNetwork

    def __init__(self, config: LocalizationConfig, context: RunContext) -> None:
        super().__init__(config, context)
        if any(context.widths):
            raise ValueError(
                f"{config.name} reads pictures and sound, and the data have stored features. Leave "
                "data.features.visual and data.features.audio out."
            )
        self.network = self.build_network()
        self.pixels = ImagePreprocessor(*IMAGENET, (config.image_size, config.image_size))
        self.prior = ObjectPrior(config.prior) if config.prior else None
        if config.visual_weights:
            self.network.picture.load_imagenet(config.visual_weights)
        if config.weights:
            self.start_from(config.weights)

    @abstractmethod
    def build_network(self) -> TwoStreamNetwork:
        """The network."""

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Embeddings of positions; objectness as the only map of the pyramid."""
        return encode_frames(self._embed_pictures, batch)

    def encode_audio(self, batch: Batch) -> Tensor:
        """Embeddings of the sound around each step.

        Raises:
            ValueError: If the batch has no waveforms.
        """
        if batch.waveform is None:
            raise ValueError(f"{self.config.name} reads waveforms, and the batch has none.")
        valid = batch.valid
        sound = crop_around_steps(batch.waveform, valid.shape[1], batch.hop, self.config.seconds)
        vectors = self.network.embed_sounds(log_power_spectrogram(valid_rows(sound, valid))[:, None])
        return scatter_steps(vectors, valid)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> LocalizationOutput:
        """Embeddings of a batch."""
        encoded = encoded or self.encode(batch)
        visual = encoded.visual
        objects = visual.pyramid[0][:, :, 0] if visual.pyramid else None
        return LocalizationOutput(encoded.audio, visual.patches.unflatten(2, visual.grid), objects)

    def predict(self, output: LocalizationOutput, batch: Batch) -> Prediction:
        """`heat`, (B, T, h, w): the similarity, with a prior EZ-VSL's combination of both."""
        heat = output.similarity.float()
        if output.objects is not None:
            similarity = resize_heatmaps(heat.flatten(0, 1), HEATMAP_SIZE)
            objects = resize_heatmaps(output.objects.flatten(0, 1), HEATMAP_SIZE)
            combined = combine_heatmaps(similarity, objects, self.config.alpha)
            heat = combined.unflatten(0, heat.shape[:2])
        return Prediction(batch.task, batch.id, {"heat": heat})

    def graph_values(self, output: LocalizationOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return self.predict(output, batch).values

    def loaded_parts(self) -> dict[str, str]:
        """The network or its visual stream, and the object prior, where weights were loaded into them."""
        parts = super().loaded_parts()
        if self.config.visual_weights and not parts:
            parts["network.picture"] = self.config.visual_weights
        if self.config.prior:
            parts["prior"] = self.config.prior
        return parts

    def encoders(self) -> list[nn.Module]:
        """The object prior, which is frozen."""
        return [] if self.prior is None else [self.prior]

    def _embed_pictures(self, frames: Tensor) -> VisualFeatures:
        if self.training and self.config.augment:
            frames = random_crop_and_flip(frames, self.config.image_size)
        pixels = self.pixels(frames)
        maps = self.network.embed_pictures(pixels)
        objects = [] if self.prior is None else [self.prior(pixels)[:, None]]
        patches = maps.flatten(2).transpose(1, 2)
        return VisualFeatures(F.normalize(patches.mean(1), dim=-1), patches, (maps.shape[2], maps.shape[3]), objects)


def clip_numbers(batch: Batch) -> Tensor:
    """Number of the clip of every valid step, int64 (N,)."""
    numbers = torch.arange(len(batch), device=batch.valid.device)
    return numbers[:, None].expand(batch.valid.shape)[batch.valid]


def init_like_the_authors(modules: Sequence[nn.Module]) -> None:
    """Weights of convolutions by Kaiming's rule and of batch norms around 1, in the order given."""
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.02)
