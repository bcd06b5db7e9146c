# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL: the best place of a picture goes with its own sound better than with any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch
from avkit.encoders.resnet import resnet_name
from avkit.heads.heat import pairing_loss
from avkit.systems.checkpoints import rename
from avkit.systems.sources import NetworkSources, SourceConfig, SourceOutput, TwoTrunks


class EZVSL(TwoTrunks):
    """The network of "Localizing Visual Sounds the Easy Way" (ECCV 2022).

    Args:
        width: Width D of the vectors.
    """

    name = "ez_vsl"
    source = "stoneMo/EZ-VSL at commit 95ff5bff3019"

    def __init__(self, width: int = 512) -> None:
        self.made_with = {"width": width}
        super().__init__(32)
        self.place_out, self.sound_out = nn.Conv2d(512, width, 1), nn.Linear(512, width)
        for module in (*self.sound.modules(), self.place_out):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)
        nn.init.trunc_normal_(self.sound_out.weight, 0, 0.01)

    def see(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of pictures (N, 3, H, W), normalised: (N, D, h, w)."""
        return F.normalize(self.place_out(self.picture(frames)), dim=1)

    def hear(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""
        return F.normalize(self.sound_out(self.sound(spectrogram).amax((2, 3))), dim=1)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        return {"width": len(state["aud_proj.weight"])} if "aud_proj.weight" in state else None

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        for ours, theirs in (("picture.", "imgnet."), ("sound.", "audnet.")):
            if key.startswith(ours):
                return theirs + resnet_name(key.removeprefix(ours))
        return rename(key, {"place_out.": "img_proj.", "sound_out.": "aud_proj."})


class EasyPairs(NetworkSources):
    """Localisation as EZ-VSL learns it.

    Loss: cross-entropy over sounds for each picture, plus that over pictures for each sound, of the best place's cosine
    over a temperature of 0.03. Steps of one clip are not told from each other; VGG-SS has one per clip.
    """

    #: Of the softmax.
    temperature = 0.03

    def loss(self, out: SourceOutput, batch: Batch) -> dict[str, Tensor]:  # type: ignore[override]
        """`pairs`."""
        clip = torch.arange(len(batch), device=batch.valid.device)[:, None].expand(batch.valid.shape)
        keep = batch.valid
        pairs = 2 * pairing_loss(
            out.sounds[keep], out.places[keep].flatten(1, 2), clip[keep], self.temperature, share=0.0
        )
        return {"loss": pairs, "pairs": pairs}


@dataclass
class EZVSLConfig(SourceConfig):
    """EZ-VSL for `ssl`.

    Attributes:
        name: Of the system.
        width: Width of the vectors.
    """

    answers: ClassVar = {"ssl": EasyPairs}

    name: Literal["ez_vsl"] = "ez_vsl"
    width: int = 512

    def network(self) -> EZVSL:
        """The network."""
        return EZVSL(self.width)
