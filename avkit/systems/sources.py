# SPDX-License-Identifier: Apache-2.0
"""What EZ-VSL and LVS share: two ResNet-18, one for spectrograms, and maps of how well places go with a sound."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Prediction, Vocabulary
from avkit.encoders.base import VisualFeatures
from avkit.encoders.pretrained import ImagePreprocessor
from avkit.encoders.resnet import ResNet18
from avkit.media.spectrogram import crop_around_steps, log_power_spectrogram
from avkit.nn.heatmap import HEATMAP_SIZE, combine_heatmaps, resize_heatmaps
from avkit.systems.base import Senses, see
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import NetworkConfig, NetworkSystem
from avkit.tasks.ssl import SoundLocalization

#: Means and deviations of ImageNet's colours.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class SourceOutput:
    """What a network of sources says.

    Attributes:
        sounds: One vector per step, of length 1, (B, T, D).
        places: One per place, of length 1, (B, T, h, w, D).
        objects: How much of an object is at each place, (B, T, h, w), or None.
    """

    sounds: Tensor
    places: Tensor
    objects: Tensor | None = None

    @property
    def cosine(self) -> Tensor:
        """How well each place goes with its sound, (B, T, h, w)."""
        return torch.einsum("btd,bthwd->bthw", self.sounds, self.places)


class TwoTrunks(OfficialNetwork):
    """A trunk for pictures and one for spectrograms.

    Args:
        stride: Of the last maps, 32 or 16.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.picture, self.sound = ResNet18(3, stride), ResNet18(1, stride)

    def see(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of pictures (N, 3, H, W), normalised: (N, D, h, w)."""
        raise NotImplementedError

    def hear(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""
        raise NotImplementedError


class ObjectPrior(nn.Module):
    """Where objects are, whatever sounds: mean size of the last features of a ResNet-18 that knows ImageNet.

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
        found: Tensor = self.trunk(frames).abs().mean(1)
        return found


class NetworkSources(SoundLocalization):
    """Localisation whose network answers; a prediction's map is the cosine, or with objects EZ-VSL's combined one.

    Args:
        vocabulary: Not read.
        alpha: Weight of the cosine where objects are known; the rest is theirs.
    """

    forms = ()

    def __init__(self, vocabulary: Vocabulary, alpha: float = 0.4) -> None:
        super().__init__(vocabulary)
        self.alpha = alpha

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Hands on what the system answers."""
        return nn.Identity()

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """`heat`, (B, T, h, w)."""
        heat = out.cosine.float()
        if out.objects is not None:
            shape = heat.shape[:2]
            own, objects = (resize_heatmaps(x.flatten(0, 1), HEATMAP_SIZE) for x in (heat, out.objects))
            heat = combine_heatmaps(own, objects, self.alpha).unflatten(0, shape)
        return Prediction(self.name, batch.id, {"heat": heat})


def cut_and_mirror(frames: Tensor, side: int) -> Tensor:
    """A random square of each picture (N, 3, H, W), mirrored in half of them; smaller pictures are mirrored alone."""
    number, (height, width) = len(frames), frames.shape[-2:]
    rows, columns = min(side, height), min(side, width)

    def places(size: int, part: int) -> Tensor:
        start = torch.randint(size - part + 1, (number, 1), device=frames.device)
        return start + torch.arange(part, device=frames.device)

    y, x = places(height, rows), places(width, columns)
    x = torch.where(torch.rand(number, 1, device=frames.device) < 0.5, x, x.flip(1))
    picture = torch.arange(number, device=frames.device)[:, None, None]
    return frames.permute(0, 2, 3, 1)[picture, y[:, :, None], x[:, None]].permute(0, 3, 1, 2)


@dataclass
class SourceConfig(NetworkConfig):
    """What EZ-VSL and LVS share in a run.

    Attributes:
        picture: Side that pictures are resized to.
        augment: In training cut a random part of that size out of larger pictures, and mirror half of them.
        seconds: Seconds of sound around the middle of each step.
        prior: Weights of the network that knows objects, `hub` or a path; none where empty.
        alpha: Weight of what sounds where objects are known.
        visual_weights: Weights of ImageNet to start the trunk of pictures from, `hub` or a path.
    """

    whole: ClassVar[bool] = False

    picture: int = 224
    augment: bool = False
    seconds: float = 3.0
    prior: str | None = None
    alpha: float = 0.4
    visual_weights: str | None = None

    def build(self, vocabulary: Vocabulary, features: Any = None, expert: int | None = None) -> "SourceSystem":
        """The system.

        Raises:
            ValueError: If the data have stored features.
        """
        if any(next(iter((features or {}).values()), ())):
            raise ValueError(f"{self.name} looks and listens itself, and the data have stored features. Leave them.")
        return SourceSystem(self)

    def network(self) -> TwoTrunks:
        """The network."""
        raise NotImplementedError

    def make_task(self, cls: type[Any], vocabulary: Vocabulary) -> NetworkSources:
        """The task with its weight of objects."""
        made: NetworkSources = cls(vocabulary, self.alpha)
        return made

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> SourceOutput:
        """Vectors of a batch."""
        places = senses.seen.patches.unflatten(2, senses.seen.grid)
        objects = senses.seen.pyramid[0][:, :, 0] if senses.seen.pyramid else None
        return SourceOutput(senses.heard, places, objects)

    @classmethod
    def shared(cls) -> set[str]:
        """Fields that are not of the network itself."""
        return {f.name for f in fields(SourceConfig)}


class SourceSystem(NetworkSystem):
    """Two trunks and, where it is asked for, one that knows objects.

    Args:
        config: What it is made of.
    """

    config: SourceConfig
    network: TwoTrunks

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self.network = config.network()
        self.pixels = ImagePreprocessor(*IMAGENET, (config.picture, config.picture))
        self.prior = ObjectPrior(config.prior) if config.prior else None
        if config.visual_weights:
            self.network.picture.load_imagenet(config.visual_weights)
        if config.weights:
            self.start_from(config.weights)

    def sense(self, batch: Batch, seen: VisualFeatures | None = None) -> Senses:
        """Vectors of places and of sounds."""
        if batch.waveform is None:
            raise ValueError(f"{self.config.name} reads waveforms, and the batch has none.")
        sound = crop_around_steps(batch.waveform, batch.valid.shape[1], batch.hop, self.config.seconds)
        keep = slice(None) if batch.valid.all() else batch.valid
        picked = sound.flatten(0, 1) if isinstance(keep, slice) else sound[keep]
        vectors = self.network.hear(log_power_spectrogram(picked)[:, None])
        heard = vectors.new_zeros(batch.valid.numel(), vectors.shape[1])
        heard[batch.valid.flatten()] = vectors
        return Senses(see(self._look, batch) if seen is None else seen, heard.unflatten(0, batch.valid.shape))

    def _look(self, frames: Tensor) -> VisualFeatures:
        if self.training and self.config.augment:
            frames = cut_and_mirror(frames, self.config.picture)
        pixels = self.pixels(frames)
        maps = self.network.see(pixels)
        objects = [] if self.prior is None else [self.prior(pixels)[:, None]]
        places = maps.flatten(2).transpose(1, 2)
        return VisualFeatures(F.normalize(places.mean(1), dim=-1), places, (maps.shape[2], maps.shape[3]), objects)

    def encoders(self) -> list[nn.Module]:
        """The one that knows objects."""
        return [] if self.prior is None else [self.prior]
