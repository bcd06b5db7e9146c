# SPDX-License-Identifier: Apache-2.0
"""LVS: places that surely go with a sound, places that surely do not, and nothing learnt from those between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.batch import Batch
from avkit.encoders.resnet import resnet_name, resnet_unused_keys
from avkit.metrics.ssl import SourceLocalization
from avkit.nn.losses import mean_of
from avkit.systems.sources import NetworkSources, SourceConfig, SourceOutput, TwoTrunks

#: Cosines from which a place counts as sounding and below which as silent, and how sharply; temperature of the softmax.
SURE, SILENT, SHARP, TEMPERATURE = 0.65, 0.4, 0.03, 0.07


@dataclass
class TriMap:
    """How pictures go with sounds.

    Attributes:
        own: Cosine of each place and its own sound, (N, h, w).
        sure: How surely a place sounds, (N, h, w).
        silent: How surely it does not.
        logits: Of each picture's own sound in what sounds, of all sounds in the same, and of its own in what is silent,
            (N, N + 2).
    """

    own: Tensor
    sure: Tensor
    silent: Tensor
    logits: Tensor


def tri_map(sounds: Tensor, places: Tensor) -> TriMap:
    """Compare N sounds (N, D) with the places of N pictures (N, h, w, D), vectors of length 1.

    A picture's own sound is kept out of the comparison with all by a factor of -99, which does so only where they go
    together; that is the authors' way.

    Source:
        hche11/Localizing-Visual-Sounds-the-Hard-Way at commit 8fe8cbbf810e, `model.py`.
    """
    every = torch.einsum("nhwd,md->nmhw", places, sounds)
    own = every.diagonal().permute(2, 0, 1)
    sure, silent = ((own - SURE) / SHARP).sigmoid(), ((SILENT - own) / SHARP).sigmoid()

    def share(weight: Tensor, x: Tensor) -> Tensor:
        return (weight * x).sum((-2, -1)) / weight.sum((-2, -1))

    others = share(((every - SURE) / SHARP).sigmoid(), every)
    others = others * (1 - 100 * torch.eye(len(every), device=every.device))
    logits = torch.cat([share(sure, own)[:, None], others, share(silent, own)[:, None]], 1) / TEMPERATURE
    return TriMap(own, sure, silent, logits)


class LVS(TwoTrunks):
    """The network of "Localizing Visual Sounds the Hard Way" (CVPR 2021)."""

    name = "lvs"
    source = "hche11/Localizing-Visual-Sounds-the-Hard-Way at commit 8fe8cbbf810e"

    def __init__(self) -> None:
        self.made_with = {}
        super().__init__(16)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)

    def see(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of pictures (N, 3, H, W), normalised: (N, D, h, w)."""
        return F.normalize(self.picture(frames), dim=1)

    def hear(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""
        return F.normalize(self.sound(spectrogram).amax((2, 3)), dim=1)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """No argument; weights are known by first convolutions that are not used."""
        return {} if "imgnet.conv1_flow.weight" in state and "audnet.conv1_a.weight" in state else None

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        if key.startswith("picture."):
            return "imgnet." + resnet_name(key.removeprefix("picture."))
        return "audnet." + resnet_name(key.removeprefix("sound."), "conv1_a")

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """First convolutions for other inputs, and classifiers."""
        dead = {f"imgnet.{key}": shape for key, shape in resnet_unused_keys(3).items()}
        return dead | {f"audnet.{key}": shape for key, shape in resnet_unused_keys(1).items()}


class HardPairs(NetworkSources):
    """Localisation as LVS learns it.

    Loss: cross-entropy of the first logit, which is our reading of the paper: no training script was published. Scores
    are by the authors' rule, which takes what is strictly above the median.
    """

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """As `SoundLocalization`, by LVS's rule."""
        return {"": SourceLocalization("lvs", clean=not quick)}

    def loss(self, out: SourceOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`pairs`."""
        keep = batch.valid
        logits = tri_map(out.sounds[keep], out.places[keep]).logits
        clip = torch.arange(len(batch), device=keep.device)[:, None].expand(keep.shape)[keep]
        same = (clip[:, None] == clip[None]) & ~torch.eye(len(clip), dtype=torch.bool, device=keep.device)
        logits = logits.masked_fill(F.pad(same, (1, 1)), -torch.inf)  # other steps of a clip are not told from it
        total = F.cross_entropy(logits, torch.zeros_like(clip), reduction="sum")
        pairs = mean_of(total, torch.as_tensor(len(clip)))
        return {"loss": pairs, "pairs": pairs}


@dataclass
class LVSConfig(SourceConfig):
    """LVS for `ssl`.

    Attributes:
        name: Of the system.
    """

    answers: ClassVar = {"ssl": HardPairs}

    name: Literal["lvs"] = "lvs"
    seconds: float = 10.0

    @property
    def width(self) -> int:
        """Width of the vectors."""
        return 512

    def network(self) -> LVS:
        """The network."""
        return LVS()
